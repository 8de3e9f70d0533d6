//! The site server as an upstream: the conversation's messages over the channel. This module
//! must never retry: whoever holds the conversation does, with pauses of its own.

use std::time::Duration;

use async_trait::async_trait;
use farshore_channel::{Call, ChannelError, Client};
use farshore_control::{
    HostReport,
    report::ReportReply,
    sync::{Documents, POLL_PATH, Poll, REPORT_PATH},
};

use crate::managed::{Upstream, UpstreamError};

pub(super) struct SiteServer {
    client: Client,
}

impl SiteServer {
    pub(super) fn new(client: Client) -> SiteServer {
        SiteServer { client }
    }

    fn lost(&self, error: &ChannelError) -> UpstreamError {
        use std::error::Error;
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        UpstreamError { peer: self.peer(), why: format!("{error}{cause}; {}", error.advice_while_tried()) }
    }
}

#[async_trait]
impl Upstream for SiteServer {
    fn peer(&self) -> String {
        self.client.address().to_owned()
    }

    async fn poll(&self, poll: &Poll) -> Result<Documents, UpstreamError> {
        let call = Call::held(Duration::from_secs(poll.wait_secs));
        self.client.post(POLL_PATH, poll, call).await.map_err(|error| self.lost(&error))
    }

    async fn report(&self, report: &HostReport) -> Result<ReportReply, UpstreamError> {
        self.client.post(REPORT_PATH, report, Call::single()).await.map_err(|error| self.lost(&error))
    }
}
