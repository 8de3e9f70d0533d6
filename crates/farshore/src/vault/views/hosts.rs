//! Hosts: what was said of them, and what they said last.

use farshore_health::{HostSigns, of_host};
use farshore_vault::{
    Core, Moment,
    rows::{HostRow, ObservedRow},
};

use super::{NEVER_MS, cloud_name, site_name};
use crate::views::HostView;

pub(in crate::vault) fn hosts(core: &Core, at: &Moment) -> Vec<HostView> {
    core.hosts().filter(|row| !row.removed).map(|row| host(core, row, at)).collect()
}

fn host(core: &Core, row: &HostRow, at: &Moment) -> HostView {
    let seen = core.observed_of(row.id);
    let silent_ms = seen.map_or(NEVER_MS, |seen| at.mono_ms.saturating_sub(seen.mono_ms));
    let report = seen.map(|seen| &seen.report);
    let signs = HostSigns {
        silent_ms,
        skew_ms: seen.map_or(0, beyond_transit),
        certificate_left_ms: report
            .map(|r| r.certificate_until_ms)
            .filter(|until| *until > 0)
            .map(|until| until.saturating_sub(at.wall_ms)),
        space: report.map_or(&[], |r| &r.space),
        problems: report.map_or(&[], |r| &r.problems),
        maintenance: row.maintenance,
    };
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
        machines: core.machines().filter(|m| m.host == row.id).count(),
        space: report.map(|r| r.space.clone()).unwrap_or_default(),
        health: of_host(&signs),
    }
}

/// What of a clock's difference the way here does not explain.
fn beyond_transit(seen: &ObservedRow) -> u64 {
    seen.skew_ms.unsigned_abs().saturating_sub(seen.report.transit_ms)
}
