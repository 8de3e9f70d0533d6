//! Protections: what is wanted, and what is seen at both ends.

use farshore_control::{
    Intent,
    report::{HostReport, ReplicaState, SourcePhase, SourceState},
};
use farshore_health::{Health, ProtectionSigns, of_protection};
use farshore_types::{HostId, MachineId};
use farshore_vault::{
    Core, Moment,
    rows::{ObservedRow, ProtectionRow},
};

use super::{NEVER_MS, host_name};
use crate::views::ProtectionView;

pub(in crate::vault) fn protections(core: &Core, at: &Moment) -> Vec<ProtectionView> {
    core.protections().filter(|row| row.is_live()).map(|row| protection(core, row, at)).collect()
}

/// What is seen of a protection at its two ends.
struct Ends<'a> {
    source: Option<&'a SourceState>,
    replica: Option<&'a ReplicaState>,
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
        let (source, target) = (report(row.source), report(row.target));
        Ends {
            source: source.and_then(|seen| source_of(&seen.report, row.machine)),
            replica: target.and_then(|seen| replica_of(&seen.report, row.machine)),
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
    let (source, replica) = (ends.source, ends.replica);
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
    let phase = ends.source.map(|s| &s.phase);
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
        faults: ends.replica.map_or(&[], |r| &r.faults),
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
