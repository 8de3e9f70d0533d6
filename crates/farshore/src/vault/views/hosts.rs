//! Hosts: what was said of them, and what they said last.

use std::collections::HashMap;

use farshore_types::HostId;
use farshore_vault::{Core, Moment, rows::HostRow};

use super::{cloud_name, site_name};
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
        machines,
        space: report.map(|r| r.space.clone()).unwrap_or_default(),
        health: core.host_health(row, at),
    }
}
