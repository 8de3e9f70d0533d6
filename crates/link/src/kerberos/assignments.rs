//! Whose principal is whose, as the vault or the configuration says now. This module must
//! never ask a key distribution centre.

use std::{collections::BTreeMap, sync::Arc};

use farshore_kerberos::Assigned;
use tokio::sync::watch;

use crate::watched::Distrust;

/// Principals and the hosts that they are assigned to. Clones share it: what one of them sets
/// is in force for all, and open connections of whoever is not assigned any more end.
#[derive(Clone, Debug, Default)]
pub struct Assignments(Arc<watch::Sender<BTreeMap<String, String>>>);

impl Assignments {
    /// Those of a table from principals to host names.
    #[must_use]
    pub fn new(hosts: BTreeMap<String, String>) -> Assignments {
        Assignments(Arc::new(watch::Sender::new(hosts)))
    }

    /// Takes another table.
    pub fn set(&self, hosts: BTreeMap<String, String>) {
        self.0.send_if_modified(|held| {
            let changed = *held != hosts;
            *held = hosts;
            changed
        });
    }

    /// The principal of a host.
    #[must_use]
    pub fn principal_of(&self, host: &str) -> Option<String> {
        let held = self.0.borrow();
        held.iter().find(|(_, name)| *name == host).map(|(principal, _)| principal.clone())
    }

    /// Waits until a principal is not a host's any more.
    pub(crate) fn distrust(&self, principal: String, host: String) -> Distrust {
        let mut changes = self.0.subscribe();
        Box::pin(async move {
            loop {
                // Also at first: it may have changed since the handshake began.
                if changes.borrow_and_update().get(&principal) != Some(&host) {
                    return format!("principal {principal} is not assigned to host '{host}' any more");
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    }
}

impl Assigned for Assignments {
    fn host_of(&self, principal: &str) -> Option<String> {
        self.0.borrow().get(principal).cloned()
    }
}
