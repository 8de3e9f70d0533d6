//! What a source shows upwards: the replicator's status in the words of the control plane,
//! with sums over all replicators of this run. This module must never decide what runs.

use std::time::Duration;

use farshore_capture::{Activity, Status, Totals};
use farshore_control::report::{AppPoints, CycleFacts, CycleTotals, PointAge, SourcePhase, SourceState};
use farshore_types::{Epoch, MachineId};

use super::age::Aged;

/// When something is to be told upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// As soon as may be.
    Soon,
    /// There is a new point, and nothing else is new.
    Point,
    /// With the next usual report.
    Later,
}

/// One machine's source, as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    machine: MachineId,
    epoch: Epoch,
    phase: SourcePhase,
    status: Status,
    /// Sums of the replicators before this one.
    before: CycleTotals,
    /// Sum of what this one's cycles took, in milliseconds.
    took_ms: u64,
    aged: Aged,
}

impl Shown {
    /// Nothing has happened yet, but for what is known of the newest point's age.
    pub(super) fn new(machine: MachineId, epoch: Epoch, aged: Aged) -> Shown {
        Shown {
            machine,
            epoch,
            phase: SourcePhase::Starting,
            status: Status::default(),
            before: CycleTotals::default(),
            took_ms: 0,
            aged,
        }
    }

    /// What is known of the newest point's age.
    pub(super) fn aged(&self) -> Aged {
        self.aged
    }

    /// Nothing runs, and why.
    pub(super) fn rest(&mut self, epoch: Epoch, phase: SourcePhase) {
        self.fold();
        (self.epoch, self.phase) = (epoch, phase);
    }

    /// A replicator begins.
    pub(super) fn begin(&mut self, epoch: Epoch) {
        self.fold();
        (self.epoch, self.phase) = (epoch, SourcePhase::Starting);
    }

    /// Where it cannot begin or go on.
    pub(super) fn set_phase(&mut self, phase: SourcePhase) {
        self.phase = phase;
    }

    /// What the replicator says, and when that is to be told: not every point at once, or
    /// thousands of machines would make their hosts talk all the time.
    /// How old a new point is is read from the clocks at once, before one of them is set.
    pub(super) fn update(&mut self, status: &Status, now: (u64, Duration)) -> Told {
        let sealed = status.totals.cycles > self.status.totals.cycles;
        if sealed && let Some(cycle) = status.last_cycle {
            self.took_ms += cycle.took_ms;
        }
        let phase = phase(&status.activity);
        let news = std::mem::discriminant(&phase) != std::mem::discriminant(&self.phase)
            || status.last_point.is_some() != self.status.last_point.is_some()
            || status.apps.unthawed.is_some() != self.status.apps.unthawed.is_some();
        (self.phase, self.status) = (phase, status.clone());
        self.newest(now);
        match (news, sealed) {
            (true, _) => Told::Soon,
            (false, true) => Told::Point,
            (false, false) => Told::Later,
        }
    }

    /// What this replicator did is added to what was before; its last point stays shown.
    fn fold(&mut self) {
        self.before = sum(self.before, self.status.totals, self.took_ms);
        (self.status.totals, self.took_ms) = (Totals::default(), 0);
    }

    fn newest(&mut self, now: (u64, Duration)) -> Option<PointAge> {
        let (point, captured_ms) = self.status.last_point.zip(self.status.captured_ms)?;
        let last = self.status.last_cycle.filter(|cycle| cycle.id == point.id);
        Some(self.aged.of(point.id, captured_ms, last.map_or(0, |cycle| cycle.took_ms), now))
    }

    /// As it is reported, at two readings of the clocks.
    pub(super) fn state(&mut self, now: (u64, Duration)) -> SourceState {
        let newest = self.newest(now);
        let (status, last) = (&self.status, self.status.last_cycle);
        let facts = |cycle: farshore_capture::CycleReport| CycleFacts {
            point: cycle.id,
            dirty: cycle.dirty,
            sent: cycle.sent,
            took_ms: cycle.took_ms,
        };
        SourceState {
            machine: self.machine,
            epoch: self.epoch,
            phase: self.phase.clone(),
            newest,
            totals: sum(self.before, status.totals, self.took_ms),
            last_cycle: last.map(facts),
            pending: pending(&self.phase),
            resynced: status.resynced,
            notes: status.notes.clone(),
            apps: Some(app_points(&status.apps)),
        }
    }
}

