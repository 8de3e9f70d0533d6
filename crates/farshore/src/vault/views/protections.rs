//! Protections: what is wanted, and what is seen at both ends.

use farshore_control::{Intent, report::SourcePhase};
use farshore_health::Health;
use farshore_vault::{Core, Moment, rows::ProtectionRow, watch::Judged};

use super::host_name;
use crate::views::{ApplicationPoint, ProtectionState, ProtectionView};

/// What a protection does and how well it is: what events tell, and filters ask for.
pub(in crate::vault) struct Seen {
    pub(in crate::vault) state: ProtectionState,
    pub(in crate::vault) health: Health,
}

impl Seen {
    pub(in crate::vault) fn of(core: &Core, row: &ProtectionRow, at: &Moment) -> Seen {
        let Judged { source, health, .. } = core.judge(row, at);
        Seen { state: state_of(row, source.map(|s| &s.phase)).0, health }
    }
}

pub(in crate::vault) fn protection(core: &Core, row: &ProtectionRow, at: &Moment) -> ProtectionView {
    let Judged { source, replica, newest, newest_application, health } = core.judge(row, at);
    let (state, progress) = state_of(row, source.map(|s| &s.phase));
    ProtectionView {
        machine: row.machine,
        name: row.name.clone(),
        source: host_name(core, row.source()),
        target: host_name(core, row.target()),
        moving_from: core.leaving(row).map(|leaving| host_name(core, leaving.host)),
        policy: row.policy.and_then(|id| core.policy(id)).map(|policy| policy.name.clone()),
        state,
        progress,
        epoch: core.epoch(row.machine).map_or(0, |epoch| epoch.epoch.number),
        rpo_ms: newest.map(|(_, age)| age),
        newest: newest.map(|(id, _)| id),
        application: newest_application.map(|(id, age_ms)| ApplicationPoint {
            id,
            age_ms,
            frozen_ms: source.and_then(|source| source.apps.as_ref()?.frozen_ms),
        }),
        points: replica.map_or(0, |r| r.points),
        stored: replica.map_or(0, |r| r.stored),
        cycles: source.map(|s| s.totals).unwrap_or_default(),
        health,
        life: row.life.state(),
        version: row.life.version,
        details: None,
    }
}

/// What a protection does, and how far it is.
fn state_of(row: &ProtectionRow, phase: Option<&SourcePhase>) -> (ProtectionState, Option<f64>) {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no last digits")]
    let share = |done: u64, total: u64| (total > 0).then(|| done as f64 / total as f64);
    let (state, progress) = match phase {
        _ if row.life.paused => (ProtectionState::Paused, None),
        _ if row.intent() == Intent::Pause => (ProtectionState::NotReplicating, None),
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
