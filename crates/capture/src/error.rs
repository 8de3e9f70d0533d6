//! Why a cycle, or a whole replication, could not go on.

use std::path::PathBuf;

use farshore_hypervisor::{HypervisorError, Kind};
use farshore_link::{CycleOver, LinkError};
use farshore_types::DiskKey;
use farshore_wire::FailureCode;
use thiserror::Error;

/// A failure of one machine's replication.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The hypervisor.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// The session with the target.
    #[error("{}", chain(.0))]
    Link(#[from] LinkError),
    /// This host's own state files.
    #[error("{what} {path}: {source}")]
    State {
        /// What was done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The space for scratch files runs out.
    #[error(
        "only {free} bytes are free for scratch files in {dir}; the cycle was given up before the guest could be stopped: make room there"
    )]
    Scratch {
        /// Where.
        dir: PathBuf,
        /// Bytes free.
        free: u64,
    },
    /// The target cannot hold the initial copy.
    #[error(
        "the initial copy needs about {needed} bytes, the target has {free} free; make room there or exclude disks"
    )]
    NoRoom {
        /// Bytes of data on the disks.
        needed: u64,
        /// Bytes free at the target.
        free: u64,
    },
    /// The machine has no disk that can be replicated.
    #[error("machine '{machine}' has no disk to replicate: {why}")]
    NoDisks {
        /// Its name.
        machine: String,
        /// Why each is left out.
        why: String,
    },
    /// Disks that could not be looked at: never a reason to go on without them.
    #[error("machine '{machine}' has disks that cannot be looked at now: {why}; it is tried again")]
    Unseen {
        /// Its name.
        machine: String,
        /// Which, and why.
        why: String,
    },
    /// A disk that the points at the target have can no longer be replicated.
    #[error(
        "disk '{disk}' of machine '{machine}' is replicated, but now it would be left out ({why}), and the next points would lack it: undo that, or exclude the disk in the configuration"
    )]
    TurnedAway {
        /// Its name.
        machine: String,
        /// The disk.
        disk: DiskKey,
        /// What the definition says of it now.
        why: String,
    },
    /// The machine's definition is longer than what travels with a point.
    #[error(
        "the definition of machine '{machine}' has {len} bytes packed, a point takes {most}: make it shorter, its metadata first"
    )]
    Definition {
        /// Its name.
        machine: String,
        /// Bytes.
        len: usize,
        /// Most bytes.
        most: usize,
    },
    /// A named disk is not there.
    #[error("machine '{machine}' has no disk '{disk}' to exclude; it has {has}")]
    NoSuchDisk {
        /// Its name.
        machine: String,
        /// What was named.
        disk: String,
        /// What there is.
        has: String,
    },
    /// A disk changed where its bitmap says that it did not.
    #[error(
        "disk '{disk}' changed at cluster {cluster} and its bitmap does not say so (was it cut and grown back?): everything is compared"
    )]
    Unrecorded {
        /// The disk.
        disk: DiskKey,
        /// Index of the cluster.
        cluster: u64,
    },
    /// The guest was stopped by an error of its disk or scratch file.
    #[error(
        "the guest was stopped by an I/O error during the cycle; the backup was ended and the guest set going again"
    )]
    GuestStopped,
    /// A guest that was frozen for a point is not known to be thawed.
    #[error(
        "the file systems of machine {machine} may still stand frozen: {why}; thaw them in the guest (`fsfreeze --unfreeze` for each), or restart its agent there"
    )]
    Frozen {
        /// Which.
        machine: farshore_types::MachineId,
        /// Why it is not known.
        why: String,
    },
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
    /// A part of the work ended without a result.
    #[error("a worker ended early: {0}")]
    Worker(String),
}

impl CaptureError {
    /// Whether trying again later, with nothing changed by a person, may succeed.
    #[must_use]
    pub fn heals(&self) -> bool {
        match self {
            // Machines are defined again, disks plugged in again, certificates renewed, rights
            // given: none of that should need a restart of the agent.
            CaptureError::Hypervisor(_) | CaptureError::NoDisks { .. } | CaptureError::Definition { .. } => {
                true
            }
            CaptureError::Link(e) => link_heals(e),
            CaptureError::State { .. } | CaptureError::Scratch { .. } | CaptureError::Worker(_) => true,
            CaptureError::GuestStopped
            | CaptureError::Frozen { .. }
            | CaptureError::Unseen { .. }
            | CaptureError::Unrecorded { .. }
            | CaptureError::TurnedAway { .. } => true,
            CaptureError::NoRoom { .. } | CaptureError::NoSuchDisk { .. } | CaptureError::Stopped => false,
        }
    }

    /// Whether the record of changes can no longer be trusted.
    pub(crate) fn lost_tracking(&self) -> bool {
        matches!(
            self,
            CaptureError::Hypervisor(HypervisorError {
                kind: Kind::BitmapBroken | Kind::NoSuchCheckpoint,
                ..
            }) | CaptureError::Unrecorded { .. }
        )
    }

    /// Whether the target could not put a patch into what it has.
    pub(crate) fn is_bad_patch(&self) -> bool {
        match self {
            CaptureError::Link(LinkError::Cycle(CycleOver::Failed { failure, .. })) => {
                failure.code == FailureCode::BadPatch
            }
            _ => false,
        }
    }

    /// Whether something else holds the machine that will let it go by itself.
    pub(crate) fn in_the_way(&self) -> bool {
        matches!(self, CaptureError::Hypervisor(HypervisorError { kind: Kind::Busy, .. }))
    }
}

fn link_heals(error: &LinkError) -> bool {
    // A cycle that was refused, for whatever reason, is run again by a new session; and why a
    // session ended is said anew by the next.
    let again = matches!(error, LinkError::Untrusted { .. } | LinkError::Cycle(_) | LinkError::Ended { .. });
    again || error.is_recoverable()
}

/// The error with the causes that its own text leaves out.
fn chain(error: &LinkError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use farshore_link::CycleOver;
    use farshore_wire::{Failure, FailureCode, Refusal, RefusalCode};

    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_a_lost_ownership_is_not() {
        for kind in [Kind::Invalid, Kind::NoSuchMachine, Kind::Denied, Kind::Other] {
            assert!(CaptureError::Hypervisor(HypervisorError::new("begin", kind, "")).heals(), "{kind:?}");
        }
        for code in FailureCode::ALL {
            let failure = Failure::new(*code, "", "");
            assert!(CaptureError::Link(LinkError::Cycle(CycleOver::Failed { cycle: 1, failure })).heals());
        }
        let (peer, why) = (String::new(), String::new());
        assert!(CaptureError::Link(LinkError::Untrusted { peer, why, advice: "" }).heals());
        for code in [RefusalCode::OlderEpoch, RefusalCode::EpochConflict, RefusalCode::BroughtUp] {
            let (peer, refusal) = (String::new(), Refusal::new(code, "", ""));
            assert!(!CaptureError::Link(LinkError::Refused { peer, refusal }).heals(), "{code}");
        }
    }
}
