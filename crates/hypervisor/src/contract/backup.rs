//! Backups, checkpoints and jobs as seen from outside. This module must never know how a
//! hypervisor keeps or serves them.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_extent::{Run, Runs};
use farshore_types::{DiskKey, MachineId};

use crate::Result;

/// A named instant since which the hypervisor records the changes of some disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its name, unique within the machine.
    pub name: String,
    /// The checkpoint before it.
    pub parent: Option<String>,
    /// Whether it is the newest: the one whose bitmaps record now.
    pub current: bool,
    /// The disks that take part.
    pub disks: Vec<DiskKey>,
}

/// How much of a checkpoint is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The record and the bitmaps; their content goes to the parent.
    WithBitmaps,
    /// The record alone: for checkpoints whose bitmaps are lost. A bitmap that does exist
    /// stays behind and keeps its name taken.
    RecordOnly,
}

/// What a backup shall offer. Disks that are not named take no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSpec {
    /// Name of the checkpoint made at the same instant; none: no new one.
    pub checkpoint: Option<String>,
    /// The disks to offer.
    pub disks: Vec<BackupDisk>,
    /// The unix socket that the hypervisor shall listen on; its directory must exist and be
    /// writable by QEMU's user. At most 107 bytes long.
    pub socket: PathBuf,
}

/// One disk of a backup to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupDisk {
    /// The disk.
    pub key: DiskKey,
    /// What of it is offered.
    pub mode: BackupMode,
    /// Whether it takes part in the new checkpoint. Only disks with bitmaps can.
    pub tracked: bool,
    /// File for what the guest overwrites meanwhile. It must not exist; its directory must,
    /// writable by QEMU's user. Where it cannot grow, the guest is paused.
    pub scratch: PathBuf,
}

/// What of a disk a backup offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupMode {
    /// All of it.
    Full,
    /// All of it, and a map of what was written since a checkpoint.
    Incremental {
        /// Name of that checkpoint.
        since: String,
    },
}

/// A backup that is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Whose.
    pub machine: MachineId,
    /// Where the hypervisor serves it.
    pub socket: PathBuf,
    /// The disks it offers.
    pub exports: Vec<Exported>,
}

/// One disk that a backup offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The disk.
    pub key: DiskKey,
    /// Whether a map of changes comes with it.
    pub incremental: bool,
}

/// One disk at a backup's instant. May be read by many tasks at once.
#[async_trait]
pub trait Export: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Longest read that is answered in one piece, in bytes.
    fn max_read(&self) -> u32;

    /// Runs of bytes within `range` that hold data; all else reads as zeros.
    async fn allocated(&self, range: Run) -> Result<Runs>;

    /// Runs of bytes within `range` that may have changed since the checkpoint; none where
    /// the backup is a full one.
    async fn dirty(&self, range: Run) -> Result<Option<Runs>>;

    /// `len` bytes from `offset` on.
    ///
    /// # Errors
    /// [`crate::Kind::Invalid`] where that is longer than [`max_read`](Self::max_read) or
    /// passes the end of the disk.
    async fn read(&self, offset: u64, len: u32) -> Result<Bytes>;
}

/// The job that runs on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// None.
    None,
    /// A backup, ours or another tool's.
    Backup {
        /// The unix socket it is served on: tells whose it is. None for pushed backups.
        socket: Option<PathBuf>,
        /// Bytes that the scratch files hold; none where the hypervisor does not say.
        scratch_used: Option<u64>,
        /// Bytes that the scratch files may grow to.
        scratch_total: Option<u64>,
    },
    /// Anything else (save, migration, ...), in the hypervisor's words.
    Other(String),
}

/// A job on one disk that excludes backups while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockJob {
    /// The disk.
    pub disk: DiskKey,
    /// What is done: `pull`, `copy`, `commit` or `active commit`.
    pub what: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}
