//! Protections: what is wanted, and what is seen at both ends.

use farshore_control::{Intent, report::SourcePhase};
use farshore_vault::{Core, Moment, rows::ProtectionRow, watch::Judged};

use super::host_name;
use crate::views::ProtectionView;

pub(in crate::vault) fn protections(core: &Core, at: &Moment) -> Vec<ProtectionView> {
    core.protections().filter(|row| row.is_live()).map(|row| protection(core, row, at)).collect()
}

fn protection(core: &Core, row: &ProtectionRow, at: &Moment) -> ProtectionView {
    let Judged { source, replica, newest, health } = core.judge(row, at);
    let epoch = core.epoch(row.machine);
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
        health,
    }
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
