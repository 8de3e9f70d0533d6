//! Whether a protection's life has come to where a job's step waits for, or has gone elsewhere;
//! and what time decides about it.

use std::collections::BTreeSet;

use farshore_job::{EffectId, Progress};
use farshore_protection::{
    Begin, Confirm, Copying, DrillPhase, Flat, HandOver, Life, Operation, Order, Phase, Stage, Why,
};
use farshore_types::{Epoch, HostId, MachineId};
use serde::Deserialize;
use serde_json::json;

use super::{
    Kind,
    course::{Course, Goal},
    look::{Look, superseded},
};
use crate::{
    Core, Moment, Problem,
    rows::{About, JobRow, ProtectionRow},
};

/// Milliseconds after which a machine that does not shut down, and is not to be switched off, is
/// left running, and the move is given up.
const STOP_MS: u64 = 600_000;
/// Milliseconds after which a machine that is off for its last cycle is let run again, where that
/// cycle does not come: the line is cut, or the other host is gone.
const STALLED_MS: u64 = 120_000;
/// Milliseconds for which an unplanned failover tries to stop the machine and to send the rest.
const TRY_MS: u64 = 120_000;
/// Milliseconds after which the machine runs again where it was, if the other side is not reached.
const GIVE_UP_MS: u64 = 2 * TRY_MS;

/// Where a hand-over by some epoch is.
enum Way<'a> {
    /// On its way.
    Under(&'a HandOver),
    /// Accepted, and not running yet.
    Starting,
    /// It is over, and runs on the other side.
    Over,
    /// Something else came to be.
    Gone,
}

/// A failover that was tried, and whose machine goes on where it was.
fn given_up(row: &ProtectionRow) -> Look {
    let what = format!("the failover of '{}' was given up: the machine runs on where it was", row.name);
    Look::failed(what, "see that the other side is reached, and order it again")
}

fn way<'a>(life: &'a Life, next: &Epoch) -> Way<'a> {
    match &life.stage {
        Stage::HandingOver(over) if over.next == *next => Way::Under(over),
        Stage::Starting { .. } if life.epoch == *next => Way::Starting,
        _ if life.epoch == *next => Way::Over,
        _ => Way::Gone,
    }
}

impl Core {
    /// What time decides.
    pub(super) fn act_on_course(
        &mut self,
        id: EffectId,
        machine: MachineId,
        goal: &Goal,
        for_ms: u64,
        at: &Moment,
    ) {
        let Some(row) = self.tables.protections.get(&machine).filter(|row| row.is_live()).cloned() else {
            return;
        };
        let Some(phase) = under(&row.life, goal) else { return };
        if !row.hosts().into_iter().all(|host| self.had_time_to_report(host, at)) {
            return;
        }
        match (goal, phase) {
            _ if self.is_given_up(&row, goal, phase, for_ms, at) => {
                let order = Order::new(Operation::Abort, 0);
                let _ = self.atomically(|core| core.order_life(&row, &order, Some(id.job), at));
            }
            (Goal::Tried { point, .. }, Phase::Stopping | Phase::Stopped)
                if for_ms >= TRY_MS || self.silence(row.source(), at).is_some() =>
            {
                // What it takes was confirmed with the order.
                let confirmed = [Confirm::DataLoss, Confirm::MayStillRun].into();
                // With the other side gone meanwhile, it is better run where it was.
                let gone = for_ms >= GIVE_UP_MS && self.silence(row.target(), at).is_some();
                let order = match gone {
                    true => Order::new(Operation::Abort, 0),
                    false => {
                        Order { confirmed, point: *point, ..Order::new(Operation::UnplannedFailover, 0) }
                    }
                };
                let _ = self.atomically(|core| core.order_life(&row, &order, Some(id.job), at));
            }
            _ => {}
        }
    }

    /// Whether a move is given up after that time: the machine does not shut down; or it is off, and
    /// its last cycle gets nowhere.
    fn is_given_up(&self, row: &ProtectionRow, goal: &Goal, phase: Phase, for_ms: u64, at: &Moment) -> bool {
        let stalls = || {
            // Who takes a failover back has nothing to send, and says that it rests.
            let sends = |over: &HandOver| over.why == Why::Planned;
            let moves = matches!(&row.life.stage, Stage::HandingOver(over) if sends(over));
            let paused = moves && self.is_paused_at_source(row);
            paused || self.not_current(row).is_some() || self.silence(row.target(), at).is_some()
        };
        match (goal, phase) {
            (Goal::Stopped { power_off: false, .. }, Phase::Stopping) => for_ms >= STOP_MS,
            (Goal::Sealed { .. }, Phase::Stopped) => for_ms >= STALLED_MS && stalls(),
            _ => false,
        }
    }

