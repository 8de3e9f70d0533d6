//! Lives in every state, and what can be ordered and reported in each: for the table of the
//! documentation and for tests. This module must never be used to decide anything.

use std::collections::BTreeSet;

use farshore_types::{Epoch, HostId, PointId};
use uuid::Uuid;

use crate::{
    Back, BringUp, Choice, Contest, Copying, Event, Facts, Flat, HandOver, Kind, Life, Operation, Order,
    Overlay, Phase, Rival, Seen, Stage, State, Why,
};

/// The host on which examples were enabled.
const HERE: HostId = HostId(Uuid::from_u128(1));
/// The other one.
const THERE: HostId = HostId(Uuid::from_u128(2));

const FIRST: Epoch = Epoch { number: 1, token: 11 };
const NEXT: Epoch = Epoch { number: 2, token: 12 };

/// A point of an example.
const fn point(number: u64) -> PointId {
    PointId { epoch: 1, number }
}

fn begun() -> Life {
    Life { copying: Copying::Steady, ..Life::begin(HERE, THERE, FIRST) }
}

fn away() -> Life {
    let (before, flat) = (Copying::Steady, Flat::Layered);
    Life { source: THERE, target: HERE, epoch: NEXT, issued: NEXT, before, flat, ..begun() }
}

fn over(why: Why, phase: Phase) -> Life {
    let sealed = matches!(phase, Phase::Sealed | Phase::Aborting { sealed: true });
    let last = sealed.then_some(point(9));
    let (life, next, back) = match why {
        Why::Planned => (begun(), NEXT, Back::Replicating),
        Why::Cancel => {
            let (kind, at, kept) = (Kind::Unplanned, Some(point(7)), [point(5)].into());
            (
                Life { copying: Copying::Off, ..away() },
                Epoch { number: 3, token: 13 },
                Back::FailedOver { kind, at, kept },
            )
        }
    };
    let stage = Stage::HandingOver(HandOver { why, phase, next, last, power_off: false, back });
    Life { stage, issued: next, ..life }
}

fn up(then: Contest, failed: bool) -> Life {
    let failed = failed.then(|| "no room".to_owned());
    let kept: BTreeSet<PointId> =
        if then == Contest::OtherPoint { [point(7)].into() } else { BTreeSet::new() };
    let stage =
        Stage::BringingUp(BringUp { then, point: Choice::Latest, overlay: Overlay::Fresh, kept, failed });
    let life = if then == Contest::TakeBack { Life { epoch: NEXT, issued: NEXT, ..begun() } } else { away() };
    Life { stage, copying: Copying::Off, ..life }
}

fn failed_over(kind: Kind) -> Life {
    let copying = if kind == Kind::Planned { Copying::Steady } else { Copying::Off };
    let kept = if kind == Kind::Planned { BTreeSet::new() } else { [point(5)].into() };
    Life { stage: Stage::FailedOver { kind, at: Some(point(7)), kept }, copying, ..away() }
}

impl Life {
    /// Lives of every state, those that differ in what is allowed.
    #[must_use]
    pub fn examples() -> Vec<Life> {
        let starting = |why, failed: bool| {
            let failed = failed.then(|| "no room".to_owned());
            let life = if why == Why::Planned { away() } else { begun() };
            Life { stage: Stage::Starting { why, at: Some(point(9)), failed }, ..life }
        };
        let mut lives = vec![
            Life { stage: Stage::Disabled, copying: Copying::Off, ..begun() },
            Life::begin(HERE, THERE, FIRST),
            begun(),
            away(),
            Life { copying: Copying::Resync, ..begun() },
            Life { copying: Copying::Resync, ..away() },
            Life { copying: Copying::Seeding, ..away() },
        ];
        for why in [Why::Planned, Why::Cancel] {
            let aborting = [false, true].map(|sealed| Phase::Aborting { sealed });
            let phases = [Phase::Stopping, Phase::Stopped, Phase::Sealed].into_iter().chain(aborting);
            lives.extend(phases.map(|phase| over(why, phase)));
            lives.extend([false, true].map(|failed| starting(why, failed)));
        }
        for then in [Contest::Failover, Contest::OtherPoint, Contest::TakeBack, Contest::Winner] {
            lives.extend([false, true].map(|failed| up(then, failed)));
        }
        lives.extend([Kind::Planned, Kind::Unplanned].map(failed_over));
        lives.push(Life { stage: Stage::Committed, copying: Copying::Off, ..away() });
        lives.push(Life { stage: Stage::Committed, copying: Copying::Off, ..begun() });
        lives.extend([false, true].map(|kept| Life {
            stage: Stage::Reversing { kept },
            copying: Copying::Off,
            ..away()
        }));
        let rival = Some(Rival { epoch: Epoch { number: 3, token: 99 }, owner: THERE });
        lives.extend([begun(), over(Why::Planned, Phase::Sealed), away()].map(|life| Life { rival, ..life }));
        lives
    }

