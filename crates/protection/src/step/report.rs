//! What reports make of a life. Levels may be skipped: a host that was cut off tells only the
//! last of them.

use std::collections::BTreeSet;

use farshore_types::{Epoch, EpochOrder, HostId, PointId};

use super::{Event, Report, Step, Supersedes};
use crate::{
    Back, BringUp, Choice, Contest, Copying, Drill, DrillPhase, Flat, HandOver, Kind, Life, Phase, Rival,
    Stage, Why,
    bug::{self, Bug},
};

impl Life {
    pub(super) fn reported(&self, report: &Report) -> Step {
        let mut step = self.stays();
        // A protection that has ended hears nothing, nor does one what its dead owner says.
        if self.stage == Stage::Disabled || report.is_dead(self) {
            return step;
        }
        let life = &mut step.life;
        match &report.event {
            Event::FirstPoint if life.copying == Copying::Seeding => life.copying = Copying::Steady,
            Event::TrackerLost if life.copying == Copying::Steady => life.copying = Copying::Resync,
            Event::CopiesAnew if life.copying == Copying::Steady => life.copying = Copying::Seeding,
            Event::Resynced if life.copying == Copying::Resync => life.copying = Copying::Steady,
            Event::Stopped => life.was_stopped(),
            Event::Sealed { next, last } => life.was_sealed(next, *last),
            Event::Accepted { next } => life.was_accepted(next),
            Event::RunsAgain => life.runs_again(),
            Event::Runs { at } => life.runs(*at),
            Event::CannotRun { why } => life.cannot_run(why),
            Event::OwnKept => {
                if let Stage::Reversing { kept } = &mut life.stage {
                    *kept = true;
                }
            }
            Event::Adopted { had_disks } => life.adopted(*had_disks),
            Event::DrillRuns | Event::DrillOverdue | Event::DrillGone => life.drill_is(&report.event),
            Event::DrillFound { host, order, at, until_ms } => {
                life.drill_found((*host, *order, *at), *until_ms);
            }
            Event::FlattenBegun if life.may_begin_to_flatten() => life.flat = Flat::Flattening,
            Event::Flattened if life.flat == Flat::Flattening => life.flat = Flat::Own,
            Event::Disks { layered } => life.has_disks(*layered),
            Event::Owned { epoch, owner, alone, twice } => {
                if life.owned(*epoch, *owner, (*alone, *twice)) {
                    step.supersedes = Supersedes::All;
                }
            }
            Event::Moved { from, to } => life.moved(*from, *to),
            Event::FirstPoint
            | Event::TrackerLost
            | Event::CopiesAnew
            | Event::Resynced
            | Event::FlattenBegun
            | Event::Flattened => {}
        }
        step
    }

    /// Not while it is on its way: a block job would run beneath the hand-over.
    fn may_begin_to_flatten(&self) -> bool {
        let stays = matches!(self.stage, Stage::Replicating | Stage::Committed);
        stays && matches!(self.flat, Flat::Scheduled { .. })
    }

    /// Not while it is on its way: then it is decided by how it comes up.
    fn has_disks(&mut self, layered: bool) {
        if matches!(self.stage, Stage::HandingOver(_) | Stage::Starting { .. } | Stage::BringingUp(_)) {
            return;
        }
        self.flat = match (self.flat, layered) {
            (Flat::Own, true) => Flat::Layered,
            (Flat::Layered | Flat::Scheduled { .. }, false) => Flat::Own,
            (flat, _) => flat,
        };
    }

    fn was_stopped(&mut self) {
        let Stage::HandingOver(over) = &mut self.stage else { return };
        if over.phase == Phase::Stopping {
            over.phase = Phase::Stopped;
        }
        if bug::is(Bug::StartsUnsealed) {
            let next = over.next;
            self.was_accepted(&next);
        }
    }

    /// A seal is the truth, whoever ordered it: another vault may have, of which this one was
    /// never told. The machine is then on its way all the same.
    fn was_sealed(&mut self, next: &Epoch, last: PointId) {
        if next.number <= self.epoch.number {
            return;
        }
        if !matches!(self.stage, Stage::HandingOver(_)) {
            let (why, back) = match self.stage.clone() {
                Stage::Replicating => (Why::Planned, Back::Replicating),
                Stage::FailedOver { kind, at, kept } => (Why::Cancel, Back::FailedOver { kind, at, kept }),
                _ => return,
            };
            let (phase, next) = (Phase::Stopped, *next);
            self.stage =
                Stage::HandingOver(HandOver { why, phase, next, last: None, power_off: false, back });
        }
        let Stage::HandingOver(over) = &mut self.stage else { return };
        over.next = *next;
        if self.issued.number <= next.number {
            self.issued = *next;
        }
        over.last = Some(last);
        over.phase = match over.phase {
            Phase::Aborting { .. } => Phase::Aborting { sealed: true },
            _ => Phase::Sealed,
        };
    }

    /// That it was accepted shows that it was sealed, whatever was heard of that.
    fn was_accepted(&mut self, next: &Epoch) {
        let Stage::HandingOver(HandOver { why, next: expected, last, .. }) = &self.stage else { return };
        if expected != next {
            return;
        }
        let (why, last) = (*why, *last);
        let at = last.filter(|_| why == Why::Planned);
        self.stage = Stage::Starting { why, at, failed: None };
        self.turn(*next);
        // A planned one leaves both sides equal. A cancel goes back to what there was before the
        // failover, where the source finds by comparing how far the replica is.
        (self.copying, self.before, self.flat) = match why {
            Why::Planned => (Copying::Steady, Copying::Steady, Flat::Layered),
            Why::Cancel if self.before == Copying::Off => (Copying::Off, Copying::Off, self.flat),
            Why::Cancel => (Copying::Resync, Copying::Off, Flat::Own),
        };
    }

