//! What a site server tells the vault of itself, whether or not it has hosts: where hosts
//! reach it, when its certificate ends, and which certificates it holds for revoked. A vault
//! that was restored learns from it what was revoked after its backup (rule R6). How well it
//! is, its reports say ([`SiteReport`](crate::sync::SiteReport)).

use farshore_types::SiteId;
use serde::{Deserialize, Serialize};

use crate::{Term, TrustDocument};

/// Where a site server posts a [`SiteHello`], and gets a [`HelloReply`].
pub const SITE_HELLO_PATH: &str = "/site/v1/hello";
/// Where a site server posts the [`Enrolment`](crate::enrolment::Enrolment) of a host whose
/// registration key the vault made, and gets an [`Enrolled`](crate::enrolment::Enrolled).
pub const SITE_ENROL_PATH: &str = "/site/v1/enrol";

/// Most bytes of the address.
pub const ADDRESS_BYTES_MAX: usize = 300;

/// A site server speaks of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteHello {
    /// Which site.
    pub site: SiteId,
    /// Its version.
    pub version: String,
    /// Where hosts reach it: what registration keys for hosts carry, `host:port`.
    pub address: String,
    /// When its certificate ends, in milliseconds since the Unix epoch.
    pub certificate_until_ms: u64,
    /// Number of the list of revoked certificates that it holds; 0: none.
    pub revoked_number: u64,
    /// Whom it trusts, where the vault asked, or a term is new to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustDocument>,
}

/// The vault's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply {
    /// The vault's term.
    pub term: Term,
    /// Whether the vault lacks what the site server holds of revocations.
    pub wants_trust: bool,
    /// The other sites' servers, by which this one finds a vault that was promoted elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<(SiteId, String)>,
}
