//! What orders make of a life. Whether they are allowed is in `allowed`.

use std::collections::BTreeSet;

use farshore_ownership as ownership;
use farshore_types::{Epoch, PointId};

use super::{Begin, Step, Supersedes};
use crate::{
    Answer, Back, BringUp, Choice, Contest, Copying, Drill, DrillPhase, Facts, Flat, HandOver, Kind, Life,
    Operation, Order, Overlay, Phase, Reason, Stage, Why,
    bug::{self, Bug},
};

impl Life {
    pub(super) fn ordered(&self, order: &Order, facts: &Facts) -> Result<Step, Reason> {
        self.check(order, facts)?;
        let begins = |life, begin| Step { life, supersedes: Supersedes::Nothing, begins: Some(begin) };
        let only = |life| Step { life, supersedes: Supersedes::Nothing, begins: None };
        let life = self.clone();
        Ok(match order.operation {
            Operation::Enable => begins(self.enabled(order, facts), Begin::Copy),
            Operation::Disable => {
                let (stage, copying) = (Stage::Disabled, Copying::Off);
                let ended = Life { stage, copying, paused: false, rival: None, ..life };
                Step { life: ended, supersedes: Supersedes::All, begins: Some(Begin::End) }
            }
            Operation::Pause => only(Life { paused: true, ..life }),
            Operation::Resume => only(Life { paused: false, ..life }),
            Operation::Resync => begins(Life { copying: Copying::Resync, ..life }, Begin::Resync),
            Operation::TestFailover => {
                let mut life = life.drilled(order);
                if bug::is(Bug::DrillOwns) {
                    life.issued = self.issue(order.token, facts)?;
                }
                begins(life, Begin::Drill)
            }
            Operation::CleanUp => begins(life.without_drill(), Begin::CleanUp),
            Operation::PlannedFailover | Operation::Failback => {
                begins(self.handing_over(Why::Planned, order, facts)?, Begin::HandOver)
            }
            Operation::Cancel => self.cancelled(order, facts)?,
            Operation::UnplannedFailover => self.failing_over(order, facts)?,
            Operation::TakeBack => self.taken_back(order, facts)?,
            Operation::DeclareWinner => self.decided(order, facts)?,
            Operation::Complete => begins(life.phase(Phase::Sealed), Begin::HandOver),
            Operation::Abort => {
                let sealed = self.is_sealed();
                begins(life.phase(Phase::Aborting { sealed }), Begin::Abort)
            }
            Operation::ChangePoint => self.changing_point(order)?,
            Operation::Commit => begins(life.committed(), Begin::Commit),
            Operation::Flatten => match order.at_ms {
                Some(at_ms) => only(Life { flat: Flat::Scheduled { at_ms }, ..life }),
                None => begins(Life { flat: Flat::Flattening, ..life }, Begin::Flatten),
            },
            Operation::StopFlatten => {
                let life = Life { flat: Flat::Layered, ..life };
                Step { life, supersedes: Supersedes::Flattening, begins: None }
            }
            Operation::Reverse => {
                // Who wants it replicated wants no pause of before.
                let stage = Stage::Reversing { kept: false };
                begins(Life { stage, paused: false, ..life }, Begin::Reverse)
            }
        })
    }

    /// Whether an order may be carried out, by everything that it says.
    fn check(&self, order: &Order, facts: &Facts) -> Result<(), Reason> {
        let named = order.seen.or((!order.operation.names_its_version()).then_some(self.version));
        if named != Some(self.version) && !bug::is(Bug::IgnoresVersion) {
            let what = match named {
                Some(seen) => format!("it was changed since version {seen} was seen: {}", self.so()),
                None => format!("the order does not say which version it saw; now {}", self.so()),
            };
            let advice = "look at the protection again, and order it anew if that is still wanted";
            return Err(Reason::new("changed-meanwhile", what, advice));
        }
        if order.try_to_stop && !matches!(order.point, Choice::Latest | Choice::NotBefore(_)) {
            let what =
                "a machine that is stopped first comes up as it was stopped, and not at a chosen point";
            let advice = "leave the point away, or do not try to stop it: stop it there by hand first";
            return Err(Reason::new("point-and-try-to-stop", what, advice));
        }
        let confirm = match self.judge(facts, order.operation) {
            Answer::Allowed { confirm } => confirm,
            Answer::Already(reason) | Answer::Refused(reason) => return Err(reason),
        };
        match confirm.iter().find(|confirm| !order.confirmed.contains(confirm)) {
            None => Ok(()),
            Some(missing) => {
                let what = format!("'{}' is not confirmed", missing.name());
                let advice =
                    format!("where you know that and accept it, confirm it (--accept-{})", missing.name());
                Err(Reason::new(&format!("confirm-{}", missing.name()), what, &advice))
            }
        }
    }

