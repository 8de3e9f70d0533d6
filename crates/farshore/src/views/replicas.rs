//! Replicas, as their hosts report them. This module must never know where they come from.

use farshore_types::{HostId, MachineId, PointId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A replica that a host keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaView {
    /// Whose.
    pub machine: MachineId,
    /// The machine's name.
    pub name: String,
    /// The host that keeps it.
    pub host: String,
    /// Its id.
    pub host_id: HostId,
    /// What it is to the machine's protection.
    pub role: ReplicaRole,
    /// By which epoch it may be written.
    pub epoch: u64,
    /// Its newest point.
    pub newest: Option<PointId>,
    /// How many points it has.
    pub points: u64,
    /// Bytes that it takes.
    pub stored: u64,
    /// What is damaged.
    pub faults: Vec<String>,
}

/// What a replica is to the protection of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaRole {
    /// It is the one that is written.
    Target,
    /// It counts until the copy on another host is whole.
    Leaving,
    /// The machine was brought up from it.
    BroughtUp,
    /// No protection wants it: it is kept until it is discarded.
    Aside,
}

impl ReplicaRole {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ReplicaRole::Target => "target",
            ReplicaRole::Leaving => "leaving",
            ReplicaRole::BroughtUp => "brought-up",
            ReplicaRole::Aside => "aside",
        }
    }
}

/// Where a replica is to move to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MoveTo {
    /// Name or id of another host of its cloud; none: by room.
    pub to: Option<String>,
    /// Whether the old host's replica is deleted once the new one is whole.
    pub delete_old: bool,
}
