//! Protections. This module must never know where they come from.

use farshore_control::report::CycleTotals;
use farshore_health::Health;
use farshore_types::{MachineId, PointId};
use serde::{Deserialize, Serialize};

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
