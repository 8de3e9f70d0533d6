//! Sites, clouds, hosts and machines.

use farshore_control::report::{HostFacts, MachineFacts, StorageClass};
use farshore_types::{CloudId, HostId, PolicyId, SiteId};
use serde::{Deserialize, Serialize};

/// A site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRow {
    /// Its id.
    pub id: SiteId,
    /// Its name; unique.
    pub name: String,
    /// Minutes that its clocks are ahead of UTC.
    #[serde(default)]
    pub ahead_minutes: i16,
}

/// A cloud: hosts of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudRow {
    /// Its id.
    pub id: CloudId,
    /// Where it is.
    pub site: SiteId,
    /// Its name; unique within the site.
    pub name: String,
    /// The cloud it is paired with, and what it is in that pair.
    #[serde(default)]
    pub pair: Option<(CloudId, Role)>,
}

/// What a cloud is in its pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Its machines are protected.
    Source,
    /// It keeps their replicas.
    Target,
}

/// A policy holds for a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationRow {
    /// The cloud.
    pub cloud: CloudId,
    /// The policy.
    pub policy: PolicyId,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    /// Its id.
    pub id: HostId,
    /// Where it is.
    pub site: SiteId,
    /// Its cloud; none until somebody says, for one that was only learned of.
    #[serde(default)]
    pub cloud: Option<CloudId>,
    /// The name in its certificate; unique.
    pub name: String,
    /// Its address for replication, `host:port`; empty while nobody has said.
    pub address: String,
    /// Its Kerberos principal.
    #[serde(default)]
    pub principal: Option<String>,
    /// Whether it is being looked after, and takes no new role.
    #[serde(default)]
    pub maintenance: bool,
    /// Whether, in maintenance, its machines are replicated until they have moved away.
    #[serde(default)]
    pub machines_go_on: bool,
    /// Whether it was removed. Its row stays, so that it can be told.
    #[serde(default)]
    pub removed: bool,
    /// The term to which it has told all that it holds.
    #[serde(default)]
    pub heard_term: u64,
    /// Digest of the inventory that the rows have.
    #[serde(default)]
    pub inventory_digest: String,
    /// What it is.
    #[serde(default)]
    pub facts: HostFacts,
    /// Networks on it.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Places for disks on it.
    #[serde(default)]
    pub storage: Vec<StorageClass>,
}

/// A machine as one host has it. The same machine is on two hosts after a failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRow {
    /// On which host.
    pub host: HostId,
    /// What it is.
    pub facts: MachineFacts,
    /// Whether it appeared where the policy protects new machines, and waits for that.
    #[serde(default)]
    pub wants_protection: bool,
}
