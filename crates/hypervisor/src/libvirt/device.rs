//! What the kernel has counted of a block device: whether it has been written. This module must
//! never write to one.

use std::{
    fs::{File, Metadata, read_to_string},
    io::{Seek, SeekFrom},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::sys::stat::{major, minor};

/// Where the kernel shows its block devices by their numbers.
const DEVICES: &str = "/sys/dev/block";
/// Differs after each boot, by which counting begins anew.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Places in `stat` of what tells of a write: sectors written, and discarded (kernels before 4.18 do
/// not count these). Not the requests: a flush is one of them.
const COUNTS: [usize; 2] = [6, 13];

/// Differs once the device is written, is another one, or the host has booted; none where that is
/// not counted. Writes that go past the device, to what it consists of, are not seen.
pub(super) fn stamp(path: &Path, about: &Metadata) -> Option<String> {
    if !about.file_type().is_block_device() {
        return None;
    }
    let mut device = File::open(path).ok()?;
    // Counted is what has reached the device.
    device.sync_all().ok()?;
    let size = device.seek(SeekFrom::End(0)).ok()?;
    let number = format!("{}:{}", major(about.rdev()), minor(about.rdev()));
    let at = PathBuf::from(DEVICES).join(&number);
    // A partition's queue is its disk's.
    let counting = ["queue/iostats", "../queue/iostats"].map(|of| read_to_string(at.join(of)).ok());
    if counting.into_iter().flatten().next()?.trim() != "1" {
        return None;
    }
    let (boot, counted) = (read_to_string(BOOT_ID).ok()?, read_to_string(at.join("stat")).ok()?);
    let counted: Vec<&str> = counted.split_ascii_whitespace().collect();
    let written = COUNTS.map(|at| counted.get(at).copied().unwrap_or_default());
    // A device that takes another one's number is another one.
    let same = ["diskseq", "../diskseq"].map(|of| read_to_string(at.join(of)).ok());
    let same = same.into_iter().flatten().next().unwrap_or_default();
    Some(format!("{}:{number}:{}:{size}:{}", boot.trim(), same.trim(), written.join(":")))
}