/// What is told of application-consistent points.
pub(crate) fn app_points(apps: &farshore_capture::AppPoints) -> AppPoints {
    AppPoints {
        made: apps.made,
        failed: apps.failed,
        fault: apps.fault.clone(),
        frozen_ms: apps.frozen_ms,
        unthawed: apps.unthawed.clone(),
    }
}

fn sum(before: CycleTotals, now: Totals, took_ms: u64) -> CycleTotals {
    CycleTotals {
        cycles: before.cycles + now.cycles,
        missed: before.missed + now.missed,
        failed: before.failed + now.failed,
        sent: before.sent + now.sent,
        took_ms: before.took_ms + took_ms,
        resyncs: before.resyncs + now.resyncs,
    }
}

/// What is still to be looked at; of what cycles will find, nothing is known before them.
fn pending(phase: &SourcePhase) -> u64 {
    match phase {
        SourcePhase::Seeding { done, total } | SourcePhase::Resynchronizing { done, total, .. } => {
            total.saturating_sub(*done)
        }
        _ => 0,
    }
}

fn phase(activity: &Activity) -> SourcePhase {
    match activity.clone() {
        Activity::Starting | Activity::Connecting | Activity::Stopped => SourcePhase::Starting,
        Activity::InitialReplication { done, total } => SourcePhase::Seeding { done, total },
        Activity::Resynchronizing { why, done, total } => SourcePhase::Resynchronizing { why, done, total },
        Activity::ResyncNeeded { why } => SourcePhase::ResyncNeeded { why },
        // Off is replicated, too: nothing changes there.
        Activity::Replicating | Activity::Off => SourcePhase::Replicating,
        Activity::Waiting { why } | Activity::Retrying { why, .. } => SourcePhase::Retrying { why },
        Activity::Failed { why } => SourcePhase::Failed { why },
    }
}

#[cfg(test)]
mod tests {
    use farshore_types::{PointId, PointRef, RootDigest};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_point_is_told_by_its_gap_a_change_at_once_and_the_rest_later() {
        let mut shown = Shown::new(MachineId(Uuid::nil()), Epoch { number: 1, token: 1 }, Aged::default());
        let now = (90_001_000, Duration::from_secs(1));
        let of = |number, cycles| Status {
            last_point: Some(PointRef { id: PointId { epoch: 1, number }, root: RootDigest([0; 32]) }),
            captured_ms: Some(90_000_000),
            activity: Activity::Replicating,
            totals: Totals { cycles, ..Totals::default() },
            ..Status::default()
        };
        assert_eq!(shown.update(&of(1, 1), now), Told::Soon, "the first point");
        assert_eq!(shown.update(&of(1, 1), now), Told::Later);
        assert_eq!(shown.update(&of(2, 2), now), Told::Point);
    }

    #[test]
    fn a_clock_that_is_set_back_before_the_next_report_makes_no_point_younger() {
        let epoch = Epoch { number: 1, token: 1 };
        let mut shown = Shown::new(MachineId(Uuid::nil()), epoch, Aged::default());
        let point = PointRef { id: PointId { epoch: 1, number: 1 }, root: RootDigest([0; 32]) };
        let status = Status { last_point: Some(point), captured_ms: Some(90_000_000), ..Status::default() };
        shown.update(&status, (90_001_000, Duration::from_secs(1)));
        let hour_back = (90_001_000 - 3_600_000, Duration::from_secs(31));
        assert_eq!(shown.state(hour_back).newest.map(|newest| newest.age_ms), Some(31_000));
        // Nor one that is opened again after it.
        let mut again = Shown::new(MachineId(Uuid::nil()), epoch, shown.aged());
        again.update(&status, hour_back);
        assert_eq!(again.state(hour_back).newest.map(|newest| newest.age_ms), Some(31_000));
    }
}
