//! The vault, as a site server asks it. This module must never keep anything.

use std::time::Duration;

use async_trait::async_trait;
use farshore_channel::{Call, ChannelError, Client};
use farshore_control::{
    copy::{CopyAsk, CopyPiece, SITE_COPY_PATH},
    enrolment::{Enrolled, Enrolment, INTRODUCE_PATH, Introduction},
    hello::{HelloReply, SITE_ENROL_PATH, SITE_HELLO_PATH, SiteHello},
    sync::{Documents, Poll, SITE_POLL_PATH, SITE_REPORT_PATH, SiteReply, SiteReport},
};

/// Who is asked and told: the vault.
#[async_trait]
pub trait Above: Send + Sync {
    /// Asks for documents.
    ///
    /// # Errors
    /// Nobody answered as agreed.
    async fn poll(&self, poll: &Poll) -> Result<Documents, ChannelError>;

    /// Tells what hosts said.
    ///
    /// # Errors
    /// As there; whether it arrived is not known then.
    async fn report(&self, report: &SiteReport) -> Result<SiteReply, ChannelError>;

    /// Asks for a host's certificate.
    ///
    /// # Errors
    /// As there, or the vault's refusal.
    async fn introduce(&self, introduction: &Introduction) -> Result<Enrolled, ChannelError>;

    /// Passes on a host's enrolment by a key that the vault made.
    ///
    /// # Errors
    /// As there, or the vault's refusal.
    async fn enrol(&self, enrolment: &Enrolment) -> Result<Enrolled, ChannelError>;

    /// Tells of the site server itself.
    ///
    /// # Errors
    /// As there.
    async fn hello(&self, hello: &SiteHello) -> Result<HelloReply, ChannelError>;

    /// Asks for a piece of the warm copy.
    ///
    /// # Errors
    /// As there, or the vault's refusal.
    async fn copy(&self, asked: &CopyAsk) -> Result<CopyPiece, ChannelError>;
}

#[async_trait]
impl Above for Client {
    async fn poll(&self, poll: &Poll) -> Result<Documents, ChannelError> {
        let call = Call::held(Duration::from_secs(poll.wait_secs));
        self.post(SITE_POLL_PATH, poll, call).await
    }

    async fn report(&self, report: &SiteReport) -> Result<SiteReply, ChannelError> {
        self.post(SITE_REPORT_PATH, report, Call::once()).await
    }

    async fn introduce(&self, introduction: &Introduction) -> Result<Enrolled, ChannelError> {
        self.post(INTRODUCE_PATH, introduction, Call::default()).await
    }

    async fn enrol(&self, enrolment: &Enrolment) -> Result<Enrolled, ChannelError> {
        self.post(SITE_ENROL_PATH, enrolment, Call::default()).await
    }

    async fn hello(&self, hello: &SiteHello) -> Result<HelloReply, ChannelError> {
        self.post(SITE_HELLO_PATH, hello, Call::single()).await
    }

    async fn copy(&self, asked: &CopyAsk) -> Result<CopyPiece, ChannelError> {
        self.post(SITE_COPY_PATH, asked, Call::single()).await
    }
}
