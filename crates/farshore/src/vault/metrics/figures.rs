//! What is to be shown, copied from the core in one look, so that writing it keeps nobody.

use std::collections::BTreeMap;

use farshore_control::report::{CycleFacts, CycleTotals, Space};
use farshore_figures::Labels;
use farshore_health::Level;
use farshore_types::SiteId;
use farshore_vault::{Core, Moment, rows::HostRow};

use crate::{vault::views, views::JobState};

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) vault: Vault,
    pub(super) sites: Vec<Site>,
    pub(super) hosts: Vec<Host>,
    pub(super) protections: Vec<Protection>,
    pub(super) spaces: Vec<HostSpace>,
    /// Open alerts, by level and code.
    pub(super) alerts: BTreeMap<(String, String), u64>,
    /// Jobs that are kept, by kind and state.
    pub(super) jobs: BTreeMap<(String, String), u64>,
}

#[derive(Debug, Default)]
pub(super) struct Vault {
    pub(super) version: String,
    pub(super) term: u64,
    pub(super) uptime_secs: u64,
    pub(super) learning_from: u64,
    pub(super) notices: u64,
}

#[derive(Debug)]
pub(super) struct Site {
    name: String,
    pub(super) health: Level,
    pub(super) heard_ms: Option<u64>,
    pub(super) skew_ms: Option<i64>,
    pub(super) certificate_until_ms: Option<u64>,
}

#[derive(Debug)]
pub(super) struct HostSpace {
    host: String,
    pub(super) space: Space,
}

#[derive(Debug)]
pub(super) struct Host {
    name: String,
    site: String,
    pub(super) health: Level,
    pub(super) heard_ms: Option<u64>,
    pub(super) skew_ms: Option<i64>,
    pub(super) certificate_until_ms: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Protection {
    machine: String,
    id: String,
    pub(super) health: Level,
    pub(super) rpo_ms: Option<u64>,
    pub(super) totals: Option<CycleTotals>,
    pub(super) last: Option<CycleFacts>,
    pub(super) pending: Option<u64>,
    pub(super) missed_share: Option<f64>,
    pub(super) points: Option<u64>,
    pub(super) stored: Option<u64>,
}

impl Labels for Vault {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("version", &self.version)]
    }
}

impl Labels for Site {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("site", &self.name)]
    }
}

impl Labels for Host {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("host", &self.name), ("site", &self.site)]
    }
}

impl Labels for HostSpace {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("host", &self.host), ("path", &self.space.path), ("use", &self.space.of)]
    }
}

impl Labels for Protection {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("machine", &self.machine), ("id", &self.id)]
    }
}

impl Figures {
    pub(super) fn of(
        core: &Core,
        at: &Moment,
        uptime_secs: u64,
        site_ends: &BTreeMap<SiteId, u64>,
    ) -> Figures {
        let live = core.hosts().filter(|host| !host.removed);
        let mut spaces = Vec::new();
        let hosts = live.map(|row| host(core, row, at, &mut spaces)).collect();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Figures {
            vault: Vault {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                term: core.term().number,
                uptime_secs,
                learning_from: count(core.silent_hosts().count()),
                notices: count(core.notices().count()),
            },
            sites: core
                .sites()
                .map(|row| {
                    let seen = core.site_seen(row.id);
                    Site {
                        name: row.name.clone(),
                        health: core.site_health(row, at).level,
                        heard_ms: seen.map(|seen| at.mono_ms.saturating_sub(seen.mono_ms)),
                        skew_ms: seen.map(|seen| seen.skew_ms),
                        certificate_until_ms: site_ends.get(&row.id).copied(),
                    }
                })
                .collect(),
            hosts,
            protections: protections(core, at),
            spaces,
            alerts: alerts(core),
            jobs: jobs(core),
        }
    }
}

fn alerts(core: &Core) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for row in core.alerts().filter(|row| row.is_open()) {
        let level = if row.reason.level == Level::Critical { "critical" } else { "warning" };
        *counts.entry((level.to_owned(), row.reason.code.clone())).or_default() += 1;
    }
    counts
}

/// Each kind that there is has every state, so that a chart has a line before the first one.
fn jobs(core: &Core) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for row in core.jobs() {
        for state in JobState::ALL {
            let count: &mut u64 = counts.entry((row.job.kind.clone(), state.word().to_owned())).or_default();
            *count += u64::from(views::job_state(&row.job) == state);
        }
    }
    counts
}

fn host(core: &Core, row: &HostRow, at: &Moment, spaces: &mut Vec<HostSpace>) -> Host {
    let seen = core.observed_of(row.id);
    for space in seen.into_iter().flat_map(|seen| &seen.report.space) {
        spaces.push(HostSpace { host: row.name.clone(), space: space.clone() });
    }
    Host {
        name: row.name.clone(),
        site: core.site(row.site).map_or_else(|| row.site.to_string(), |site| site.name.clone()),
        health: core.host_health(row, at).level,
        heard_ms: core.heard_ms(row.id, at),
        skew_ms: seen.map(|seen| seen.skew_ms),
        certificate_until_ms: seen.map(|seen| seen.report.certificate_until_ms).filter(|until| *until > 0),
    }
}

fn protections(core: &Core, at: &Moment) -> Vec<Protection> {
    let live = core.protections().filter(|row| row.is_live());
    let view = |row| {
        let judged = core.judge(row, at);
        Protection {
            machine: row.name.clone(),
            id: row.machine.to_string(),
            health: judged.health.level,
            rpo_ms: judged.newest.map(|(_, age)| age),
            totals: judged.source.map(|source| source.totals),
            last: judged.source.and_then(|source| source.last_cycle),
            pending: judged.source.map(|source| source.pending),
            missed_share: core.cycles_of(row.machine, at).missed_share(),
            points: judged.replica.map(|replica| replica.points),
            stored: judged.replica.map(|replica| replica.stored),
        }
    };
    live.map(view).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::vault::metrics) fn protection(n: u64) -> Protection {
        let totals = CycleTotals { cycles: n, ..CycleTotals::default() };
        Protection {
            machine: format!("m{n}"),
            id: n.to_string(),
            health: Level::Normal,
            rpo_ms: Some(n),
            totals: Some(totals),
            last: None,
            pending: Some(0),
            missed_share: None,
            points: None,
            stored: None,
        }
    }
}
