//! Whether a machine may change sides. This module must never change anything.

use super::{source_is_there, target_is_reached, waits_for_resync};
use crate::{
    Answer, Confirm, Contest, Copying, Facts, Flat, Kind, Life, Phase, Stage, Why,
    bug::{self, Bug},
};

impl Life {
    /// It loses nothing or does not begin: everything that it needs is looked at first.
    pub(super) fn judge_planned(&self, facts: &Facts) -> Answer {
        match &self.stage {
            Stage::Replicating => {}
            Stage::HandingOver(over) if over.why == Why::Planned => {
                return Answer::already("under-way", self.so(), self.instead());
            }
            _ => return Answer::no("not-replicating", self.so(), self.instead()),
        }
        if self.has_open_drill() {
            return Answer::no("drill-open", "a test failover is open", "clean it up first");
        }
        match self.copying {
            Copying::Steady => {}
            _ => {
                let what = "the replica is not complete";
                let advice = "wait until it is; where the source is lost, fail over unplanned";
                return Answer::no("not-complete", format!("{what}: {}", self.so()), advice);
            }
        }
        if self.paused {
            return Answer::no("paused", "replication is paused", "resume it, and wait for a cycle");
        }
        if self.flat == Flat::Flattening {
            return Answer::no("flattening", "the machine's disks are being flattened", "wait, or stop that");
        }
        if let Some(against) = &facts.source.stands_against {
            let what = format!("the source's host is not ready for it: {against}");
            return Answer::no("source-not-ready", what, "see to that first");
        }
        let missing = source_is_there(facts).or_else(|| self.target_is_there(facts));
        missing
            .or_else(|| not_current(facts))
            .or_else(|| cannot_start_there(facts))
            .unwrap_or_else(Answer::yes)
    }

    /// Wherever the target holds one whole point, whatever else is under way.
    pub(super) fn judge_unplanned(&self, facts: &Facts) -> Answer {
        if !facts.whole_point || waits_for_resync(self.copying) {
            let what = "the target has no whole recovery point of this machine";
            let advice = "wait for the first one; if the source is lost, there is nothing to fail over to";
            return Answer::no("no-point", what, advice);
        }
        // That it is in maintenance, say, does not outweigh a disaster.
        if let Some(away) = target_is_reached(facts) {
            return away;
        }
        Answer::Allowed { confirm: confirms(facts.source.runs) }
    }

    pub(super) fn judge_complete(&self, facts: &Facts) -> Answer {
        match &self.stage {
            Stage::HandingOver(over) if over.phase == Phase::Sealed => {
                self.target_is_there(facts).unwrap_or_else(Answer::yes)
            }
            // The target may have refused the seal for good already.
            Stage::HandingOver(over) if matches!(over.phase, Phase::Aborting { .. }) => {
                Answer::no("aborting", self.so(), self.instead())
            }
            Stage::Starting { .. } => Answer::already("accepted", self.so(), "wait until it runs"),
            _ => Answer::no("not-sealed", format!("nothing is sealed: {}", self.so()), self.instead()),
        }
    }

    /// The target is asked to refuse; that it is away is no reason not to ask.
    pub(super) fn judge_abort(&self, facts: &Facts) -> Answer {
        match &self.stage {
            Stage::HandingOver(over) => match over.phase {
                Phase::Aborting { .. } => Answer::already("aborting", self.so(), self.instead()),
                Phase::Sealed if !facts.target.reachable => {
                    let what = "it was sealed, and the target, which may have accepted it, is not reached";
                    Answer::no("target-away", what, "reach the target, or take the machine back")
                }
                _ => Answer::yes(),
            },
            Stage::Starting { .. } => {
                Answer::no("accepted", self.so(), "wait until it runs, then cancel or fail back")
            }
            _ => {
                Answer::no("nothing-to-abort", format!("no move is under way: {}", self.so()), self.instead())
            }
        }
    }

    /// The way out where a machine was sealed and the other side is lost.
    pub(super) fn judge_take_back(&self, facts: &Facts) -> Answer {
        let sealed = match &self.stage {
            Stage::HandingOver(over) => {
                matches!(over.phase, Phase::Sealed | Phase::Aborting { sealed: true })
            }
            _ => false,
        };
        if !sealed || bug::is(Bug::TrapsSealed) {
            return Answer::no("not-sealed", format!("nothing is sealed: {}", self.so()), self.instead());
        }
        if let Some(away) = source_is_there(facts) {
            return away;
        }
        if facts.target.runs == Some(true) {
            let what = "the machine runs on the other side";
            return Answer::no("runs-there", what, "complete the move, and cancel it or fail back then");
        }
        Answer::Allowed { confirm: confirms(facts.target.runs) }
    }

