//! A word to a replication from outside, about when its next cycle begins: at once, because the
//! machine has just stopped and is waited for; or not now, because it is stopping. This module must
//! never know what a cycle does.

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

/// Asks for the next cycle at once, or for none. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Hurry {
    asked: Arc<Notify>,
    /// Held by a cycle while it runs, or by who wants none.
    turn: Arc<Mutex<()>>,
}

/// No cycle begins while this is held.
#[derive(Debug)]
pub struct Still {
    _turn: OwnedMutexGuard<()>,
}

impl Hurry {
    /// The next cycle begins at once; where one runs, another one follows it.
    pub fn now(&self) {
        self.asked.notify_one();
    }

    /// Waits until no cycle runs, and keeps the next one from beginning.
    pub async fn still(&self) -> Still {
        Still { _turn: Arc::clone(&self.turn).lock_owned().await }
    }

    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }
}
