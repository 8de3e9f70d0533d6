//! Hosts. This module must never know where they come from.

use farshore_control::report::Space;
use farshore_health::Health;
use farshore_types::HostId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Its site's name.
    pub site: String,
    /// Its cloud's name.
    pub cloud: Option<String>,
    /// Where it takes replication.
    pub address: String,
    /// Whether it takes no new role.
    pub maintenance: bool,
    /// Its agent's version; none before it was heard of.
    pub agent: Option<String>,
    /// Seconds since it was heard of.
    pub heard_secs: Option<u64>,
    /// Milliseconds that its clock is ahead of the vault's.
    pub skew_ms: Option<i64>,
    /// How many machines it has.
    pub machines: usize,
    /// Room at its places.
    pub space: Vec<Space>,
    /// How well it is.
    pub health: Health,
}

/// Where a host belongs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutInto {
    /// Name or id of a cloud of its site.
    pub cloud: String,
}

/// How a host is reached for replication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReachedAt {
    /// `HOST:PORT`, as the other site's hosts reach it.
    pub address: String,
    /// Its Kerberos principal; empty: it has none; left out: it stays.
    #[serde(default)]
    pub principal: Option<String>,
}
