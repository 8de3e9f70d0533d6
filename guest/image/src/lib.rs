//! The demo guest, from the distribution's packages to a libvirt definition: a Linux of a
//! few megabytes that boots from its own replicated disk and says on its serial console
//! whether its two disks are whole and of one instant (see `farshore-ledger`).
//!
//! Test side: it runs programs, and it must never be used by what a user runs.

mod boot_disk;
mod build;
mod command;
mod console;
mod domain;
mod error;
mod initramfs;
mod ledger_program;
mod packages;

pub use build::{BOOT_DISK_BYTES, GuestImage, LEDGER_DISK_BYTES, build, default_out_dir};
pub use console::{Console, read_console, read_verdicts};
pub use domain::{Accelerator, Guest, Load, domain_xml};
pub use error::GuestError;
pub use farshore_ledger::{Chain, ConsoleEvent, Disks, Root, Verdict};
