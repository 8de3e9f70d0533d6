//! How many connections one address may have whose peer is not verified.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::limits::STRANGERS_PER_ADDRESS_MAX;

/// Counts by address.
#[derive(Clone, Default)]
pub(super) struct Strangers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place that is given back when dropped.
pub(super) struct Place {
    counts: Strangers,
    address: IpAddr,
}

impl Strangers {
    /// A place for one more; none where there are too many.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= STRANGERS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Place { counts: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let (strangers, address) = (Strangers::default(), IpAddr::from([10, 0, 0, 1]));
        let places: Vec<_> =
            (0..STRANGERS_PER_ADDRESS_MAX).filter_map(|_| strangers.enter(address)).collect();
        assert_eq!(places.len(), STRANGERS_PER_ADDRESS_MAX);
        assert!(strangers.enter(address).is_none() && strangers.enter(IpAddr::from([10, 0, 0, 2])).is_some());
        drop(places);
        assert!(strangers.enter(address).is_some());
        assert!(strangers.0.lock().unwrap().is_empty(), "nothing is kept of who is gone");
    }
}
