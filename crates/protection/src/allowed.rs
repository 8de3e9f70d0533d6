//! For every operation: whether it is allowed now, or why not and what to do instead. API,
//! command line and console show what is said here; `step` refuses by it. This module must
//! never change anything.

mod failover;

use std::collections::BTreeMap;

use crate::{
    Answer, Copying, DrillPhase, Facts, Flat, Life, Operation, Speaks, Stage, State,
    bug::{self, Bug},
    life::{BringUp, Kind},
};

/// What to do while a machine is on its way.
const WAIT: &str = "wait until it has ended, or abort it";

impl Life {
    /// What is answered to every operation now.
    #[must_use]
    pub fn allowed_operations(&self, facts: &Facts) -> BTreeMap<Operation, Answer> {
        Operation::ALL.into_iter().map(|operation| (operation, self.judge(facts, operation))).collect()
    }

    /// What is answered to an operation now.
    #[must_use]
    pub fn judge(&self, facts: &Facts, operation: Operation) -> Answer {
        match facts.speaks {
            Speaks::Yes => {}
            Speaks::Learning => {
                let what = "the vault is learning what its hosts hold";
                return Answer::no("learning", what, "try again in a few seconds");
            }
            Speaks::Superseded => {
                let what = "another vault speaks for these machines now";
                return Answer::no("superseded", what, "use that vault; this one commands nothing any more");
            }
        }
        if self.stage == Stage::Disabled && operation != Operation::Enable {
            return match operation {
                // Nothing is protected anew while two own a machine.
                Operation::DeclareWinner if facts.is_contested() => failover::declares(),
                Operation::Disable => {
                    Answer::already("disabled", "protection has ended", "nothing is to be done")
                }
                _ => Answer::no("disabled", "the machine is not protected", "enable protection"),
            };
        }
        if let (Some(rival), false) = (&self.rival, settles(operation)) {
            let what = format!(
                "two hosts own the machine by epochs {} and {}",
                self.epoch.number, rival.epoch.number
            );
            return Answer::no("contested", what, "declare which of them is the winner");
        }
        match operation {
            Operation::Enable => self.judge_enable(facts),
            Operation::Disable => self.judge_disable(),
            Operation::Pause | Operation::Resume => self.judge_pause(operation),
            Operation::Resync => self.judge_resync(),
            Operation::TestFailover => self.judge_drill(facts),
            Operation::CleanUp => self.judge_clean_up(),
            Operation::Flatten => self.judge_flatten(facts),
            Operation::StopFlatten => self.judge_stop_flatten(),
            Operation::Reverse => self.judge_reverse(facts),
            Operation::PlannedFailover => self.judge_planned(facts),
            Operation::Failback if self.is_away() => self.judge_planned(facts),
            Operation::Failback => {
                Answer::already("at-home", "the machine is where protection began", "nothing is to be done")
            }
            Operation::UnplannedFailover => self.judge_unplanned(facts),
            Operation::Complete => self.judge_complete(facts),
            Operation::Abort => self.judge_abort(facts),
            Operation::TakeBack => self.judge_take_back(facts),
            Operation::ChangePoint => self.judge_change_point(facts),
            Operation::Cancel => self.judge_cancel(facts),
            Operation::Commit => self.judge_commit(),
            Operation::DeclareWinner => self.judge_declare(),
        }
    }

    /// The state, as the beginning of an explanation.
    #[must_use]
    pub fn so(&self) -> String {
        let state = self.state();
        format!("it is {}: {}", state.name(), self.what())
    }

