//! Rows and reports become what the API shows. Ages come from when a report was received,
//! never from another host's clock. This module must never change anything.

use farshore_control::{
    Intent,
    report::{HostReport, ReplicaState, SourcePhase, SourceState},
};
use farshore_health::{Health, HostSigns, Level, ProtectionSigns, of_host, of_protection};
use farshore_types::{CloudId, HostId, MachineId, SiteId};
use farshore_vault::{
    Core, Moment,
    rows::{HostRow, ObservedRow, ProtectionRow, Role},
};

use crate::views::*;

/// A host that was never heard of is as silent as can be.
const NEVER_MS: u64 = u64::MAX / 4;

pub(super) fn status(core: &Core, at: &Moment, uptime_secs: u64) -> StatusView {
    let count = |levels: &mut dyn Iterator<Item = Level>| {
        levels.fold([0; 3], |mut counts: [u64; 3], level| {
            counts[level as usize] += 1;
            counts
        })
    };
    let term = core.term();
    StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        vault: term.vault,
        term: term.number,
        uptime_secs,
        learning_from: core.silent_hosts().map(|host| host_name(core, host)).collect(),
        protections: count(&mut protections(core, at).iter().map(|p| p.health.level)),
        hosts: count(&mut hosts(core, at).iter().map(|h| h.health.level)),
    }
}

pub(super) fn sites(core: &Core) -> Vec<SiteView> {
    let clouds = |site| core.clouds().filter(move |c| c.site == site).map(|c| c.name.clone()).collect();
    let hosts = |site| core.hosts().filter(|h| h.site == site && !h.removed).count();
    let view = |s: &farshore_vault::rows::SiteRow| SiteView {
        id: s.id,
        name: s.name.clone(),
        clouds: clouds(s.id),
        hosts: hosts(s.id),
    };
    core.sites().map(view).collect()
}

pub(super) fn clouds(core: &Core) -> Vec<CloudView> {
    let view = |row: &farshore_vault::rows::CloudRow| CloudView {
        id: row.id,
        name: row.name.clone(),
        site: site_name(core, row.site),
        paired_with: row.pair.map(|(other, _)| cloud_name(core, other)),
        role: row.pair.map(|(_, role)| if role == Role::Source { "source" } else { "target" }.to_owned()),
        policy: core.policy_of(row.id).map(|policy| policy.name.clone()),
        hosts: core.hosts().filter(|h| h.cloud == Some(row.id) && !h.removed).count(),
    };
    core.clouds().map(view).collect()
}