    /// The first example of a state.
    #[must_use]
    pub fn example(state: State) -> Life {
        let of_state = Life::examples().into_iter().find(|life| life.state() == state);
        of_state.unwrap_or_else(begun)
    }

    /// What is seen when both hosts are well.
    #[must_use]
    pub fn example_facts(&self) -> Facts {
        let runs_nowhere = matches!(&self.stage, Stage::HandingOver(over) if over.phase != Phase::Stopping);
        let starts = matches!(self.stage, Stage::Starting { .. } | Stage::BringingUp(_));
        let contested = self.rival.is_some();
        let seen =
            |runs| Seen { reachable: true, runs: Some(runs), stands_against: None, could_not_start: None };
        let source = seen(!runs_nowhere && !starts);
        let whole_point = self.copying != Copying::Seeding || self.is_away();
        Facts { source, target: seen(contested), whole_point, ..Facts::well() }
    }

    /// An order of an operation as somebody would give it who has just looked.
    #[must_use]
    pub fn example_order(&self, operation: Operation, token: u128) -> Order {
        let mut order = Order::confirmed_at(operation, self.version, token);
        if operation == Operation::ChangePoint {
            let other = if self.brought_up_at() == Some(point(7)) { point(5) } else { point(7) };
            (order.point, order.overlay) = (Choice::At(other), Overlay::Fresh);
        }
        order.winner = Some(self.source);
        order
    }

    /// The point at which it was failed over.
    #[must_use]
    pub fn brought_up_at(&self) -> Option<PointId> {
        if let Stage::FailedOver { at, .. } = &self.stage { *at } else { None }
    }

    /// Everything that hosts could report, and whether it is the source that does.
    #[must_use]
    pub fn example_reports(&self) -> Vec<(bool, Event)> {
        let mut events = vec![
            (false, Event::FirstPoint),
            (true, Event::TrackerLost),
            (true, Event::CopiesAnew),
            (false, Event::Resynced),
            (true, Event::Stopped),
            (true, Event::RunsAgain),
            (true, Event::Runs { at: Some(point(7)) }),
            (true, Event::CannotRun { why: "no room".to_owned() }),
            (false, Event::OwnKept),
            (false, Event::Adopted { had_disks: true }),
            (false, Event::DrillRuns),
            (false, Event::DrillOverdue),
            (false, Event::DrillGone),
            (false, Event::DrillFound { host: self.target, order: 1, at: point(7), until_ms: Some(9) }),
            (true, Event::FlattenBegun),
            (true, Event::Flattened),
            (true, Event::Disks { layered: true }),
            (true, Event::Disks { layered: false }),
        ];
        if let Stage::HandingOver(over) = &self.stage {
            events.push((true, Event::Sealed { next: over.next, last: point(9) }));
            if over.last.is_some() {
                events.push((false, Event::Accepted { next: over.next }));
            }
        }
        let epoch = Epoch { number: self.issued.number + 1, token: 77 };
        events.push((false, Event::Owned { epoch, owner: self.target, alone: false, twice: false }));
        events
    }
}
