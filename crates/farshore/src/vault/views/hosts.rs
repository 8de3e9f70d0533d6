//! Hosts: what was said of them, and what they said last.

use farshore_vault::{Core, Moment, rows::HostRow};

use super::{cloud_name, site_name};
use crate::views::HostView;

pub(in crate::vault) fn hosts(core: &Core, at: &Moment) -> Vec<HostView> {
    core.hosts().filter(|row| !row.removed).map(|row| host(core, row, at)).collect()
}

fn host(core: &Core, row: &HostRow, at: &Moment) -> HostView {
    let seen = core.observed_of(row.id);
    let report = seen.map(|seen| &seen.report);
    HostView {
        id: row.id,
        name: row.name.clone(),
        site: site_name(core, row.site),
        cloud: row.cloud.map(|cloud| cloud_name(core, cloud)),
        address: row.address.clone(),
        maintenance: row.maintenance,
        agent: report.map(|r| r.agent_version.clone()),
        heard_secs: core.heard_ms(row.id, at).map(|ms| ms / 1000),
        skew_ms: seen.map(|seen| seen.skew_ms),
        machines: core.machines().filter(|m| m.host == row.id).count(),
        space: report.map(|r| r.space.clone()).unwrap_or_default(),
        health: core.host_health(row, at),
    }
}
