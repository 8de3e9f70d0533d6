//! How documents go down and reports go up: what is asked and answered, over whatever
//! carries it. The same between vault and site server and between site server and agent.

use farshore_types::{HostId, SiteId};
use serde::{Deserialize, Serialize};

use crate::{
    Document, Term,
    report::{HostReport, Problem, ReportReply},
};

/// Where a host posts a [`Poll`], and gets [`Documents`].
pub const POLL_PATH: &str = "/agent/v1/poll";
/// Where a host posts its [`HostReport`], and gets a [`ReportReply`].
pub const REPORT_PATH: &str = "/agent/v1/report";
/// Where a site server posts a [`Poll`] to the vault, and gets [`Documents`].
pub const SITE_POLL_PATH: &str = "/site/v1/poll";
/// Where a site server posts its [`SiteReport`], and gets a [`SiteReply`].
pub const SITE_REPORT_PATH: &str = "/site/v1/report";

/// Longest time, in seconds, that a question for documents is held when there is nothing
/// new.
pub const POLL_SECS_MAX: u64 = 30;

/// Most documents in one answer; the asker asks again at once.
pub const BATCH_MAX: usize = 1000;

/// Most problems that one site server tells of itself; more are passed over.
pub const PROBLEMS_MAX: usize = 100;

/// Most reports in one message.
pub const REPORTS_MAX: usize = 500;

/// How far the asker has everything, in the answerer's own counting. It means nothing to
/// anybody else, and nothing after a change of term: then everything is asked for anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The term in which it was given.
    pub term: Term,
    /// Everything up to this is known.
    pub sequence: u64,
}

/// Asks for documents: answered when there are some, or when the time is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    /// How far the asker is; none: it has nothing.
    pub cursor: Option<Cursor>,
    /// The highest term it has heard of, so that a superseded vault learns that.
    pub term: Option<Term>,
    /// Seconds to wait when there is nothing new, 0 to [`POLL_SECS_MAX`].
    pub wait_secs: u64,
}

/// The answer to a [`Poll`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Documents {
    /// The term of who answers.
    pub term: Term,
    /// To be asked with next time.
    pub cursor: Cursor,
    /// What is new or changed; never a removal by leaving out (rule R5).
    pub documents: Vec<Document>,
    /// Whether there is more at once.
    pub more: bool,
    /// Milliseconds since the Unix epoch by the vault's clock, as of this answer: requests
    /// expire by it (rule R7). None where who answers has no contact with the vault now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ms: Option<u64>,
}

/// What a site server tells the vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteReport {
    /// Which site.
    pub site: SiteId,
    /// The site server's version.
    pub version: String,
    /// Milliseconds since the Unix epoch by the site server's clock.
    pub clock_ms: u64,
    /// Milliseconds of the last round trip with the vault.
    pub transit_ms: u64,
    /// What is wrong with the site server itself, or was while the vault did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// What hosts said, and how many milliseconds ago the site server received it.
    pub hosts: Vec<(u64, HostReport)>,
}

/// The vault's answer to a [`SiteReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteReply {
    /// The vault's term.
    pub term: Term,
    /// To each host's report.
    pub hosts: Vec<(HostId, ReportReply)>,
}
