//! What the API shows: plain values, the same for whoever serves and whoever reads. Times
//! are ages or milliseconds since the Unix epoch, sizes are bytes. This module must never
//! know where they come from.

use farshore_control::report::{CycleTotals, Space};
use farshore_health::Health;
use farshore_policy::Policy;
use farshore_types::{CloudId, HostId, MachineId, PointId, PolicyId, SiteId, VaultId};
use serde::{Deserialize, Serialize};

/// The vault as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its version.
    pub version: String,
    /// Its id.
    pub vault: VaultId,
    /// Its term.
    pub term: u64,
    /// Seconds since it was started.
    pub uptime_secs: u64,
    /// Hosts that have not told this term yet all that they hold; nothing is ordered of them.
    pub learning_from: Vec<String>,
    /// Protections by how well they are: normal, warning, critical.
    pub protections: [u64; 3],
    /// Hosts by how well they are.
    pub hosts: [u64; 3],
}

/// A site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteView {
    /// Its id.
    pub id: SiteId,
    /// Its name.
    pub name: String,
    /// Its clouds' names.
    pub clouds: Vec<String>,
    /// How many hosts it has.
    pub hosts: usize,
}

/// A cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudView {
    /// Its id.
    pub id: CloudId,
    /// Its name.
    pub name: String,
    /// Its site's name.
    pub site: String,
    /// The cloud that it is paired with.
    pub paired_with: Option<String>,
    /// `source` or `target`, in that pair.
    pub role: Option<String>,
    /// The policy that holds for it.
    pub policy: Option<String>,
    /// How many hosts it has.
    pub hosts: usize,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// A machine on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineView {
    /// Its id.
    pub id: MachineId,
    /// Its name.
    pub name: String,
    /// Its host's name.
    pub host: String,
    /// Its site's name.
    pub site: String,
    /// `running`, `paused`, `off`, or the hypervisor's word.
    pub power: String,
    /// Names of its disks.
    pub disks: Vec<String>,
    /// Bytes of them.
    pub size: u64,
    /// What it is in a protection: `source`, `replica`, or none.
    pub protection: Option<String>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: String,
    /// Clouds that it holds for.
    pub clouds: Vec<String>,
    /// What it says.
    pub policy: Policy,
}

/// A machine's protection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProtectionView {
    /// The machine.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// The host that runs it.
    pub source: String,
    /// The host that keeps its replica.
    pub target: String,
    /// The policy's name.
    pub policy: Option<String>,
    /// What it does, in a word: `replicating`, `seeding`, …
    pub state: String,
    /// Share of the first copy or the comparison that is done, from 0 to 1.
    pub progress: Option<f64>,
    /// The epoch of its owner.
    pub epoch: u64,
    /// Milliseconds from the newest point's instant to now.
    pub rpo_ms: Option<u64>,
    /// The newest point that the target holds.
    pub newest: Option<PointId>,
    /// How many points the target holds.
    pub points: u64,
    /// Bytes that the replica takes.
    pub stored: u64,
    /// Cycles since the agent started.
    pub cycles: CycleTotals,
    /// How well it is.
    pub health: Health,
}

/// A mapping of a network or a storage class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingView {
    /// `network` or `storage`.
    pub of: String,
    /// Site where machines come from.
    pub from_site: String,
    /// The name there.
    pub from: String,
    /// Site where replicas are.
    pub to_site: String,
    /// The name here.
    pub to: String,
}

/// A registration key, shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// The key.
    pub key: String,
}
