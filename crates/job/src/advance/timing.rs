//! What the passing of time alone brings about: waits that are over, deadlines, further
//! attempts, and asking again in case that a message was lost. A clock that was set back must
//! not make anything wait for as long as it was set back.

use super::Advance;
use crate::{Cause, Direction, Job, JobNode, Phase, RESEND_MS, Run, State, Work};

impl Advance<'_> {
    pub(super) fn pass_time(&mut self) {
        for at in 0..self.job.nodes.len() {
            self.heal_clock(at);
            match self.job.nodes[at].state {
                State::Running => self.pass_running(at),
                State::Retrying => self.pass_retrying(at),
                State::Undoing => self.pass_undoing(at),
                _ => {}
            }
        }
    }

    /// Takes what lies in the future for now, where the clock was set back meanwhile.
    fn heal_clock(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.job.nodes[at];
        if node.state == State::Running {
            node.started_ms = node.started_ms.map(|started| started.min(now));
        }
        let most = node.spec().map_or(0, |spec| spec.retry.most_ms);
        for run in [&mut node.doing, &mut node.undoing].into_iter().flatten() {
            run.since_ms = run.since_ms.min(now);
            run.sent_ms = run.sent_ms.min(now);
            run.retry_at_ms = run.retry_at_ms.map(|at| at.min(now.saturating_add(most)));
        }
    }

    fn pass_running(&mut self, at: usize) {
        let node = &self.job.nodes[at];
        let Some(spec) = node.spec() else { return };
        let begun = node.started_ms.unwrap_or(self.now);
        let due = |ms: u64| self.now >= begun.saturating_add(ms);
        let late = spec.deadline_ms.is_some_and(due);
        match spec.work {
            Work::Wait { ms } if due(ms) => self.finish(at, State::Done),
            Work::Wait { .. } => {}
            Work::Person { .. } if late => self.fail(at, deadline()),
            Work::Person { .. } => {}
            Work::Effect if late => self.lose(at, "no outcome was known when its deadline passed"),
            Work::Effect => self.ask_again_if_silent(at, Direction::Do),
        }
    }

    fn pass_retrying(&mut self, at: usize) {
        let node = &self.job.nodes[at];
        let begun = node.started_ms.unwrap_or(self.now).min(self.now);
        let deadline_ms = node.spec().and_then(|spec| spec.deadline_ms);
        let late = deadline_ms.is_some_and(|ms| self.now >= begun.saturating_add(ms));
        if late || self.is_halted() {
            let cause = node.cause.clone().unwrap_or_else(deadline);
            self.fail(at, cause);
        } else if self.is_due(at, Direction::Do) {
            self.job.nodes[at].state = State::Running;
            self.next_attempt(at, Direction::Do);
        }
    }

    fn pass_undoing(&mut self, at: usize) {
        let node = &self.job.nodes[at];
        let since = node.undoing.as_ref().map_or(self.now, |run| run.since_ms);
        let deadline_ms = node.spec().and_then(|spec| spec.deadline_ms);
        if deadline_ms.is_some_and(|ms| self.now >= since.saturating_add(ms)) {
            self.leave_lost(at, "no outcome of taking it back was known when its deadline passed");
        } else if self.is_due(at, Direction::Undo) {
            self.next_attempt(at, Direction::Undo);
        } else {
            self.ask_again_if_silent(at, Direction::Undo);
        }
    }

    fn is_due(&mut self, at: usize, direction: Direction) -> bool {
        let now = self.now;
        let run = self.run_of(at, direction).as_ref();
        run.and_then(|run| run.retry_at_ms).is_some_and(|at| now >= at)
    }

    fn next_attempt(&mut self, at: usize, direction: Direction) {
        if let Some(run) = self.run_of(at, direction) {
            run.attempt += 1;
            run.retry_at_ms = None;
        }
        self.send(at, direction);
    }

    fn ask_again_if_silent(&mut self, at: usize, direction: Direction) {
        #[cfg(feature = "deliberate-bugs")]
        if self.registry.bug() == Some(crate::Bug::SilentAfterCrash) {
            return;
        }
        let now = self.now;
        let run = self.run_of(at, direction).as_ref();
        let silent = |run: &Run| run.retry_at_ms.is_none() && now >= run.sent_ms.saturating_add(RESEND_MS);
        if run.is_some_and(silent) {
            self.send(at, direction);
        }
    }
}

fn deadline() -> Cause {
    Cause { what: "its deadline passed".to_owned(), advice: "begin again when it can be done".to_owned() }
}

impl Job {
    /// When the job next wants an [`Event::Tick`](crate::Event::Tick), in milliseconds since
    /// the Unix epoch; none: only events move it on.
    #[must_use]
    pub fn wakes_at(&self) -> Option<u64> {
        if self.phase == Phase::Ended {
            return None;
        }
        self.nodes.iter().filter_map(|node| wake_of(node, true)).min()
    }

    /// When time alone next changes the job: the same without asking again, which nobody
    /// needs who looks at [`Job::outstanding`] effects by himself.
    #[must_use]
    pub fn due_at(&self) -> Option<u64> {
        if self.phase == Phase::Ended {
            return None;
        }
        self.nodes.iter().filter_map(|node| wake_of(node, false)).min()
    }
}

fn wake_of(node: &JobNode, asks_again: bool) -> Option<u64> {
    let spec = node.spec()?;
    let run = match node.state {
        State::Running | State::Retrying => node.doing.as_ref(),
        State::Undoing => node.undoing.as_ref(),
        _ => return None,
    };
    let since = if node.state == State::Undoing { run?.since_ms } else { node.started_ms? };
    let deadline = spec.deadline_ms.map(|ms| since.saturating_add(ms));
    let over = match spec.work {
        Work::Wait { ms } => Some(since.saturating_add(ms)),
        _ => None,
    };
    let again = |run: &Run| asks_again.then(|| run.sent_ms.saturating_add(RESEND_MS));
    let asks = run.and_then(|run| run.retry_at_ms.or_else(|| again(run)));
    [deadline, over, asks].into_iter().flatten().min()
}
