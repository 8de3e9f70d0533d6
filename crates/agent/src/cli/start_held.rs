//! `start-held`. This module must never judge.

use crate::control::Request;

/// Starts a machine that is held after this host's boot.
///
/// After a boot a protected machine starts only when the other site says that it has not taken
/// it over. Where nobody answers, it is held; where you know that it does not run there, this
/// starts it. It is logged, and the vault is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farshore-agent start-held web1")]
#[command(verbatim_doc_comment)]
pub(super) struct StartHeldArgs {
    /// Name or UUID.
    machine: String,
}

impl StartHeldArgs {
    pub(super) fn request(self) -> Request {
        Request::StartHeld { machine: self.machine }
    }
}
