//! The vault as a whole. This module must never know where they come from.

use farshore_types::VaultId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The vault as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// What is wrong with the vault itself: its certificate, its authority, its backups.
    #[serde(default)]
    pub problems: Vec<farshore_control::report::Problem>,
    /// Protections by how well they are: normal, warning, critical.
    pub protections: [u64; 3],
    /// Hosts by how well they are.
    pub hosts: [u64; 3],
}