    /// Moves that time decides about, and that no job sees to: theirs was cancelled, or they were only
    /// learned of. They get a job, so that no machine stays off because nobody looks.
    pub(crate) fn begin_missing_courses(&mut self, at: &Moment) {
        let moving = self.tables.protections.rows().filter(|row| row.is_live() && is_timed(&row.life));
        let mut moving: BTreeSet<MachineId> = moving.map(|row| row.machine).collect();
        if moving.is_empty() {
            return;
        }
        for job in self.tables.jobs.rows().filter(|job| job.is_open()) {
            if let About::Machine(machine) = job.about
                && moving.contains(&machine)
                && self.course_of_now(job).is_some()
            {
                moving.remove(&machine);
            }
        }
        for machine in moving {
            // Where it cannot be begun now, it is at the next look.
            let _ = self.atomically(|core| core.begin_missing_course(machine, at));
        }
    }

    fn begin_missing_course(&mut self, machine: MachineId, at: &Moment) -> Result<(), Problem> {
        let about = About::Machine(machine);
        let Some(row) = self.tables.protections.get(&machine) else { return Ok(()) };
        if !self.may_issue_for(row.hosts(), at) {
            return Ok(());
        }
        // What was ordered, and confirmed, is known by the job that was cancelled.
        let jobs = self.tables.jobs.rows().filter(|job| job.about == about);
        let known = jobs.filter_map(|job| Some((job.job.created_ms, self.course_of_now(job)?)));
        let known = known.max_by_key(|(created_ms, _)| *created_ms).map(|(_, course)| course);
        let [source, target] = row.hosts().map(|host| self.host_name(host));
        let order = Order::new(Operation::PlannedFailover, 0);
        let course = known.or_else(|| Course::of(row, Begin::HandOver, &order, [&source, &target]));
        let Some((kind, course)) = course else { return Ok(()) };
        self.begin_job(kind, about, &course, at).map(drop)
    }

    /// The course of a job that is one of the hand-over that is under way, and the job's kind.
    fn course_of_now(&self, row: &JobRow) -> Option<(Kind, Course)> {
        let kind = Kind::of_life(&row.job.kind)?;
        let course = Course::deserialize(&row.job.input).ok()?;
        let life = &self.tables.protections.get(&course.machine)?.life;
        let of_now = course.steps.iter().any(|step| under(life, &step.goal).is_some());
        of_now.then_some((kind, course))
    }

    pub(super) fn is_on_course(&self, machine: MachineId, goal: &Goal, at: &Moment) -> Look {
        let Some(row) = self.tables.protections.get(&machine).filter(|row| row.is_live()) else {
            return superseded();
        };
        if row.life.rival.is_some() {
            let what = format!("two hosts own machine '{}'", row.name);
            return Look::failed(what, "declare which of them is the winner");
        }
        match goal {
            Goal::Stopped { next, .. }
            | Goal::Sealed { next }
            | Goal::Accepted { next }
            | Goal::Runs { next } => self.is_handed_over(row, next, goal, at),
            Goal::Tried { next, .. } => match way(&row.life, next) {
                Way::Under(HandOver { phase: Phase::Aborting { .. }, .. }) => given_up(row),
                Way::Under(over) if !is_sealed(over) => {
                    self.wait_on(row, row.source(), "seals the machine", at)
                }
                Way::Under(_) | Way::Starting | Way::Over => Look::done(json!({ "note": "nothing is lost" })),
                Way::Gone if row.life.epoch.number > next.number => Look::done(
                    json!({ "note": "it could not be stopped in time: it is brought up without that" }),
                ),
                Way::Gone if row.life.epoch.number < next.number => given_up(row),
                Way::Gone => superseded(),
            },
            Goal::RunsSince { next } => self.runs_since(row, next, at),
            Goal::Aborted { next } => self.is_aborted(row, next, at),
            Goal::Up { epoch, order } => self.is_up(row, epoch, *order, at),
            Goal::Known { epoch } if row.life.epoch != *epoch => superseded(),
            Goal::Known { .. } => self.is_known(row, at),
            Goal::Adopted { epoch } | Goal::Copied { epoch } | Goal::Flat { epoch }
                if row.life.epoch != *epoch =>
            {
                superseded()
            }
            Goal::Adopted { .. } => match &row.life.stage {
                Stage::Reversing { .. } => self.wait_on(row, row.target(), "adopts its disks", at),
                _ => Look::reached(),
            },
            Goal::Copied { .. } => match row.life.copying {
                Copying::Steady => Look::reached(),
                Copying::Off => superseded(),
                _ => self.copies(row, at),
            },
            Goal::DrillOpen { order } | Goal::DrillGone { order } => self.is_drilled(row, goal, *order, at),
            Goal::Flat { .. } => self.is_flat(row, at),
        }
    }