    fn runs_again(&mut self) {
        let Stage::HandingOver(HandOver { phase: Phase::Aborting { .. }, back, .. }) = &self.stage else {
            return;
        };
        self.stage = match back.clone() {
            Back::Replicating => Stage::Replicating,
            Back::FailedOver { kind, at, kept } => Stage::FailedOver { kind, at, kept },
        };
    }

    fn runs(&mut self, at: Option<PointId>) {
        match self.stage.clone() {
            Stage::Starting { why: Why::Planned, at, .. } => {
                let (kind, kept) = (Kind::Planned, BTreeSet::new());
                self.stage = Stage::FailedOver { kind, at, kept };
            }
            Stage::Starting { why: Why::Cancel, .. } => {
                let protected = self.copying != Copying::Off;
                self.stage = if protected { Stage::Replicating } else { Stage::Committed };
            }
            Stage::BringingUp(BringUp { then: Contest::Winner | Contest::TakeBack, .. }) => {
                self.stage = Stage::Committed;
            }
            Stage::BringingUp(BringUp { mut kept, .. }) => {
                if let Some(at) = at {
                    kept.remove(&at);
                    self.flat = Flat::Layered;
                }
                self.stage = Stage::FailedOver { kind: Kind::Unplanned, at, kept };
            }
            _ => {}
        }
    }

    fn cannot_run(&mut self, why: &str) {
        match &mut self.stage {
            Stage::Starting { failed, .. } | Stage::BringingUp(BringUp { failed, .. }) => {
                *failed = Some(why.to_owned());
            }
            _ => {}
        }
    }

    fn adopted(&mut self, had_disks: bool) {
        if matches!(self.stage, Stage::Reversing { .. }) {
            self.stage = Stage::Replicating;
            self.copying = if had_disks { Copying::Resync } else { Copying::Seeding };
        }
    }

    fn drill_is(&mut self, event: &Event) {
        let Some(drill) = &mut self.drill else { return };
        match event {
            Event::DrillRuns if drill.phase == DrillPhase::Opening => drill.phase = DrillPhase::Open,
            Event::DrillOverdue => drill.overdue = true,
            Event::DrillGone => self.drill = None,
            _ => {}
        }
    }

    /// Nothing is removed because nobody knows of it (rule R5): it is seen, can be cleaned up, and
    /// ends when any other would.
    fn drill_found(&mut self, (host, order, at): (HostId, u64, PointId), until_ms: Option<u64>) {
        if self.drill.is_none() && !bug::is(Bug::LosesDrills) {
            let (host, point) = (Some(host), Choice::At(at));
            self.drill = Some(Drill { host, order, point, until_ms, ..Drill::of(DrillPhase::Open) });
        }
    }

    /// A host owns the machine by an epoch (rules R2 and R4). Whether anything that was under
    /// way is superseded by it.
    fn owned(&mut self, epoch: Epoch, owner: HostId, (alone, twice): (bool, bool)) -> bool {
        if let Stage::HandingOver(over) = &self.stage
            && over.next == epoch
            && owner == self.target
        {
            self.was_accepted(&epoch);
            return false;
        }
        let order = self.epoch.order_of(&epoch);
        if self.awaits_the_other() && order == EpochOrder::Same {
            return self.hears_of_the_other((alone, twice));
        }
        if matches!(order, EpochOrder::Older | EpochOrder::Same) {
            return false;
        }
        if self.rival.is_some_and(|rival| rival.epoch.number >= epoch.number) {
            return false;
        }
        // Above everything that was ever issued, so that nobody else can own it by that.
        let clear = self.issued.order_of(&epoch) == EpochOrder::Newer && self.rival.is_none();
        if clear && owner == self.target && (alone || bug::is(Bug::AdoptsBlindly)) {
            self.before = self.copying;
            self.turn(epoch);
            (self.copying, self.flat) = (Copying::Off, Flat::Layered);
            self.stage = Stage::FailedOver { kind: Kind::Unplanned, at: None, kept: BTreeSet::new() };
        } else if clear && owner == self.source {
            self.own(epoch);
            // By itself: what runs on the other host is not stopped for that.
            self.unasked = (!alone && !bug::is(Bug::AdoptsBlindly)).then_some(epoch);
            if matches!(self.stage, Stage::HandingOver(_)) {
                (self.stage, self.copying) = (Stage::Committed, Copying::Off);
            }
            if self.awaits_the_other() {
                self.hears_of_the_other((false, twice));
            }
        } else {
            self.rival = Some(Rival { epoch, owner });
        }
        true
    }

    /// The source has raised its epoch by itself, and now it is known what the other host does: it
    /// runs nothing, and knows of the epoch; or it runs the machine, and a person has to decide.
    fn hears_of_the_other(&mut self, (alone, twice): (bool, bool)) -> bool {
        if alone {
            self.unasked = None;
        } else if twice && self.rival.is_none() {
            let owner = self.target;
            self.rival = Some(Rival { epoch: self.epoch, owner });
            return true;
        }
        false
    }

    fn moved(&mut self, from: HostId, to: HostId) {
        if self.hosts().contains(&to) {
            return;
        }
        for host in [&mut self.source, &mut self.target, &mut self.home] {
            if *host == from {
                *host = to;
            }
        }
    }
}
