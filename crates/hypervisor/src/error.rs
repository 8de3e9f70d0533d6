//! The one error of a hypervisor's operation: what could not be done, to which machine, why,
//! and what to do about it. This module must never know how a driver finds that out.

use std::fmt;

use thiserror::Error;

/// Result of a hypervisor's operation.
pub type Result<T, E = HypervisorError> = std::result::Result<T, E>;

/// What went wrong, as far as callers decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The host has no such machine.
    NoSuchMachine,
    /// The host has no such network.
    NoSuchNetwork,
    /// The machine has no such checkpoint, or no such disk takes part in it.
    NoSuchCheckpoint,
    /// A machine, checkpoint or bitmap of that name is there already.
    AlreadyExists,
    /// Another job, backup, block job or state change is in the way: try again later.
    Busy,
    /// The record of changes is missing or was not kept to its end: only a resync helps.
    BitmapBroken,
    /// The operation needs a machine that has been started.
    NotRunning,
    /// The guest has no agent, or it does not run: nothing was asked of the guest.
    NoAgent,
    /// The operation needs a machine that has not been started.
    AlreadyRunning,
    /// The hypervisor did not answer in time; the call may still take effect.
    Timeout,
    /// The hypervisor or the system refused for want of rights.
    Denied,
    /// The hypervisor cannot be reached, or the connection to it broke.
    Connection,
    /// This hypervisor, machine or disk cannot do that at all.
    Unsupported,
    /// The given definition or argument is wrong.
    Invalid,
    /// Anything else: report it as it is.
    Other,
}

impl Kind {
    /// Whether the same call may well succeed later, with nothing else changed.
    #[must_use]
    pub fn heals_with_time(self) -> bool {
        matches!(self, Kind::Busy | Kind::Timeout | Kind::Connection | Kind::NoAgent)
    }
}

/// An operation of the hypervisor failed.
///
/// Its text reads `could not begin a backup of machine 'web1': <why>; <what to do>`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct HypervisorError {
    /// What was tried, so that "could not {operation} machine 'x'" reads as a sentence.
    pub operation: &'static str,
    /// The machine's name, or its UUID where the name is not known.
    pub machine: Option<String>,
    /// What callers decide by.
    pub kind: Kind,
    /// The hypervisor's own words.
    pub detail: String,
    /// What a person can do about it.
    pub advice: &'static str,
}

impl HypervisorError {
    /// An error that names no machine yet, with the advice usual for its kind.
    #[must_use]
    pub fn new(operation: &'static str, kind: Kind, detail: impl Into<String>) -> HypervisorError {
        HypervisorError { operation, machine: None, kind, detail: detail.into(), advice: usual_advice(kind) }
    }

    /// The same error, naming the machine.
    #[must_use]
    pub fn of(mut self, machine: impl fmt::Display) -> HypervisorError {
        self.machine = Some(machine.to_string());
        self
    }

    /// The same error with advice of its own.
    #[must_use]
    pub fn advise(mut self, advice: &'static str) -> HypervisorError {
        self.advice = advice;
        self
    }
}

impl fmt::Display for HypervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.operation)?;
        if let Some(machine) = &self.machine {
            write!(f, " machine '{machine}'")?;
        }
        write!(f, ": {}; {}", self.detail, self.advice)
    }
}

fn usual_advice(kind: Kind) -> &'static str {
    match kind {
        Kind::NoSuchMachine => "check the name and the host",
        Kind::NoSuchNetwork => "make the network, or map it to another one",
        Kind::NoSuchCheckpoint => "list the machine's checkpoints",
        Kind::AlreadyExists => "remove or rename the one that is there",
        Kind::Busy => "wait until the other job on this machine has ended",
        Kind::BitmapBroken => "resynchronize the machine",
        Kind::NoAgent => {
            "install and start qemu-guest-agent in the guest, and give the machine a channel \
             'org.qemu.guest_agent.0'"
        }
        Kind::NotRunning => "start the machine first",
        Kind::AlreadyRunning => "stop the machine first",
        Kind::Timeout => "look whether the hypervisor is overloaded or hangs",
        Kind::Denied => "give the agent's user and QEMU's user the right to do this",
        Kind::Connection => "check that libvirt runs on this host",
        Kind::Unsupported => "use a hypervisor, machine or disk that can",
        Kind::Invalid => "correct the definition",
        Kind::Other => "see the hypervisor's own log for this machine",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_why_and_what_to_do() {
        let error =
            HypervisorError::new("begin a backup of", Kind::Busy, "another job holds the lock").of("web1");
        assert_eq!(
            error.to_string(),
            "could not begin a backup of machine 'web1': another job holds the lock; \
             wait until the other job on this machine has ended"
        );
    }
}
