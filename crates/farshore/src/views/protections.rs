//! Protections. This module must never know where they come from.

use std::collections::BTreeSet;

use farshore_control::{InitialCopy, report::CycleTotals};
use farshore_health::Health;
use farshore_protection::State as LifeState;
use farshore_types::{DiskKey, MachineId, PointId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::LifeView;

/// A machine's protection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProtectionView {
    /// The machine.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// The host that runs it.
    pub source: String,
    /// The host that keeps its replica.
    pub target: String,
    /// The host whose replica counts until the copy on the target is whole, while it is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_from: Option<String>,
    /// The policy's name.
    pub policy: Option<String>,
    /// What it does.
    pub state: ProtectionState,
    /// Share of the first copy or the comparison that is done, from 0 to 1.
    pub progress: Option<f64>,
    /// The epoch of its owner.
    pub epoch: u64,
    /// Milliseconds from the newest point's instant to now.
    pub rpo_ms: Option<u64>,
    /// The newest point that the target holds.
    pub newest: Option<PointId>,
    /// The newest application-consistent point that the target holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationPoint>,
    /// How many points the target holds.
    pub points: u64,
    /// Bytes that the replica takes.
    pub stored: u64,
    /// Cycles since the agent started.
    pub cycles: CycleTotals,
    /// How well it is.
    pub health: Health,
    /// Where it is in its life.
    pub life: LifeState,
    /// Rises with everything that an order could be stale by: what `commit`, `cancel` and
    /// `change-point` name.
    pub version: u64,
    /// Its life in all: only where one protection is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<LifeView>,
}

/// An application-consistent point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationPoint {
    /// Which.
    pub id: PointId,
    /// Milliseconds from its instant to now.
    pub age_ms: u64,
    /// Milliseconds that the guest stood frozen at most, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ms: Option<u64>,
}

/// What a protection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ProtectionState {
    /// Its source's agent has not begun yet, or was not heard of.
    Starting,
    /// The first copy is made.
    Seeding,
    /// Every cycle makes a point.
    Replicating,
    /// Everything is being compared.
    Resynchronizing,
    /// Everything must be compared, which waits.
    ResyncNeeded,
    /// It is paused.
    Paused,
    /// Something else has to end first.
    Waiting,
    /// The last try failed; it is tried again.
    Retrying,
    /// It cannot go on without a person.
    Failed,
    /// Nothing is to be replicated: the machine is on its way, or was failed over.
    NotReplicating,
}

impl ProtectionState {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ProtectionState::Starting => "starting",
            ProtectionState::Seeding => "seeding",
            ProtectionState::Replicating => "replicating",
            ProtectionState::Resynchronizing => "resynchronizing",
            ProtectionState::ResyncNeeded => "resync-needed",
            ProtectionState::Paused => "paused",
            ProtectionState::Waiting => "waiting",
            ProtectionState::Retrying => "retrying",
            ProtectionState::Failed => "failed",
            ProtectionState::NotReplicating => "not-replicating",
        }
    }
}

/// Machines to protect: by name or id, or all of some clouds that nothing protects yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnableMachines {
    /// Names or ids of machines.
    pub machines: Vec<String>,
    /// Names or ids of source clouds, all of whose machines are meant.
    pub clouds: Vec<String>,
    /// All machines of all source clouds with a policy.
    pub all: bool,
    /// Name or id of the host for their replicas; none: by room.
    pub target: Option<String>,
    /// Disks that are left out of each.
    #[schema(value_type = Vec<DiskKey>)]
    pub excluded: BTreeSet<DiskKey>,
    /// How the first copy is made; none: as the policy says.
    pub initial: Option<InitialCopy>,
}