    /// The epoch of a next owner (rule R1): above all that is known, by nobody else meanwhile.
    pub(crate) fn issue(&self, token: u128, facts: &Facts) -> Result<Epoch, Reason> {
        let known: Vec<Epoch> = facts.known.iter().copied().chain([self.epoch, self.issued]).collect();
        ownership::issue(&known, Some(&self.issued), token).map_err(|denied| {
            let advice = "look at the protection again when the vault has heard its hosts";
            Reason::new("owner-changed", denied.to_string(), advice)
        })
    }

    fn enabled(&self, order: &Order, facts: &Facts) -> Life {
        // It names the host that owns the machine, so it decides also about what was contested.
        let known: Vec<Epoch> = facts.known.iter().copied().chain([self.epoch, self.issued]).collect();
        let epoch = ownership::issue_for_winner(&known, order.token);
        let [source, target] = order.hosts.map_or(self.hosts(), |hosts| [hosts.source, hosts.target]);
        Life { version: self.version, ..Life::begin(source, target, epoch) }
    }

    fn handing_over(&self, why: Why, order: &Order, facts: &Facts) -> Result<Life, Reason> {
        let next = self.issue(order.token, facts)?;
        let back = match &self.stage {
            Stage::FailedOver { kind, at, kept } => {
                Back::FailedOver { kind: *kind, at: *at, kept: kept.clone() }
            }
            Stage::BringingUp(up) => {
                Back::FailedOver { kind: Kind::Unplanned, at: None, kept: up.kept.clone() }
            }
            Stage::Starting { at, .. } => {
                Back::FailedOver { kind: Kind::Planned, at: *at, kept: BTreeSet::new() }
            }
            _ => Back::Replicating,
        };
        let power_off = order.power_off || why == Why::Cancel;
        let over = HandOver { why, phase: Phase::Stopping, next, last: None, power_off, back };
        Ok(Life { stage: Stage::HandingOver(over), issued: next, ..self.clone() })
    }

    fn cancelled(&self, order: &Order, facts: &Facts) -> Result<Step, Reason> {
        let mut life = self.handing_over(Why::Cancel, order, facts)?;
        if bug::is(Bug::CancelsUnsealed) {
            life.turn(life.issued);
            life.stage = Stage::Starting { why: Why::Cancel, at: None, failed: None };
        }
        Ok(Step { life, supersedes: Supersedes::All, begins: Some(Begin::HandOver) })
    }

    /// Supersedes whatever was under way, an open drill too. What is tried first happens by the
    /// source's own epoch: after the new one it could send nothing any more.
    fn failing_over(&self, order: &Order, facts: &Facts) -> Result<Step, Reason> {
        if order.try_to_stop && facts.source.reachable && self.stage == Stage::Replicating {
            let order = Order { power_off: true, ..order.clone() };
            // Its last cycle is wanted; a pause of before would have it switched off for nothing.
            let life = Life { paused: false, ..self.handing_over(Why::Planned, &order, facts)? };
            let life = life.without_drill();
            return Ok(Step { life, supersedes: Supersedes::All, begins: Some(Begin::TryHandOver) });
        }
        let epoch = if bug::is(Bug::IssuesNone) { self.epoch } else { self.issue(order.token, facts)? };
        let life = self.clone();
        let mut life = if bug::is(Bug::KeepsDrill) { life } else { life.without_drill() };
        life.before = self.copying;
        life.turn(epoch);
        life.bring_up(Contest::Failover, order.point, Overlay::Fresh, BTreeSet::new());
        Ok(Step { life, supersedes: Supersedes::All, begins: Some(Begin::BringUp) })
    }

    fn taken_back(&self, order: &Order, facts: &Facts) -> Result<Step, Reason> {
        let epoch = self.issue(order.token, facts)?;
        let mut life = self.clone();
        life.own(epoch);
        life.bring_up(Contest::TakeBack, Choice::AsLeft, Overlay::AsLeft, BTreeSet::new());
        Ok(Step { life, supersedes: Supersedes::All, begins: Some(Begin::BringUp) })
    }

