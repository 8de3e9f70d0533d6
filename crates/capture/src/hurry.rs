//! Asking for the next cycle at once, whatever the schedule says. This module must never know
//! what a cycle is.

use std::sync::Arc;

use tokio::sync::Notify;

/// Asks for the next cycle at once. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Hurry(Arc<Notify>);

impl Hurry {
    /// The next cycle begins at once; where one runs, another one follows it.
    pub fn now(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn asked(&self) {
        self.0.notified().await;
    }
}
