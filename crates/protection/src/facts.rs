//! What is seen around a protection when something is to be decided about it. This module must
//! never know how it was found out.

use farshore_types::Epoch;
use serde::{Deserialize, Serialize};

/// What is seen. Nothing here is trusted for longer than one decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whether this vault may command.
    pub speaks: Speaks,
    /// Of the life's source.
    pub source: Seen,
    /// Of the life's target.
    pub target: Seen,
    /// Whether the target holds a whole recovery point, or disks of its own of which the
    /// machine ran.
    pub whole_point: bool,
    /// What keeps the target from getting the machine's last state now: cycles that fail, a replica
    /// that is damaged. Nothing is moved by plan then.
    #[serde(default)]
    pub not_current: Option<String>,
    /// Epochs that hosts hold durably, or that the vault knows from elsewhere: the highest, and the
    /// one that stands against it, if one does.
    #[serde(default)]
    pub known: Vec<Epoch>,
}

/// Whether a vault may command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speaks {
    /// It may.
    Yes,
    /// It is learning what its hosts hold (rule R6).
    Learning,
    /// Another vault speaks by a higher term.
    Superseded,
}

/// What is seen of one of the two hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Whether its agent was heard of lately.
    pub reachable: bool,
    /// Whether the machine runs there; none: nobody knows.
    pub runs: Option<bool>,
    /// What stands against starting the machine, or keeping its replica, there.
    #[serde(default)]
    pub stands_against: Option<String>,
    /// Why the machine could not be started there, as the host looked at it last: nothing is moved
    /// there by plan then. After a disaster it is tried all the same.
    #[serde(default)]
    pub could_not_start: Option<String>,
}

impl Facts {
    /// Whether two own the machine by what is known besides its life.
    #[must_use]
    pub fn is_contested(&self) -> bool {
        self.known.len() > 1
    }

    /// All is well: both hosts are there, the source runs the machine, the target has points.
    #[must_use]
    pub fn well() -> Facts {
        let seen =
            |runs| Seen { reachable: true, runs: Some(runs), stands_against: None, could_not_start: None };
        Facts {
            speaks: Speaks::Yes,
            source: seen(true),
            target: seen(false),
            whole_point: true,
            not_current: None,
            known: Vec::new(),
        }
    }
}

impl Seen {
    /// A host of which nothing is known.
    #[must_use]
    pub fn lost() -> Seen {
        Seen { reachable: false, runs: None, stands_against: None, could_not_start: None }
    }
}
