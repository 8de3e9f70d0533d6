//! A protection's past. This module must never know where it comes from.

use farshore_control::report::CycleTotals;
use farshore_health::Percentiles;
use farshore_types::MachineId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How old the newest point was, and the cycles of the last 12 hours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryView {
    /// The machine.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// Over the last hour; none where nothing is known.
    pub hour: Option<Percentiles>,
    /// Over the last day.
    pub day: Option<Percentiles>,
    /// Over the last week.
    pub week: Option<Percentiles>,
    /// Sums of the cycles.
    pub cycles: CycleTotals,
    /// Bytes that the largest cycle sent.
    pub largest: u64,
    /// Milliseconds that the slowest cycle took.
    pub slowest_ms: u64,
    /// Milliseconds that a cycle took on average.
    pub mean_ms: Option<u64>,
    /// Share of the cycles that could not begin in time, from 0 to 1.
    pub missed_share: Option<f64>,
    /// Bytes that wait to be sent, as far as they are known.
    pub pending: u64,
}
