//! The messages themselves: plain values, and how each lies in a payload. What may be
//! said when is not known here.

mod cycle;
mod greeting;
mod query;

use std::fmt;

use farshore_types::DiskKey;

pub use cycle::{Abort, Credit, CycleKind, Data, OpenCycle, Outcome, Seal};
pub use greeting::{Hello, OpenHint, Versions, Welcome};
pub use query::{DigestPage, WantDigests};

use crate::{
    codec::{Input, Output},
    error::FrameError,
    limits::{DISK_SIZE_MAX, DISKS_MAX},
};

/// Number of one connection of a machine's source to its replica. The replica counts and
/// persists them; 0 means none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A disk and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSize {
    /// Its name within the machine.
    pub key: DiskKey,
    /// Bytes, 1 to [`DISK_SIZE_MAX`].
    pub size: u64,
}

/// Bytes of the shortest disk entry: length, one character, size.
const DISK_ENTRY_LEN_MIN: usize = 4 + 1 + 8;

fn write_disks(out: &mut Output, disks: &[DiskSize]) {
    out.len(disks.len());
    for disk in disks {
        out.blob(disk.key.as_str().as_bytes());
        out.u64(disk.size);
    }
}

fn read_disks(input: &mut Input) -> Result<Vec<DiskSize>, FrameError> {
    let count = input.count("disks", DISKS_MAX, DISK_ENTRY_LEN_MIN)?;
    let mut disks: Vec<DiskSize> = Vec::with_capacity(count);
    for _ in 0..count {
        let (key, size) = (input.disk_key()?, input.u64("disk size")?);
        if size == 0 {
            return Err(FrameError::Value { field: "disk size", value: 0 });
        }
        if size > DISK_SIZE_MAX {
            return Err(FrameError::TooLarge { field: "disk size", value: size, limit: DISK_SIZE_MAX });
        }
        if disks.iter().any(|d| d.key == key) {
            return Err(FrameError::Order { field: "disks" });
        }
        disks.push(DiskSize { key, size });
    }
    Ok(disks)
}