    fn is_handed_over(&self, row: &ProtectionRow, next: &Epoch, goal: &Goal, at: &Moment) -> Look {
        match (way(&row.life, next), goal) {
            (Way::Gone, _) => superseded(),
            (Way::Over, _) => Look::reached(),
            (Way::Under(HandOver { phase: Phase::Aborting { .. }, .. }), _) => Look::failed(
                format!("the move of '{}' is being given up: the machine runs on", row.name),
                "where it did not shut down, order it again with power off; else see why it was given up",
            ),
            (Way::Under(over), Goal::Stopped { .. }) if over.phase != Phase::Stopping => Look::reached(),
            (Way::Under(_), Goal::Stopped { .. }) => {
                self.wait_on(row, row.source(), "has shut the machine down", at)
            }
            (Way::Under(over), Goal::Sealed { .. }) if is_sealed(over) => Look::reached(),
            (Way::Under(_), Goal::Sealed { .. }) => self.wait_on(row, row.source(), "seals the machine", at),
            (Way::Under(_), _) => self.wait_on(row, row.target(), "accepts the machine", at),
            (Way::Starting, Goal::Runs { .. }) => self.wait_on(row, row.source(), "starts the machine", at),
            (Way::Starting, _) => Look::reached(),
        }
    }

    fn runs_since(&self, row: &ProtectionRow, next: &Epoch, at: &Moment) -> Look {
        match &row.life.stage {
            Stage::HandingOver(over) if over.next == *next => {
                self.wait_on(row, row.target(), "accepts the machine", at)
            }
            _ if row.life.epoch.number < next.number => superseded(),
            Stage::Starting { .. } | Stage::BringingUp(_) => {
                self.wait_on(row, row.source(), "brings the machine up", at)
            }
            _ => Look::done(json!({ "point": row.life.brought_up_at().map(|point| point.to_string()) })),
        }
    }

    fn is_aborted(&self, row: &ProtectionRow, next: &Epoch, at: &Moment) -> Look {
        match way(&row.life, next) {
            Way::Under(HandOver { phase: Phase::Aborting { sealed: true }, .. }) => {
                self.wait_on(row, row.target(), "refuses the machine, and then the old one runs it", at)
            }
            Way::Under(_) => self.wait_on(row, row.source(), "runs the machine again", at),
            Way::Starting | Way::Over => Look::failed(
                "the other side had accepted the machine before it was asked to refuse",
                "it runs there: cancel the failover, or fail back",
            ),
            Way::Gone if row.life.epoch.number >= next.number => superseded(),
            Way::Gone => Look::reached(),
        }
    }

    fn is_up(&self, row: &ProtectionRow, epoch: &Epoch, order: u64, at: &Moment) -> Look {
        let life = &row.life;
        match &life.stage {
            _ if life.epoch != *epoch => superseded(),
            Stage::BringingUp(_) if life.ups == order => {
                self.wait_on(row, row.source(), "brings the machine up", at)
            }
            Stage::BringingUp(_) | Stage::HandingOver(_) => superseded(),
            _ => Look::done(json!({ "point": life.brought_up_at().map(|point| point.to_string()) })),
        }
    }

    fn is_known(&self, row: &ProtectionRow, at: &Moment) -> Look {
        let key = farshore_control::Key::Protection(row.machine);
        // One that is away learns of it when it is back.
        let late = row
            .hosts()
            .into_iter()
            .find(|host| !self.holds(&key, *host) && self.silence(*host, at).is_none());
        late.map_or_else(Look::reached, |host| Look::wait(self.why_waiting(host, "knows of it", at)))
    }

    fn copies(&self, row: &ProtectionRow, at: &Moment) -> Look {
        if row.life.paused {
            return Look::wait("the protection is paused: resume it");
        }
        match self.silence(row.source(), at) {
            Some(silent) => Look::wait(silent),
            None => self.source_on_course(row, at),
        }
    }

