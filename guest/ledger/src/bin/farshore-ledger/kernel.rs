//! What the guest asks of its kernel besides files: how the root came up, an id, power off.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, ensure};
use farshore_ledger::{LedgerId, Root};
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::reboot::{RebootMode, reboot};

/// Longest record that the kernel's log gives in one read.
const LOG_RECORD_BYTES: usize = 8192;

/// How the root file system came up, from the kernel's own words about it.
pub(crate) fn root_state() -> Root {
    let log = log();
    if log.contains("EXT4-fs error (device vda1") || log.contains("mounting fs with errors") {
        Root::Errors
    } else if log.contains("EXT4-fs (vda1): recovery complete") {
        Root::Recovered
    } else {
        Root::Clean
    }
}

/// All that the kernel has logged; one read gives one record, until it would block.
fn log() -> String {
    let mut log = String::new();
    let open = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open("/dev/kmsg");
    if let Ok(mut kmsg) = open {
        let mut record = [0; LOG_RECORD_BYTES];
        while let Ok(len @ 1..) = kmsg.read(&mut record) {
            log.push_str(&String::from_utf8_lossy(&record[..len]));
        }
    }
    log
}

/// A fresh id for a new ledger.
pub(crate) fn random_id() -> Result<LedgerId> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("read a random id")?;
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    ensure!(digits.len() == 32, "the kernel's random id has {} digits", digits.len());
    let number = u128::from_str_radix(&digits, 16).context("read a random id")?;
    Ok(LedgerId(number.to_be_bytes()))
}

/// Leaves the root file system clean and powers off; returns only on failure.
pub(crate) fn power_off() -> Result<()> {
    nix::unistd::sync();
    // Refused while something holds a file open for writing; then the journal says so at the next boot.
    let _ = nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
        None::<&str>,
    );
    reboot(RebootMode::RB_POWER_OFF).context("power off")?;
    Ok(())
}
