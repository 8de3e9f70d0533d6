//! `machines` and `status`. This module must never look at anything itself.

use crate::control::Request;

/// Lists the machines of this host and how each of their disks can be replicated.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farshore-agent machines --output json")]
pub(super) struct MachinesArgs {}

/// Shows what is replicated from here and to here, with its RPO.
///
/// The RPO is the time from the instant that the newest recovery point shows until now: what
/// would be lost if the source were lost now.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farshore-agent status")]
pub(super) struct StatusArgs {}

impl MachinesArgs {
    pub(super) fn request(&self) -> Request {
        Request::Machines
    }
}

impl StatusArgs {
    pub(super) fn request(&self) -> Request {
        Request::Status
    }
}
