//! Boots the real guest under plain QEMU, kills it while it writes, and spoils its disks:
//! the verdict must be good exactly when the disks are.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside what clippy takes for a test")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use farshore_guest::{Chain, Disks, GuestImage, Load, Root, Verdict, build, default_out_dir, read_console};

/// Longest wait for a boot or a heartbeat, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(120);
const RECORD_BYTES: u64 = 4096;

/// A guest that runs until this is dropped, which kills it as a power cut would.
struct Running(Child);

impl Running {
    fn start(image: &GuestImage, console: &Path) -> Running {
        let _ = fs::remove_file(console);
        let load = Load { records_per_second: 500, ..Load::default() };
        let drive = |path: &Path| format!("file={},if=virtio,discard=unmap", path.display());
        let child = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc", "-accel", "tcg", "-m", "128", "-nodefaults", "-display", "none"])
            .args(["-monitor", "none", "-serial", &format!("file:{}", console.display())])
            .args(["-drive", &drive(&image.disk1), "-drive", &drive(&image.disk2)])
            .args(["-smbios", &format!("type=1,family={}", load.words())])
            .stdin(Stdio::null())
            .spawn();
        Running(child.expect("QEMU is installed"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for<T>(what: &str, console: &Path, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let said = || String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned();
        assert!(started.elapsed() < PATIENCE, "no {what} in {PATIENCE:?}; the console says:\n{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Boots, waits for the verdict, and kills the guest when it has written for a while, if it may.
fn boot(image: &GuestImage, dir: &Path) -> (Verdict, u64) {
    let console = dir.join("console");
    let _guest = Running::start(image, &console);
    let read = || read_console(&console).unwrap();
    let verdict = wait_for("verdict", &console, || read().verdicts().first().copied());
    if !verdict.is_good() {
        return (verdict, verdict.last);
    }
    let flushed = wait_for("heartbeat", &console, || read().last_known().filter(|n| *n > verdict.last));
    (verdict, flushed)
}

/// Flips a byte of record `number` inside the qcow2 file, without a trace in its metadata.
fn spoil(disk: &Path, number: u64) {
    let raw = disk.with_extension("raw");
    let convert = |from: &Path, to: &Path, format: &str| {
        let status = Command::new("qemu-img").args(["convert", "-O", format]).arg(from).arg(to).status();
        assert!(status.unwrap().success());
    };
    convert(disk, &raw, "raw");
    let file = OpenOptions::new().read(true).write(true).open(&raw).unwrap();
    let (at, mut byte) = (number * RECORD_BYTES + 2000, [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    convert(&raw, disk, "qcow2");
}

#[test]
fn the_verdict_is_good_after_every_kill_and_never_for_disks_that_do_not_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let image = build(&default_out_dir()).unwrap().copy_to(dir).unwrap();
    let older = dir.join("older.qcow2");

    let (first, flushed) = boot(&image, dir);
    assert_eq!((first.last, first.chain, first.disks), (0, Chain::Empty, Disks::InStep));
    fs::copy(&image.disk2, &older).unwrap();

    let (second, flushed_later) = boot(&image, dir);
    assert_eq!((second.chain, second.disks, second.root), (Chain::Whole, Disks::InStep, Root::Recovered));
    assert!(second.last >= flushed, "record {flushed} was flushed, {} is the last", second.last);
    assert!(flushed_later > flushed);

    let newer = dir.join("newer.qcow2");
    fs::copy(&image.disk2, &newer).unwrap();
    fs::copy(&older, &image.disk2).unwrap();
    let (swapped, _) = boot(&image, dir);
    assert_eq!((swapped.chain, swapped.disks), (Chain::Whole, Disks::OutOfStep));

    fs::copy(&newer, &image.disk2).unwrap();
    spoil(&image.disk2, flushed - 1);
    let (spoilt, _) = boot(&image, dir);
    assert_eq!((spoilt.chain, spoilt.disks), (Chain::Broken(flushed - 1), Disks::InStep));
}
