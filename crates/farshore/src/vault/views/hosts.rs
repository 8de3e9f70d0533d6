//! Hosts: what was said of them, and what they said last.

use std::collections::HashMap;

use farshore_health::{Health, HostSigns, of_host};
use farshore_types::HostId;
use farshore_vault::{
    Core, Moment,
    rows::{HostRow, ObservedRow},
};

use super::{NEVER_MS, cloud_name, site_name};
use crate::views::HostView;

/// How many machines each host has.
pub(in crate::vault) fn machines_by_host(core: &Core) -> HashMap<HostId, usize> {
    let mut counts = HashMap::new();
    core.machines().for_each(|machine| *counts.entry(machine.host).or_default() += 1);
    counts
}

/// A host with so many machines.
pub(in crate::vault) fn host(core: &Core, row: &HostRow, machines: usize, at: &Moment) -> HostView {
    let seen = core.observed_of(row.id);
    let silent_ms = silent_ms(seen, at);
    let report = seen.map(|seen| &seen.report);
    HostView {
        id: row.id,
        name: row.name.clone(),
        site: site_name(core, row.site),
        cloud: row.cloud.map(|cloud| cloud_name(core, cloud)),
        address: row.address.clone(),
        maintenance: row.maintenance,
        agent: report.map(|r| r.agent_version.clone()),
        heard_secs: seen.map(|_| silent_ms / 1000),
        skew_ms: seen.map(|seen| seen.skew_ms),
        machines,
        space: report.map(|r| r.space.clone()).unwrap_or_default(),
        health: health_of_host(core, row, at),
    }
}

/// How well a host is.
pub(in crate::vault) fn health_of_host(core: &Core, row: &HostRow, at: &Moment) -> Health {
    let seen = core.observed_of(row.id);
    let report = seen.map(|seen| &seen.report);
    of_host(&HostSigns {
        silent_ms: silent_ms(seen, at),
        skew_ms: seen.map_or(0, beyond_transit),
        certificate_left_ms: report
            .map(|r| r.certificate_until_ms)
            .filter(|until| *until > 0)
            .map(|until| until.saturating_sub(at.wall_ms)),
        space: report.map_or(&[], |r| &r.space),
        problems: report.map_or(&[], |r| &r.problems),
        maintenance: row.maintenance,
    })
}

fn silent_ms(seen: Option<&ObservedRow>, at: &Moment) -> u64 {
    seen.map_or(NEVER_MS, |seen| at.mono_ms.saturating_sub(seen.mono_ms))
}

/// What of a clock's difference the way here does not explain.
fn beyond_transit(seen: &ObservedRow) -> u64 {
    seen.skew_ms.unsigned_abs().saturating_sub(seen.report.transit_ms)
}
