//! What the end of an effect means for its step. An outcome counts once, and only while
//! exactly that attempt is outstanding; whoever tells it is in any case told to forget it.

use super::Advance;
use crate::{Cause, Direction, Effect, EffectId, Outcome, State};

impl Advance<'_> {
    pub(super) fn ended(&mut self, id: EffectId, outcome: &Outcome) {
        if id.job != self.job.id {
            return;
        }
        if let Some(at) = self.outstanding(id) {
            match id.direction {
                Direction::Do => self.done_or_not(at, outcome),
                Direction::Undo => self.undone_or_not(at, outcome),
            }
        } else {
            #[cfg(feature = "deliberate-bugs")]
            self.take_twice(id, outcome);
        }
        self.effects.push(Effect::Forget { id });
    }

    fn done_or_not(&mut self, at: usize, outcome: &Outcome) {
        match outcome {
            Outcome::Done { result } => {
                self.finish(at, State::Done);
                self.job.nodes[at].result = Some(result.clone());
                self.job.nodes[at].cause = None;
            }
            Outcome::Failed { what, advice, again } => {
                let cause = Cause { what: what.clone(), advice: advice.clone() };
                self.try_again_or_fail(at, cause, *again);
            }
            Outcome::Expired => self.try_again_or_fail(at, expired(), true),
            Outcome::Lost { what } => self.lose(at, what),
        }
    }

    fn try_again_or_fail(&mut self, at: usize, cause: Cause, again: bool) {
        let may = again && !self.is_halted() && self.has_attempts_left(at, Direction::Do);
        if may {
            self.job.nodes[at].cause = Some(cause);
            self.job.nodes[at].state = State::Retrying;
            self.plan_retry(at, Direction::Do);
        } else {
            self.fail(at, cause);
        }
    }

    /// Nobody can know whether it was done: it must not begin any more, and is never tried
    /// again, since that might do it twice.
    pub(super) fn lose(&mut self, at: usize, what: &str) {
        #[cfg(feature = "deliberate-bugs")]
        match self.registry.bug() {
            Some(crate::Bug::RetryLost) => return self.try_again_or_fail(at, expired(), true),
            Some(crate::Bug::LostIsNotUndone) => return self.fail(at, expired()),
            _ => {}
        }
        let id = self.id_of(at, Direction::Do);
        self.effects.extend(id.map(|id| Effect::Stop { id }));
        let advice = "look at the host that was asked; what it may have done is taken back".to_owned();
        self.job.nodes[at].cause = Some(Cause { what: what.to_owned(), advice });
        self.finish(at, State::Lost);
    }

    fn undone_or_not(&mut self, at: usize, outcome: &Outcome) {
        match outcome {
            Outcome::Done { .. } => self.finish(at, State::Undone),
            Outcome::Failed { what, advice, again } => {
                self.undo_again_or_leave(at, Cause { what: what.clone(), advice: advice.clone() }, *again);
            }
            Outcome::Expired => self.undo_again_or_leave(at, expired(), true),
            Outcome::Lost { what } => self.leave_lost(at, what),
        }
    }

    fn undo_again_or_leave(&mut self, at: usize, cause: Cause, again: bool) {
        self.job.nodes[at].cause = Some(cause);
        if again && self.has_attempts_left(at, Direction::Undo) {
            self.plan_retry(at, Direction::Undo);
        } else {
            self.finish(at, State::Left);
        }
    }

    pub(super) fn leave_lost(&mut self, at: usize, what: &str) {
        let id = self.id_of(at, Direction::Undo);
        self.effects.extend(id.map(|id| Effect::Stop { id }));
        let advice = "look at the host that was asked, and take it back by hand".to_owned();
        self.job.nodes[at].cause = Some(Cause { what: what.to_owned(), advice });
        self.finish(at, State::Left);
    }

    fn has_attempts_left(&self, at: usize, direction: Direction) -> bool {
        let node = &self.job.nodes[at];
        let run = match direction {
            Direction::Do => node.doing.as_ref(),
            Direction::Undo => node.undoing.as_ref(),
        };
        let (Some(spec), Some(run)) = (node.spec(), run) else { return false };
        run.attempt < spec.retry.attempts
    }

    fn plan_retry(&mut self, at: usize, direction: Direction) {
        let retry = self.job.nodes[at].spec().map(|spec| spec.retry).unwrap_or_default();
        let now = self.now;
        if let Some(run) = self.run_of(at, direction) {
            run.retry_at_ms = Some(now.saturating_add(retry.backoff_ms(run.attempt)));
        }
    }

    /// Takes an outcome that was taken already for one of the next attempt.
    #[cfg(feature = "deliberate-bugs")]
    fn take_twice(&mut self, id: EffectId, outcome: &Outcome) {
        let at = usize::from(id.step);
        let twice = self.registry.bug() == Some(crate::Bug::OutcomeTwice) && id.direction == Direction::Do;
        if twice && self.job.nodes.get(at).is_some_and(|node| node.state == State::Retrying) {
            let next = self.run_of(at, Direction::Do);
            if let Some(run) = next {
                run.attempt += 1;
            }
            self.done_or_not(at, outcome);
        }
    }
}

fn expired() -> Cause {
    Cause {
        what: "it was not begun in time".to_owned(),
        advice: "see whether the host that was asked is in contact".to_owned(),
    }
}
