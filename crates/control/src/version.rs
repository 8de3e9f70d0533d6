//! Which of two documents is newer (rule R4).

use farshore_types::VaultId;
use serde::{Deserialize, Serialize};

use crate::bug::{self, Bug};

/// Which vault speaks: its number rises whenever a vault is promoted, restored, or taken
/// over by another process on another database; its id tells two of equal number apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Term {
    /// Rises with every change of the speaking vault; the first is 1.
    pub number: u64,
    /// Whose term it is.
    pub vault: VaultId,
}

/// Version of one document: it orders, and authorises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Under which vault it was written.
    pub term: Term,
    /// Rises by one with every change of the document within a term, and never falls from
    /// one term to the next.
    pub generation: u64,
}

/// How an arriving version relates to the one held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The arriving one is of before.
    Older,
    /// The same.
    Same,
    /// The arriving one replaces.
    Newer,
    /// Two vaults speak with the same term: neither is followed any further.
    Conflict,
}

impl Term {
    /// Where `arriving` stands as seen by the holder of `self`.
    #[must_use]
    pub fn order_of(&self, arriving: &Term) -> Order {
        match arriving.number.cmp(&self.number) {
            std::cmp::Ordering::Less => Order::Older,
            std::cmp::Ordering::Greater => Order::Newer,
            std::cmp::Ordering::Equal if arriving.vault == self.vault => Order::Same,
            std::cmp::Ordering::Equal if bug::is(Bug::FollowsBoth) => Order::Newer,
            std::cmp::Ordering::Equal => Order::Conflict,
        }
    }
}

impl Version {
    /// Where `arriving` stands as seen by the holder of `self`.
    #[must_use]
    pub fn order_of(&self, arriving: &Version) -> Order {
        match self.term.order_of(&arriving.term) {
            Order::Same => match arriving.generation.cmp(&self.generation) {
                std::cmp::Ordering::Less => Order::Older,
                std::cmp::Ordering::Equal => Order::Same,
                std::cmp::Ordering::Greater => Order::Newer,
            },
            other => other,
        }
    }

    /// The version that follows this one when the vault of `term` changes the document.
    #[must_use]
    pub fn next(&self, term: Term) -> Version {
        Version { term, generation: self.generation + 1 }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn version(number: u64, vault: u128, generation: u64) -> Version {
        Version { term: Term { number, vault: VaultId(Uuid::from_u128(vault)) }, generation }
    }

    #[test]
    fn a_higher_term_beats_any_generation() {
        assert_eq!(version(1, 1, 900).order_of(&version(2, 2, 1)), Order::Newer);
        assert_eq!(version(2, 2, 1).order_of(&version(1, 1, 900)), Order::Older);
    }

    #[test]
    fn two_vaults_of_one_term_conflict_whatever_the_generation() {
        assert_eq!(version(2, 1, 5).order_of(&version(2, 2, 9)), Order::Conflict);
    }

    #[test]
    fn within_a_term_the_generation_orders() {
        let held = version(1, 1, 5);
        assert_eq!(held.order_of(&version(1, 1, 4)), Order::Older);
        assert_eq!(held.order_of(&held), Order::Same);
        assert_eq!(held.order_of(&held.next(held.term)), Order::Newer);
    }
}