    pub(super) fn judge_change_point(&self, facts: &Facts) -> Answer {
        match &self.stage {
            Stage::FailedOver { kind: Kind::Unplanned, .. } => {}
            // A host that cannot start it as it was left there may have points of it.
            Stage::BringingUp(up) if up.failed.is_some() => {}
            Stage::BringingUp(up) if matches!(up.then, Contest::Failover | Contest::OtherPoint) => {}
            Stage::FailedOver { kind: Kind::Planned, .. } => {
                let what = "after a planned failover there is nothing older to choose: nothing was lost";
                return Answer::no("planned", what, "to see an older point, commit and run a test failover");
            }
            Stage::Replicating | Stage::Committed => {
                let what = format!("a failover is committed, or there was none: {}", self.so());
                return Answer::no("committed", what, "to see an older point, run a test failover");
            }
            _ => return Answer::no("not-failed-over", self.so(), self.instead()),
        }
        source_is_there(facts).unwrap_or_else(|| Answer::Allowed { confirm: vec![Confirm::DataLoss] })
    }

    /// Both sides are needed: the one that runs it gives its receipt, the other one accepts.
    pub(super) fn judge_cancel(&self, facts: &Facts) -> Answer {
        match &self.stage {
            Stage::FailedOver { .. } => {}
            Stage::BringingUp(up) if matches!(up.then, Contest::Failover | Contest::OtherPoint) => {}
            Stage::Starting { why: Why::Planned, failed: Some(_), .. } => {}
            Stage::HandingOver(over) if over.why == Why::Cancel => {
                return Answer::already("cancelling", self.so(), self.instead());
            }
            Stage::HandingOver(_) => return Answer::no("not-moved", self.so(), "abort it"),
            Stage::Replicating | Stage::Committed | Stage::Reversing { .. } => {
                let what = format!("a failover is committed, or there was none: {}", self.so());
                return Answer::no("committed", what, "fail back instead, which loses nothing");
            }
            _ => return Answer::no("not-failed-over", self.so(), self.instead()),
        }
        if !facts.source.reachable {
            let what = "the host that was failed over to is not reached, and may run the machine";
            let advice = "fail over unplanned the other way, and confirm that it may still run";
            return Answer::no("no-receipt", what, advice);
        }
        self.target_is_there(facts).unwrap_or_else(|| Answer::Allowed { confirm: vec![Confirm::DataLoss] })
    }

    pub(super) fn judge_commit(&self) -> Answer {
        match &self.stage {
            Stage::FailedOver { .. } => Answer::yes(),
            Stage::Committed | Stage::Replicating | Stage::Reversing { .. } => {
                let what = format!("there is no failover to commit: {}", self.so());
                Answer::already("committed", what, "nothing is to be done")
            }
            _ => Answer::no("not-failed-over", self.so(), self.instead()),
        }
    }

    pub(super) fn judge_declare(&self) -> Answer {
        if self.rival.is_none() {
            let what = format!("one host owns the machine, and nobody contests it: {}", self.so());
            return Answer::already("not-contested", what, "nothing is to be done");
        }
        declares()
    }
}

/// A person says which of two owners is right.
pub(super) fn declares() -> Answer {
    Answer::Allowed { confirm: vec![Confirm::DataLoss, Confirm::MayStillRun] }
}

/// What somebody who starts a machine without a seal has to know.
fn confirms(runs_elsewhere: Option<bool>) -> Vec<Confirm> {
    let may = (runs_elsewhere != Some(false)).then_some(Confirm::MayStillRun);
    [Confirm::DataLoss].into_iter().chain(may).collect()
}

/// A machine that was shut down for a last cycle which cannot come would run nowhere.
fn not_current(facts: &Facts) -> Option<Answer> {
    let why = facts.not_current.as_ref().filter(|_| !bug::is(Bug::MovesBlindly))?;
    let what = format!("the target could not get the machine's last state: {why}");
    let advice = "see to that first; where the source is lost, fail over unplanned";
    Some(Answer::no("not-current", what, advice))
}

/// Found out before the machine is shut down, not after.
fn cannot_start_there(facts: &Facts) -> Option<Answer> {
    let why = facts.target.could_not_start.as_ref().filter(|_| !bug::is(Bug::MovesBlindly))?;
    let what = format!("the machine could not be started on the target's host: {why}");
    Some(Answer::no("cannot-start-there", what, "see to that first; it is looked at again by itself"))
}
