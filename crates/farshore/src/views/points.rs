//! Recovery points of a machine. This module must never know where they come from.

use farshore_types::{Consistency, PointId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PointView {
    /// Which: `EPOCH-NUMBER`.
    pub id: PointId,
    /// Milliseconds from its instant to now: what would be lost by a failover to it now, where
    /// the machine runs.
    pub age_ms: u64,
    /// Its instant by the vault's clock, in milliseconds since the Unix epoch.
    pub captured_ms: u64,
    /// Whether the guest's file systems were frozen for it.
    pub consistency: Consistency,
    /// Bytes of the clusters that changed since the point before.
    pub changed: u64,
    /// Bytes received for it.
    pub received: u64,
    /// Who keeps it from being pruned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned_by: Vec<String>,
}
