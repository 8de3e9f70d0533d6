//! The guests, from the distribution's packages to a libvirt definition.
//!
//! The demo guest: a Linux of a
//! few megabytes that boots from its own replicated disk and says on its serial console
//! whether its two disks are whole and of one instant (see `farshore-ledger`). The full guest: a
//! Debian with its own init and guest agent (see `debian`).
//!
//! Test side: it runs programs, and it must never be used by what a user runs.

mod boot_disk;
mod build;
mod command;
mod console;
mod debian;
mod domain;
mod error;
mod initramfs;
mod ledger_program;
mod packages;

pub use build::{BOOT_DISK_BYTES, GuestImage, LEDGER_DISK_BYTES, build, default_out_dir};
pub use console::{Console, read_console, read_verdicts};
pub use debian::{DEBIAN_DATA_BYTES, DEBIAN_ROOT_BYTES, build_debian};
pub use domain::{Accelerator, Guest, Load, debian_xml, domain_xml};
pub use error::GuestError;
pub use farshore_ledger::{Chain, ConsoleEvent, Disks, Root, Verdict};
