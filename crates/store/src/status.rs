//! How a store is, for whoever watches: its state, and what it has done so far.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::Notify;

use crate::{StoreError, behind::Behind};

/// Whether a store can be written.
#[derive(Clone, Debug)]
pub enum Status {
    /// It can.
    Up,
    /// The connection is lost, and the store tries to get it back.
    Down {
        /// What callers are told meanwhile.
        error: StoreError,
    },
    /// It never can again in this process: taken over, rolled back, or closed.
    Ended {
        /// Why.
        error: StoreError,
    },
}

/// What a store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Callers' transactions that were written.
    pub transactions: u64,
    /// The database's transactions that these and the samples took.
    pub commits: u64,
    /// Statements for rows and events.
    pub operations: u64,
    /// Samples written.
    pub samples: u64,
    /// Samples that were given up, because too many waited.
    pub samples_dropped: u64,
    /// Events and samples deleted because of their age.
    pub pruned: u64,
    /// How often the connection was lost and got back.
    pub reconnects: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) transactions: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) samples: AtomicU64,
    pub(crate) pruned: AtomicU64,
    pub(crate) reconnects: AtomicU64,
}

/// What the store's handles and its writer have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    behind: Mutex<Behind>,
    /// Says that many samples wait.
    pub(crate) many: Notify,
    pub(crate) counters: Counters,
}

impl Shared {
    /// The samples that wait; held for moments only, never across a wait.
    pub(crate) fn behind(&self) -> MutexGuard<'_, Behind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn figures(&self) -> Figures {
        let Counters { transactions, commits, operations, samples, pruned, reconnects } = &self.counters;
        Figures {
            transactions: transactions.load(Relaxed),
            commits: commits.load(Relaxed),
            operations: operations.load(Relaxed),
            samples: samples.load(Relaxed),
            samples_dropped: self.behind().dropped(),
            pruned: pruned.load(Relaxed),
            reconnects: reconnects.load(Relaxed),
        }
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}