pub(super) fn hosts(core: &Core, at: &Moment) -> Vec<HostView> {
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

pub(super) fn machines(core: &Core) -> Vec<MachineView> {
    let view = |row: &farshore_vault::rows::MachineRow| {
        let host = core.host(row.host);
        MachineView {
            id: row.facts.id,
            name: row.facts.name.clone(),
            host: host_name(core, row.host),
            site: host.map(|h| site_name(core, h.site)).unwrap_or_default(),
            power: row.facts.power.clone(),
            disks: row.facts.disks.iter().map(|d| d.key.to_string()).collect(),
            size: row.facts.disks.iter().map(|d| d.size).sum(),
            protection: core
                .protection(row.facts.id)
                .filter(|p| p.is_live())
                .map(|p| if p.source == row.host { "source" } else { "replica" }.to_owned()),
        }
    };
    core.machines().map(view).collect()
}

pub(super) fn policies(core: &Core) -> Vec<PolicyView> {
    let of =
        |id| core.associations().filter(move |a| a.policy == id).map(|a| cloud_name(core, a.cloud)).collect();
    let view = |row: &farshore_vault::rows::PolicyRow| PolicyView {
        id: row.id,
        name: row.name.clone(),
        clouds: of(row.id),
        policy: row.policy.clone(),
    };
    core.policies().map(view).collect()
}

pub(super) fn mappings(core: &Core) -> Vec<MappingView> {
    let view = |of: &str, from_site, from: &str, to_site, to: &str| MappingView {
        of: of.to_owned(),
        from_site: site_name(core, from_site),
        from: from.to_owned(),
        to_site: site_name(core, to_site),
        to: to.to_owned(),
    };
    let networks = core.network_maps().map(|m| view("network", m.from_site, &m.from, m.to_site, &m.to));
    let storage = core.storage_maps().map(|m| view("storage", m.from_site, &m.from, m.to_site, &m.to));
    networks.chain(storage).collect()
}

pub(super) fn protections(core: &Core, at: &Moment) -> Vec<ProtectionView> {
    core.protections().filter(|row| row.is_live()).map(|row| protection(core, row, at)).collect()
}

/// What is seen of a protection at its two ends.
struct Ends<'a> {
    source: Option<(&'a SourceState, u64)>,
    replica: Option<(&'a ReplicaState, u64)>,
    source_silent_ms: u64,
    target_silent_ms: u64,
    /// The newest point that the target holds for certain, and how old it is now.
    newest: Option<(farshore_types::PointId, u64)>,
}

impl<'a> Ends<'a> {
    fn of(core: &'a Core, row: &ProtectionRow, at: &Moment) -> Ends<'a> {
        let report = |host: HostId| core.observed_of(host);
        let since =
            |seen: Option<&ObservedRow>| seen.map_or(NEVER_MS, |s| at.mono_ms.saturating_sub(s.mono_ms));
        // How old what a report says is by now.
        let age = |seen: &ObservedRow| at.mono_ms.saturating_sub(seen.mono_ms).saturating_add(seen.age_ms);
        let (source, target) = (report(row.source), report(row.target));
        Ends {
            source: source.and_then(|seen| Some((source_of(&seen.report, row.machine)?, age(seen)))),
            replica: target.and_then(|seen| Some((replica_of(&seen.report, row.machine)?, age(seen)))),
            source_silent_ms: since(source),
            target_silent_ms: since(target),
            newest: core.newest_of(row.machine, at),
        }
    }
}

fn source_of(report: &HostReport, machine: MachineId) -> Option<&SourceState> {
    report.sources.iter().find(|source| source.machine == machine)
}

fn replica_of(report: &HostReport, machine: MachineId) -> Option<&ReplicaState> {
    report.replicas.iter().find(|replica| replica.machine == machine)
}

fn protection(core: &Core, row: &ProtectionRow, at: &Moment) -> ProtectionView {
    let ends = Ends::of(core, row, at);
    let (source, replica) = (ends.source.map(|(s, _)| s), ends.replica.map(|(r, _)| r));
    let (newest, epoch) = (ends.newest, core.epoch(row.machine));
    let policy = row.policy.and_then(|id| core.policy(id));
    let (state, progress) = state_of(row, source.map(|s| &s.phase));
    ProtectionView {
        machine: row.machine,
        name: row.name.clone(),
        source: host_name(core, row.source),
        target: host_name(core, row.target),
        policy: policy.map(|p| p.name.clone()),
        state,
        progress,
        epoch: epoch.map_or(0, |e| e.epoch.number),
        rpo_ms: newest.map(|(_, age)| age),
        newest: newest.map(|(id, _)| id),
        points: replica.map_or(0, |r| r.points),
        stored: replica.map_or(0, |r| r.stored),
        cycles: source.map(|s| s.totals).unwrap_or_default(),
        health: health_of(
            row,
            &ends,
            at,
            policy.and_then(|p| p.policy.rpo_objective_secs),
            epoch.is_some_and(|e| e.conflict.is_some()),
        ),
    }
}

fn health_of(
    row: &ProtectionRow,
    ends: &Ends<'_>,
    at: &Moment,
    objective_secs: Option<u64>,
    conflict: bool,
) -> Health {
    let newest = ends.newest;
    let phase = ends.source.map(|(s, _)| &s.phase);
    let when = |of: fn(&SourcePhase) -> Option<&str>| phase.and_then(of);
    of_protection(&ProtectionSigns {
        intent: Some(row.intent),
        has_point: newest.is_some(),
        age_ms: newest.map(|(_, age)| age),
        enabled_ms: if row.enabled_ms == 0 { 0 } else { at.wall_ms.saturating_sub(row.enabled_ms) },
        objective_secs,
        resync_needed: when(|p| if let SourcePhase::ResyncNeeded { why } = p { Some(why) } else { None }),
        resyncing: when(|p| if let SourcePhase::Resynchronizing { why, .. } = p { Some(why) } else { None }),
        retrying: when(|p| if let SourcePhase::Retrying { why } = p { Some(why) } else { None }),
        failed: when(|p| if let SourcePhase::Failed { why } = p { Some(why) } else { None }),
        faults: ends.replica.map_or(&[], |(r, _)| &r.faults),
        source_silent_ms: ends.source_silent_ms,
        target_silent_ms: ends.target_silent_ms,
        conflict,
        ..ProtectionSigns::default()
    })
}

/// What a protection does, in a word, and how far it is.
fn state_of(row: &ProtectionRow, phase: Option<&SourcePhase>) -> (String, Option<f64>) {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no last digits")]
    let share = |done: u64, total: u64| (total > 0).then(|| done as f64 / total as f64);
    let (state, progress) = match phase {
        _ if row.intent == Intent::Pause => ("paused", None),
        None | Some(SourcePhase::Starting) => ("starting", None),
        Some(SourcePhase::Seeding { done, total }) => ("seeding", share(*done, *total)),
        Some(SourcePhase::Replicating) => ("replicating", None),
        Some(SourcePhase::Resynchronizing { done, total, .. }) => ("resynchronizing", share(*done, *total)),
        Some(SourcePhase::ResyncNeeded { .. }) => ("resync-needed", None),
        Some(SourcePhase::Paused) => ("paused", None),
        Some(SourcePhase::Waiting { .. }) => ("waiting", None),
        Some(SourcePhase::Retrying { .. }) => ("retrying", None),
        Some(SourcePhase::Failed { .. }) => ("failed", None),
    };
    (state.to_owned(), progress)
}

fn site_name(core: &Core, id: SiteId) -> String {
    core.site(id).map_or_else(|| id.to_string(), |row| row.name.clone())
}

fn cloud_name(core: &Core, id: CloudId) -> String {
    core.cloud(id).map_or_else(|| id.to_string(), |row| row.name.clone())
}

fn host_name(core: &Core, id: HostId) -> String {
    core.host(id).map_or_else(|| id.to_string(), |row| row.name.clone())
}
