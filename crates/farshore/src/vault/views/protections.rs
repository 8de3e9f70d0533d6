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
use crate::views::{ProtectionState, ProtectionView};

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

/// What a protection does and how well it is: what events tell, and filters ask for.
pub(in crate::vault) struct Seen {
    pub(in crate::vault) state: ProtectionState,
    pub(in crate::vault) progress: Option<f64>,
    pub(in crate::vault) health: Health,
}

impl Seen {
    pub(in crate::vault) fn of(core: &Core, row: &ProtectionRow, at: &Moment) -> Seen {
        Seen::at_ends(core, row, &Ends::of(core, row, at), at)
    }

    fn at_ends(core: &Core, row: &ProtectionRow, ends: &Ends<'_>, at: &Moment) -> Seen {
        let (state, progress) = state_of(row, ends.source.map(|source| &source.phase));
        let objective_secs = row.policy.and_then(|id| core.policy(id)?.policy.rpo_objective_secs);
        let conflict = core.epoch(row.machine).is_some_and(|epoch| epoch.conflict.is_some());
        Seen { state, progress, health: health_of(row, ends, at, objective_secs, conflict) }
    }
}

pub(in crate::vault) fn protection(core: &Core, row: &ProtectionRow, at: &Moment) -> ProtectionView {
    let ends = Ends::of(core, row, at);
    let (source, replica) = (ends.source, ends.replica);
    let newest = ends.newest;
    let Seen { state, progress, health } = Seen::at_ends(core, row, &ends, at);
    ProtectionView {
        machine: row.machine,
        name: row.name.clone(),
        source: host_name(core, row.source),
        target: host_name(core, row.target),
        policy: row.policy.and_then(|id| core.policy(id)).map(|policy| policy.name.clone()),
        state,
        progress,
        epoch: core.epoch(row.machine).map_or(0, |epoch| epoch.epoch.number),
        rpo_ms: newest.map(|(_, age)| age),
        newest: newest.map(|(id, _)| id),
        points: replica.map_or(0, |r| r.points),
        stored: replica.map_or(0, |r| r.stored),
        cycles: source.map(|s| s.totals).unwrap_or_default(),
        health,
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

/// What a protection does, and how far it is.
fn state_of(row: &ProtectionRow, phase: Option<&SourcePhase>) -> (ProtectionState, Option<f64>) {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no last digits")]
    let share = |done: u64, total: u64| (total > 0).then(|| done as f64 / total as f64);
    let (state, progress) = match phase {
        _ if row.intent == Intent::Pause => (ProtectionState::Paused, None),
        None | Some(SourcePhase::Starting) => (ProtectionState::Starting, None),
        Some(SourcePhase::Seeding { done, total }) => (ProtectionState::Seeding, share(*done, *total)),
        Some(SourcePhase::Replicating) => (ProtectionState::Replicating, None),
        Some(SourcePhase::Resynchronizing { done, total, .. }) => {
            (ProtectionState::Resynchronizing, share(*done, *total))
        }
        Some(SourcePhase::ResyncNeeded { .. }) => (ProtectionState::ResyncNeeded, None),
        Some(SourcePhase::Paused) => (ProtectionState::Paused, None),
        Some(SourcePhase::Waiting { .. }) => (ProtectionState::Waiting, None),
        Some(SourcePhase::Retrying { .. }) => (ProtectionState::Retrying, None),
        Some(SourcePhase::Failed { .. }) => (ProtectionState::Failed, None),
    };
    (state, progress)
}