    /// What it is, for people.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self.state() {
            State::MovedOver if self.copying == Copying::Seeding => {
                "the machine was moved, and everything is copied back: protected when that is done; not \
                 committed"
            }
            state => state.what(),
        }
    }

    /// What to do about the stage in which it is, where that stands against something.
    #[must_use]
    pub fn instead(&self) -> &'static str {
        match self.state() {
            State::Disabled => "enable protection",
            State::Seeding => "wait for the first recovery point",
            State::Protected | State::Resynchronizing => "wait for the next recovery point",
            State::Stopping | State::LastCycle | State::Cancelling => WAIT,
            State::Sealed => "complete it, or abort it; take it back where the other side is lost",
            State::Aborting => "wait until the machine runs again; take it back where the other side is lost",
            State::Starting | State::BringingUp | State::ChangingPoint => {
                "wait until it runs; where it cannot, cancel, change the point, or fail over to the other side"
            }
            State::MovedOver | State::FailedOver => "commit the failover, or cancel it",
            State::Committed => "reverse replication",
            State::Reversing => "wait until replication to the other side runs",
            State::Contested => "declare which of the owners is the winner",
        }
    }

    fn judge_enable(&self, facts: &Facts) -> Answer {
        match self.stage {
            Stage::Disabled if facts.target.runs == Some(true) => {
                let what = "the machine runs on the host that would keep the replica";
                Answer::no("runs-there", what, "stop the one that is not wanted, or protect it the other way")
            }
            Stage::Disabled => Answer::yes(),
            _ => Answer::already(
                "enabled",
                "the machine is protected already",
                "disable it first to begin anew",
            ),
        }
    }

    /// Ending protection never stops a machine, so it waits where none runs.
    fn judge_disable(&self) -> Answer {
        // With the protection everything is forgotten by which its copy could be removed.
        if self.has_open_drill() {
            return Answer::no("drill-open", "a test failover is open", "clean it up first");
        }
        match &self.stage {
            Stage::HandingOver(_) => Answer::no("runs-nowhere", self.so(), self.instead()),
            Stage::Starting { failed: None, .. } => Answer::no("runs-nowhere", self.so(), self.instead()),
            Stage::BringingUp(BringUp { failed: None, .. }) => {
                Answer::no("runs-nowhere", self.so(), self.instead())
            }
            _ => Answer::yes(),
        }
    }

    fn judge_pause(&self, operation: Operation) -> Answer {
        let pause = operation == Operation::Pause;
        if self.paused == pause {
            let (code, what) = if pause {
                ("paused", "replication is paused already")
            } else {
                ("running", "replication is not paused")
            };
            return Answer::already(code, what, "nothing is to be done");
        }
        if !pause || self.replicates() {
            return Answer::yes();
        }
        Answer::no("not-replicating", self.so(), self.instead())
    }

    /// Whether cycles are to run from source to target.
    pub(crate) fn replicates(&self) -> bool {
        let moved = matches!(self.stage, Stage::FailedOver { kind: Kind::Planned, .. });
        self.copying != Copying::Off && (moved || self.stage == Stage::Replicating)
    }

    fn judge_resync(&self) -> Answer {
        if !self.replicates() {
            return Answer::no("not-replicating", self.so(), self.instead());
        }
        if self.paused {
            let advice = "resume it; a resync that is needed begins then";
            return Answer::no("paused", "replication is paused", advice);
        }
        match self.copying {
            Copying::Seeding => Answer::no("seeding", self.so(), self.instead()),
            _ => Answer::yes(),
        }
    }

    fn judge_drill(&self, facts: &Facts) -> Answer {
        if self.drill.is_some() {
            let advice = "clean it up first: there is one at a time of a machine";
            return Answer::no("drill-open", "a test failover is open already", advice);
        }
        if self.stage != Stage::Replicating {
            return Answer::no("not-replicating", self.so(), self.instead());
        }
        if !facts.whole_point {
            return Answer::no(
                "no-point",
                "the target has no whole recovery point",
                "wait for the first one",
            );
        }
        self.target_is_there(facts).unwrap_or_else(Answer::yes)
    }

    fn judge_clean_up(&self) -> Answer {
        match &self.drill {
            None => Answer::already("no-drill", "no test failover is open", "nothing is to be done"),
            Some(drill) if drill.phase == DrillPhase::CleaningUp => {
                Answer::already("cleaning-up", "it is being cleaned up already", "wait until that has ended")
            }
            Some(_) => Answer::yes(),
        }
    }

    fn judge_flatten(&self, facts: &Facts) -> Answer {
        if !matches!(self.stage, Stage::Replicating | Stage::Committed) {
            return Answer::no("not-committed", self.so(), self.instead());
        }
        match self.flat {
            Flat::Own => Answer::already("flat", "the machine's disks are its own", "nothing is to be done"),
            Flat::Flattening => Answer::already(
                "flattening",
                "they are being flattened",
                "wait until that has ended, or stop it",
            ),
            Flat::Layered | Flat::Scheduled { .. } => source_is_there(facts).unwrap_or_else(Answer::yes),
        }
    }

    fn judge_stop_flatten(&self) -> Answer {
        match self.flat {
            Flat::Flattening | Flat::Scheduled { .. } => Answer::yes(),
            Flat::Own | Flat::Layered => {
                Answer::already("not-flattening", "nothing is being flattened", "nothing is to be done")
            }
        }
    }

    fn judge_reverse(&self, facts: &Facts) -> Answer {
        match &self.stage {
            Stage::Committed => self.target_is_there(facts).unwrap_or_else(Answer::yes),
            Stage::Reversing { .. } => Answer::already("reversing", self.so(), "wait until it runs"),
            Stage::FailedOver { kind: Kind::Planned, .. } => {
                let what = "replication to the other side runs since the planned failover";
                Answer::already("reverse-runs", what, "nothing is to be done")
            }
            Stage::Replicating if self.is_away() => {
                let what = "replication to the other side is running";
                Answer::already("reverse-runs", what, "nothing is to be done")
            }
            Stage::Replicating => {
                let what = "the machine was not failed over: it runs where protection began";
                Answer::no("at-home", what, "fail over first; replication runs as it should")
            }
            Stage::FailedOver { kind: Kind::Unplanned, .. } => {
                let advice = "commit the failover first, or cancel it";
                Answer::no("not-committed", self.so(), advice)
            }
            _ => Answer::no("on-its-way", self.so(), self.instead()),
        }
    }

    pub(crate) fn target_is_there(&self, facts: &Facts) -> Option<Answer> {
        if let Some(away) = target_is_reached(facts) {
            return Some(away);
        }
        let against = facts.target.stands_against.as_ref()?;
        let what = format!("the target's host is not ready: {against}");
        Some(Answer::no("target-not-ready", what, "see to that first"))
    }
}

/// What may be ordered while two own a machine.
fn settles(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::DeclareWinner | Operation::Disable | Operation::CleanUp | Operation::Enable
    )
}

fn source_is_there(facts: &Facts) -> Option<Answer> {
    let advice = "see to its agent and the network; where it is lost, fail over unplanned";
    let away = || Answer::no("source-away", "the host that runs the machine is not reached", advice);
    (!facts.source.reachable).then(away)
}

/// What stands against an order that needs the target, where that is not reached.
fn target_is_reached(facts: &Facts) -> Option<Answer> {
    let advice = "see to its agent and the network between; for good gone, disable with force";
    let away = || Answer::no("target-away", "the target's host is not reached", advice);
    (!facts.target.reachable).then(away)
}

/// For `failover`: whether a resync is taken for an obstacle, which it is not.
fn waits_for_resync(copying: Copying) -> bool {
    bug::is(Bug::WaitsForResync) && copying == Copying::Resync
}