    fn is_drilled(&self, row: &ProtectionRow, goal: &Goal, order: u64, at: &Moment) -> Look {
        let drill = row.life.drill.as_ref().filter(|drill| drill.order == order);
        let Some(drill) = drill else {
            return match goal {
                Goal::DrillGone { .. } => Look::reached(),
                _ => drill_given_up(row, order),
            };
        };
        let host = drill.host.unwrap_or(row.target());
        let there = self.standing(host, row.machine).and_then(|standing| standing.drill.as_ref());
        let there = there.filter(|there| there.order == order);
        match (goal, drill.phase) {
            (Goal::DrillOpen { .. }, DrillPhase::Open) => {
                let at = there.and_then(|there| there.at).map(|point| point.to_string());
                Look::done(json!({ "point": at, "name": there.map(|there| there.name.clone()) }))
            }
            (Goal::DrillOpen { .. }, DrillPhase::CleaningUp) => drill_given_up(row, order),
            _ => match self.drill_fails(row).filter(|_| self.silence(host, at).is_none()) {
                Some(why) => Look::wait(format!("host '{}': {why}; it is tried again", self.host_name(host))),
                None => self.wait_on(row, host, "has done it", at),
            },
        }
    }

    /// Why the copy of the machine's test failover is not brought up, or not removed, as its host
    /// says of what is wanted now: what it said before that was about something else.
    pub fn drill_fails(&self, row: &ProtectionRow) -> Option<String> {
        let drill = row.life.drill.as_ref()?;
        let there = self.standing_now(row, drill.host.unwrap_or(row.target()))?.drill.as_ref()?;
        there.failed.as_ref().filter(|_| there.order == drill.order).map(ToString::to_string)
    }

    fn is_flat(&self, row: &ProtectionRow, at: &Moment) -> Look {
        match row.life.flat {
            Flat::Own => Look::reached(),
            Flat::Layered | Flat::Scheduled { .. } => {
                Look::failed("flattening was stopped", "order it again when it is wanted")
            }
            Flat::Flattening => {
                let standing = self.standing(row.source(), row.machine);
                match standing.and_then(|standing| standing.flattening.as_ref()) {
                    Some(part) if self.silence(row.source(), at).is_none() => {
                        let failed = part.failed.as_ref().map(ToString::to_string);
                        let why = failed.unwrap_or_else(|| {
                            "nothing is replicated meanwhile: the newest point grows old".to_owned()
                        });
                        let progress = Some(Progress { done: part.done, total: part.total });
                        Look::Wait { why, progress }
                    }
                    _ => self.wait_on(row, row.source(), "flattens its disks", at),
                }
            }
        }
    }

    /// Whom is waited for; what it does, or why it cannot, where it says that.
    fn wait_on(&self, row: &ProtectionRow, host: HostId, does: &str, at: &Moment) -> Look {
        if let Some(silent) = self.silence(host, at) {
            return Look::wait(silent);
        }
        let standing = self.standing_now(row, host);
        if let Some(cannot) = standing.and_then(|standing| standing.cannot.as_ref()) {
            let name = self.host_name(host);
            return Look::wait(format!("host '{name}': {cannot}; it is tried again"));
        }
        match standing.and_then(|standing| standing.doing.as_ref()) {
            Some(doing) => {
                let progress = (doing.total > 0).then_some(Progress { done: doing.done, total: doing.total });
                Look::Wait { why: doing.what.clone(), progress }
            }
            None => Look::wait(self.why_waiting(host, does, at)),
        }
    }
}

/// A test failover was cleaned up before its copy ran, and why it did not run until then.
fn drill_given_up(row: &ProtectionRow, order: u64) -> Look {
    let Some(record) = row.drills.iter().rev().find(|record| record.order == order) else {
        return superseded();
    };
    let why = record.failed.as_ref().map(|failed| format!(": {failed}")).unwrap_or_default();
    Look::failed(format!("it was cleaned up before its copy ran{why}"), "order another one when it is wanted")
}

/// Whether a machine is on its way, and not sealed yet: time decides about that.
fn is_timed(life: &Life) -> bool {
    let timed = |over: &HandOver| matches!(over.phase, Phase::Stopping | Phase::Stopped);
    life.rival.is_none() && matches!(&life.stage, Stage::HandingOver(over) if timed(over))
}

/// The phase of a hand-over that time may decide about.
fn under(life: &Life, goal: &Goal) -> Option<Phase> {
    let (Goal::Stopped { next, .. } | Goal::Sealed { next } | Goal::Tried { next, .. }) = goal else {
        return None;
    };
    match way(life, next) {
        Way::Under(over) => Some(over.phase),
        _ => None,
    }
}

fn is_sealed(over: &HandOver) -> bool {
    over.phase == Phase::Sealed
}
