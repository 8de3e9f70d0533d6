//! Whom the agent asks and tells: its site server, the vault, or the other site's server.
//! This module must never know how a message travels.

use async_trait::async_trait;
use farshore_control::{
    HostReport,
    report::ReportReply,
    sync::{Documents, Poll},
};
use thiserror::Error;

/// Nobody answered, or not as agreed. It is tried again; meanwhile everything goes on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{peer} does not answer: {why}")]
pub struct UpstreamError {
    /// Who was asked.
    pub peer: String,
    /// What happened instead, with what to do.
    pub why: String,
}

/// One party that hands documents down and takes reports.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// Its name and address, for logs and problems.
    fn peer(&self) -> String;

    /// Asks for documents; may take up to [`Poll::wait_secs`] longer than an answer takes.
    ///
    /// # Errors
    /// [`UpstreamError`].
    async fn poll(&self, poll: &Poll) -> Result<Documents, UpstreamError>;

    /// Tells what there is.
    ///
    /// # Errors
    /// [`UpstreamError`]; whether it arrived is not known then.
    async fn report(&self, report: &HostReport) -> Result<ReportReply, UpstreamError>;
}
