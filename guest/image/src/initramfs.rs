//! The first file system that the kernel sees: busybox and the disk drivers, just enough to
//! mount the real root and go there. Written as a `newc` cpio archive, uncompressed, because
//! unpacking costs an emulated processor more than reading does.

use std::fs;
use std::path::Path;

use crate::error::GuestError;
use crate::packages::Parts;

/// Loads the drivers and mounts the first disk; what is there then is handed over to. A disk whose file
/// system does not mount is a verdict too.
pub(crate) const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev; $b mount -t proc proc /proc; $b mount -t sysfs sys /sys
for m in $($b cat /modules/order); do $b insmod /modules/$m; done
if ! $b mount -t ext4 /dev/vda1 /sysroot; then
    echo "FARSHORE-VERDICT last=0 chain=unknown disks=unknown file=none root=unmountable"
    while :; do $b sleep 3600; done
fi
for d in dev proc sys; do $b mount --move /$d /sysroot/$d; done
"#;

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const DEVICE: u32 = 0o020_600;

/// Device number of `/dev/console`, without which the first process has no output.
const CONSOLE: (u32, u32) = (5, 1);

/// The whole archive.
/// `hand_over` is what its script does last.
pub(crate) fn archive(parts: &Parts, hand_over: &str) -> Result<Vec<u8>, GuestError> {
    let mut cpio = Cpio::default();
    for dir in ["bin", "dev", "modules", "proc", "sys", "sysroot"] {
        cpio.add(dir, DIRECTORY, (0, 0), &[]);
    }
    cpio.add("dev/console", DEVICE, CONSOLE, &[]);
    cpio.add("init", EXECUTABLE, (0, 0), format!("{INIT}{hand_over}\n").as_bytes());
    cpio.add("bin/busybox", EXECUTABLE, (0, 0), &read(&parts.busybox)?);
    let mut order = String::new();
    for module in &parts.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        order.push_str(&format!("{name}\n"));
        cpio.add(&format!("modules/{name}"), FILE, (0, 0), &read(module)?);
    }
    cpio.add("modules/order", FILE, (0, 0), order.as_bytes());
    Ok(cpio.finish())
}

fn read(path: &Path) -> Result<Vec<u8>, GuestError> {
    fs::read(path).map_err(GuestError::file("read", path))
}

/// A `newc` archive being written.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    inodes: usize,
}

impl Cpio {
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.inodes += 1;
        let (inode, size, name_size) = (self.inodes, data.len(), name.len() + 1);
        let (major, minor) = device;
        // inode, mode, uid, gid, links, mtime, size, device of the file, device it is, name's size, checksum
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{major:08x}{minor:08x}{name_size:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_does_not_mount_gives_a_verdict_that_the_host_can_read() {
        let line = INIT.lines().find(|line| line.contains("FARSHORE-VERDICT")).unwrap();
        let verdict: farshore_ledger::Verdict =
            line.trim().trim_start_matches("echo ").trim_matches('"').parse().unwrap();
        assert!(!verdict.is_good());
    }

    #[test]
    fn every_entry_and_its_data_begin_on_four_bytes() {
        let mut cpio = Cpio::default();
        cpio.add("abc", FILE, (0, 0), b"12345");
        let bytes = cpio.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[110..114], b"abc\0");
        assert_eq!(&bytes[116..121], b"12345");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.windows(10).any(|w| w == b"TRAILER!!!"));
    }
}