    /// The winner owns the machine above both; the loser's writes are kept when it is reversed.
    fn decided(&self, order: &Order, facts: &Facts) -> Result<Step, Reason> {
        let Some(winner) = order.winner.filter(|winner| self.hosts().contains(winner)) else {
            let what = "the winner is not one of the two hosts of this protection";
            return Err(Reason::new("no-winner", what, "name one of the two"));
        };
        let rival = self.rival.map(|rival| rival.epoch);
        let known: Vec<Epoch> =
            facts.known.iter().copied().chain([self.epoch, self.issued]).chain(rival).collect();
        let epoch = ownership::issue_for_winner(&known, order.token);
        let mut life = self.clone().without_drill();
        life.rival = None;
        if winner == life.target {
            life.turn(epoch);
        } else {
            life.own(epoch);
        }
        if life.stage == Stage::Disabled {
            return Ok(Step { life, supersedes: Supersedes::Nothing, begins: None });
        }
        life.bring_up(Contest::Winner, Choice::AsLeft, Overlay::AsLeft, BTreeSet::new());
        Ok(Step { life, supersedes: Supersedes::All, begins: Some(Begin::BringUp) })
    }

    fn changing_point(&self, order: &Order) -> Result<Step, Reason> {
        let (at, mut kept) = match &self.stage {
            Stage::FailedOver { at, kept, .. } => (*at, kept.clone()),
            Stage::BringingUp(up) => (None, up.kept.clone()),
            _ => (None, BTreeSet::new()),
        };
        kept.extend(at);
        self.check_point(order, &kept)?;
        let mut life = self.clone();
        life.bring_up(Contest::OtherPoint, order.point, order.overlay, kept);
        Ok(Step { life, supersedes: Supersedes::All, begins: Some(Begin::BringUp) })
    }

    /// Why the machine is not brought up at a point anew: it was by this failover, and runs on from
    /// there. None: it was not.
    #[must_use]
    pub fn is_at_already(&self, point: PointId) -> Option<Reason> {
        let what = format!("the machine runs at point {point} already");
        let same = self.brought_up_at() == Some(point);
        same.then(|| {
            Reason::new("same-point", what, "nothing is to be done; or choose another point by its name")
        })
    }

    fn check_point(&self, order: &Order, kept: &BTreeSet<PointId>) -> Result<(), Reason> {
        let named = if let Choice::At(point) = order.point { Some(point) } else { None };
        if let Some(reason) = named.and_then(|point| self.is_at_already(point)) {
            return Err(reason);
        }
        match (order.point, order.overlay) {
            (Choice::At(point), Overlay::AsLeft) if !kept.contains(&point) => {
                let what = format!("the machine was not brought up at point {point} before");
                Err(Reason::new("never-there", what, "bring it up there fresh"))
            }
            (Choice::At(_), Overlay::AsLeft) | (_, Overlay::Fresh) => Ok(()),
            (_, Overlay::AsLeft) => {
                let what = "as it was left can only be asked for at a named point";
                Err(Reason::new("no-point-named", what, "name the point"))
            }
        }
    }

    /// Begins to bring the machine up at the source.
    fn bring_up(&mut self, then: Contest, point: Choice, overlay: Overlay, kept: BTreeSet<PointId>) {
        self.ups += 1;
        self.stage = Stage::BringingUp(BringUp { then, point, overlay, kept, failed: None });
        if then != Contest::OtherPoint {
            (self.copying, self.flat) = (Copying::Off, Flat::Own);
        }
    }

    fn committed(mut self) -> Life {
        let planned = matches!(self.stage, Stage::FailedOver { kind: Kind::Planned, .. });
        self.stage = if planned { Stage::Replicating } else { Stage::Committed };
        self
    }

    fn drilled(mut self, order: &Order) -> Life {
        self.ups += 1;
        self.drill = Some(Drill {
            phase: DrillPhase::Opening,
            overdue: false,
            host: Some(self.target),
            order: self.ups,
            point: order.point,
            network: order.network.clone(),
            until_ms: order.until_ms,
        });
        self
    }

    fn without_drill(mut self) -> Life {
        if let Some(drill) = &mut self.drill {
            drill.phase = DrillPhase::CleaningUp;
        }
        self
    }

    fn phase(mut self, phase: Phase) -> Life {
        if let Stage::HandingOver(over) = &mut self.stage {
            over.phase = phase;
        }
        self
    }

    fn is_sealed(&self) -> bool {
        let Stage::HandingOver(over) = &self.stage else { return false };
        matches!(over.phase, Phase::Sealed | Phase::Aborting { sealed: true })
    }
}
