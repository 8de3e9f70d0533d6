//! How old a protection's newest point is, by what its two hosts said last (never by anybody's
//! wall clock). This module must never make a point younger than a host told it.

use farshore_control::report::PointAge;
use farshore_types::{HostId, MachineId, PointId};

use super::Core;
use crate::{Moment, rows::ObservedRow};

impl Core {
    /// The newest point that the target holds for certain, and how many milliseconds old it is
    /// now at least; none where no host tells of one.
    #[must_use]
    pub fn newest_of(&self, machine: MachineId, at: &Moment) -> Option<(PointId, u64)> {
        let row = self.tables.protections.get(&machine)?;
        let said = |host: HostId| self.tables.observed.get(&host);
        let source = said(row.source).and_then(|seen| {
            let state = seen.report.sources.iter().find(|state| state.machine == machine)?;
            aged(state.newest, seen, at)
        });
        let target = said(row.target).and_then(|seen| {
            let state = seen.report.replicas.iter().find(|state| state.machine == machine)?;
            aged(state.newest, seen, at)
        });
        let told = [source, target].into_iter().flatten();
        told.max_by_key(|(id, age)| (*id, std::cmp::Reverse(*age)))
    }
}

fn aged(point: Option<PointAge>, seen: &ObservedRow, at: &Moment) -> Option<(PointId, u64)> {
    let since = at.mono_ms.saturating_sub(seen.mono_ms).saturating_add(seen.age_ms);
    point.map(|point| (point.id, point.age_ms.saturating_add(since)))
}
