//! What can go wrong in a replica store, each with what, where and what to do.

use std::path::PathBuf;

use farshore_delta::DeltaError;
use farshore_qcow2::FormatError;
use farshore_types::{DiskKey, Epoch, MachineId, PointId};
use thiserror::Error;

/// A store could not do what was asked. Nothing acknowledged is ever lost by an error.
#[derive(Debug, Error)]
pub enum ReplicaError {
    /// The system refused a file operation.
    #[error("{what} in replica {dir}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The replica's directory.
        dir: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another agent has the replica open.
    #[error("replica {dir} is in use by another agent; stop that agent, or talk to it through its socket")]
    Locked {
        /// The replica's directory.
        dir: PathBuf,
    },
    /// The directory holds the replica of another machine.
    #[error(
        "directory {dir} holds the replica of machine {found} ('{found_name}'), not of {wanted}; choose another directory"
    )]
    OtherMachine {
        /// The directory.
        dir: PathBuf,
        /// Whose replica it is.
        found: MachineId,
        /// Its name.
        found_name: String,
        /// Whose replica was asked for.
        wanted: MachineId,
    },
    /// There is no replica here.
    #[error("there is no replica in {dir}; `points` without a machine lists those that there are")]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The store's own record cannot be read.
    #[error("{path} is damaged: {why}; restore it from the other agent's copy or start the replica anew")]
    State {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        why: String,
    },
    /// No such point.
    #[error("machine '{machine}' has no recovery point {id}; {advice}")]
    NoSuchPoint {
        /// The machine's name.
        machine: String,
        /// What was asked for.
        id: PointId,
        /// The points there are, or why there are none.
        advice: String,
    },
    /// The point has no such disk.
    #[error("point {id} has no disk '{disk}'; it has {has}")]
    NoSuchDisk {
        /// The point.
        id: PointId,
        /// What was asked for.
        disk: DiskKey,
        /// Those there are.
        has: String,
    },
    /// A delta file is damaged.
    #[error("point {id} ({path}): {source}")]
    Delta {
        /// The element.
        id: PointId,
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: DeltaError,
    },
    /// An image's own structures are damaged.
    #[error("image {path}: {source}")]
    Format {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
    /// A patch does not make what it should of what is here.
    #[error(
        "disk '{disk}', cluster {cluster} of the open cycle: {why}; the source must send the cluster whole"
    )]
    Patch {
        /// The disk.
        disk: DiskKey,
        /// Index of the cluster.
        cluster: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// Bytes in the image do not have the digest that they were sealed with.
    #[error(
        "disk '{disk}', cluster {cluster} of point {id}: {why}; take another point, and resync the machine"
    )]
    Corrupt {
        /// The point.
        id: PointId,
        /// The disk.
        disk: DiskKey,
        /// Index of the cluster.
        cluster: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The image's structures are in an unknown state after a failed write.
    #[error("image {path} must be opened again after a failed write; the next cycle or bring-up does that")]
    Uncertain {
        /// The image.
        path: PathBuf,
    },
    /// Reference counts do not add up, and building them anew from the chain did not help.
    #[error("image {path}: reference counts do not add up; start the replica anew")]
    Refcounts {
        /// The image.
        path: PathBuf,
    },
    /// The machine runs here, or is just being brought up.
    #[error(
        "machine '{machine}' was brought up here at point {point}; `discard` ends that before anything else"
    )]
    BroughtUp {
        /// The machine's name.
        machine: String,
        /// The point it was brought up at.
        point: PointId,
    },
    /// A writer of an older epoch.
    #[error(
        "epoch {arriving} of machine '{machine}' was superseded by epoch {held}; this writer is no longer the owner"
    )]
    OlderEpoch {
        /// The machine's name.
        machine: String,
        /// The writer's.
        arriving: u64,
        /// Ours.
        held: u64,
    },
    /// Equal epochs, two owners.
    #[error(
        "machine '{machine}' has two owners of epoch {number}; nothing is written until an operator declares the winner"
    )]
    EpochConflict {
        /// The machine's name.
        machine: String,
        /// The epoch's number.
        number: u64,
    },
    /// The writer broke the rules of a cycle.
    #[error("cycle {cycle} of machine '{machine}' refused: {why}")]
    Cycle {
        /// The machine's name.
        machine: String,
        /// The cycle.
        cycle: u64,
        /// Which rule.
        rule: CycleRule,
        /// What broke it.
        why: String,
    },
    /// The reader was asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// A point cannot be pruned, moved or brought up now.
    #[error("{what}: {why}")]
    NotNow {
        /// What was asked.
        what: &'static str,
        /// Why it cannot be, and what to do.
        why: String,
    },
}

/// The rules of a cycle, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleRule {
    /// What comes for a cycle comes while it is open: it is not after a bring-up, an error,
    /// or a restart.
    Open,
    /// It builds on the replica's last element, by a number above that one's.
    Base,
    /// Its records are of its disks, within their size, and each cluster comes once.
    Records,
    /// It has no more clusters than a store takes at once.
    Size,
    /// Its root digest is what its records give.
    Root,
}

impl ReplicaError {
    /// Whether the store ran out of space.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let full = |e: &std::io::Error| matches!(e.kind(), StorageFull | QuotaExceeded);
        match self {
            ReplicaError::Io { source, .. } => full(source),
            ReplicaError::Delta { source: DeltaError::Io(source), .. } => full(source),
            _ => false,
        }
    }

    /// The epochs of a refusal, as (arriving, held).
    #[must_use]
    pub fn epochs(&self, arriving: &Epoch) -> Option<(u64, u64)> {
        match self {
            ReplicaError::OlderEpoch { held, .. } => Some((arriving.number, *held)),
            ReplicaError::EpochConflict { number, .. } => Some((arriving.number, *number)),
            _ => None,
        }
    }
}
