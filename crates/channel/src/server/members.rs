//! The open connections of each member: a new one beyond the limit takes the place of the
//! oldest, which may be half open and would else keep its own member out.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::limits::PER_MEMBER_MAX;

type Open = HashMap<Uuid, VecDeque<(u64, CancellationToken)>>;

/// By member, oldest first.
#[derive(Clone, Default)]
pub(super) struct Members(Arc<Mutex<(u64, Open)>>);

/// A member's place, given back when dropped.
pub(super) struct Place {
    members: Members,
    member: Uuid,
    number: u64,
    /// Cancelled when a newer connection takes the place.
    pub(super) displaced: CancellationToken,
}

impl Members {
    /// A place for one more connection of this member.
    pub(super) fn enter(&self, member: Uuid) -> Place {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, open) = &mut *guard;
        *count += 1;
        let displaced = CancellationToken::new();
        let of_member = open.entry(member).or_default();
        of_member.push_back((*count, displaced.clone()));
        if of_member.len() > PER_MEMBER_MAX
            && let Some((_, oldest)) = of_member.pop_front()
        {
            oldest.cancel();
        }
        Place { members: self.clone(), member, number: *count, displaced }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guard = self.members.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_member) = guard.1.get_mut(&self.member) {
            of_member.retain(|(number, _)| *number != self.number);
            if of_member.is_empty() {
                guard.1.remove(&self.member);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_connection_of_a_member_makes_room_for_the_newest() {
        let (members, member) = (Members::default(), Uuid::from_u128(1));
        let places: Vec<_> = (0..=PER_MEMBER_MAX).map(|_| members.enter(member)).collect();
        let displaced: Vec<_> = places.iter().map(|place| place.displaced.is_cancelled()).collect();
        assert!(displaced[0] && !displaced[1..].contains(&true), "{displaced:?}");
        assert!(!members.enter(Uuid::from_u128(2)).displaced.is_cancelled());
        drop(places);
        assert!(members.0.lock().unwrap().1.is_empty());
    }
}
