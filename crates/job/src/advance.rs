//! How a job moves on: an event is applied, then everything follows that can follow from it.
//! This module must never do anything but change its own copy of the job and say what is to
//! be done once that is stored.

mod backward;
mod outcome;
mod timing;
mod tree;

use crate::{
    Cancel, CancelAsked, Cause, Definition, Direction, Effect, EffectId, Event, FORMAT, Job, JobError,
    JobNode, Known, OnFailure, Phase, Registry, Run, State, Work,
};

pub(crate) struct Advance<'a> {
    #[cfg_attr(not(feature = "deliberate-bugs"), expect(dead_code, reason = "mistakes are asked of it"))]
    registry: &'a Registry,
    definition: &'a dyn Definition,
    job: Job,
    now: u64,
    effects: Vec<Effect>,
}

impl<'a> Advance<'a> {
    pub(crate) fn new(
        registry: &'a Registry,
        definition: &'a dyn Definition,
        job: &Job,
        now: u64,
    ) -> Advance<'a> {
        Advance { registry, definition, job: job.clone(), now, effects: Vec::new() }
    }

    pub(crate) fn run(mut self, event: &Event) -> Result<(Job, Vec<Effect>), JobError> {
        self.apply(event)?;
        self.settle();
        self.show_groups();
        self.job.format = FORMAT;
        Ok((self.job, self.effects))
    }

    fn apply(&mut self, event: &Event) -> Result<(), JobError> {
        match event {
            Event::Tick => {}
            Event::Resumed => self.ask_again_for_all(),
            Event::Ended { id, outcome } => self.ended(*id, outcome),
            Event::Progress { id, progress } => {
                if let Some(at) = self.outstanding(*id) {
                    self.job.nodes[at].progress = Some(*progress);
                }
            }
            Event::Cancel { by } => return self.cancel(by),
            Event::Answer { step, by, done, note } => return self.answer(step, by, *done, note),
        }
        Ok(())
    }

    /// Lets everything follow. Each round either changes a state or is the last, and states
    /// only go on: the bound is far above what any job can need.
    fn settle(&mut self) {
        let rounds = self.job.nodes.len() * 4 + 8;
        for _ in 0..rounds {
            if self.job.has_ended() {
                return;
            }
            let before = (self.job.phase, self.effects.len(), self.states());
            self.pass_time();
            match self.job.phase {
                Phase::Forward => self.go_forward(),
                Phase::Backward => self.go_backward(),
                Phase::Ended => {}
            }
            if before == (self.job.phase, self.effects.len(), self.states()) {
                return;
            }
        }
    }

    fn states(&self) -> Vec<State> {
        self.job.nodes.iter().map(|node| node.state).collect()
    }

    fn go_forward(&mut self) {
        let running = |node: &JobNode| matches!(node.state, State::Running | State::Retrying);
        if self.is_halted() {
            if !self.steps().any(|(_, node)| running(node)) {
                self.job.phase = Phase::Backward;
            }
            return;
        }
        for at in self.ready() {
            self.start(at);
        }
        if self.steps().all(|(_, node)| tree::is_finished(node.state)) {
            self.end_forward();
        }
    }

    /// Whether nothing new may begin: it was cancelled, or a step failed that must not.
    fn is_halted(&self) -> bool {
        self.job.cancel.is_some()
            || self.steps().any(|(_, node)| {
                let stops = node.spec().is_some_and(|spec| spec.on_failure == OnFailure::Stop);
                stops && matches!(node.state, State::Failed | State::Lost)
            })
    }

    fn start(&mut self, at: usize) {
        let (name, now) = (self.job.nodes[at].name.clone(), self.now);
        let is_effect = self.job.nodes[at].spec().is_some_and(|spec| spec.work == Work::Effect);
        self.job.nodes[at].state = State::Running;
        self.job.nodes[at].started_ms = Some(now);
        if is_effect {
            let action = self.definition.action(&name, &Known { job: &self.job });
            self.begin(at, Direction::Do, action);
        }
    }

    /// Asks for the first attempt of a step.
    fn begin(&mut self, at: usize, direction: Direction, action: serde_json::Value) {
        let now = self.now;
        let run = Run { attempt: 1, action, since_ms: now, sent_ms: now, retry_at_ms: None };
        *self.run_of(at, direction) = Some(run);
        self.send(at, direction);
    }

    /// Asks for what is outstanding, by the id that it has.
    fn send(&mut self, at: usize, direction: Direction) {
        let now = self.now;
        let Some(run) = self.run_of(at, direction) else { return };
        run.sent_ms = now;
        let action = run.action.clone();
        if let Some(id) = self.id_of(at, direction) {
            self.effects.push(Effect::Do { id, action });
        }
    }

    fn ask_again_for_all(&mut self) {
        for at in 0..self.job.nodes.len() {
            let Some(direction) = self.direction_of(at) else { continue };
            #[cfg(feature = "deliberate-bugs")]
            match self.registry.bug() {
                Some(crate::Bug::SilentAfterCrash) => continue,
                Some(crate::Bug::NewIdAfterCrash) => {
                    if let Some(run) = self.run_of(at, direction) {
                        run.attempt += 1;
                    }
                }
                _ => {}
            }
            self.send(at, direction);
        }
    }

    /// Which way an effect of a step is outstanding.
    fn direction_of(&self, at: usize) -> Option<Direction> {
        let node = &self.job.nodes[at];
        let waits_for_answer = |run: &Option<Run>| run.as_ref().is_some_and(|r| r.retry_at_ms.is_none());
        match node.state {
            State::Running if waits_for_answer(&node.doing) => Some(Direction::Do),
            State::Undoing if waits_for_answer(&node.undoing) => Some(Direction::Undo),
            _ => None,
        }
    }

    /// Place of the step of which exactly this effect is outstanding.
    fn outstanding(&self, id: EffectId) -> Option<usize> {
        let at = usize::from(id.step);
        (at < self.job.nodes.len()).then_some(())?;
        let direction = self.direction_of(at)?;
        (self.id_of(at, direction) == Some(id)).then_some(at)
    }

    fn id_of(&self, at: usize, direction: Direction) -> Option<EffectId> {
        let node = &self.job.nodes[at];
        let run = match direction {
            Direction::Do => node.doing.as_ref(),
            Direction::Undo => node.undoing.as_ref(),
        };
        let step = u16::try_from(at).ok()?;
        Some(EffectId { job: self.job.id, step, direction, attempt: run?.attempt })
    }

    fn run_of(&mut self, at: usize, direction: Direction) -> &mut Option<Run> {
        match direction {
            Direction::Do => &mut self.job.nodes[at].doing,
            Direction::Undo => &mut self.job.nodes[at].undoing,
        }
    }

    fn steps(&self) -> impl DoubleEndedIterator<Item = (usize, &JobNode)> {
        self.job.nodes.iter().enumerate().filter(|(_, node)| node.spec().is_some())
    }

    fn cancel(&mut self, by: &str) -> Result<(), JobError> {
        if self.job.has_ended() {
            return Err(JobError::HasEnded);
        }
        if self.job.phase == Phase::Backward || self.is_halted() {
            return Ok(());
        }
        for (_, node) in self.steps() {
            let began = !matches!(node.state, State::Waiting | State::Skipped);
            if let (true, Some(Cancel::Never { why })) = (began, node.spec().map(|spec| &spec.cancel)) {
                return Err(JobError::NoCancel { step: node.name.clone(), why: why.clone() });
            }
        }
        self.job.cancel = Some(CancelAsked { at_ms: self.now, by: by.to_owned() });
        for at in 0..self.job.nodes.len() {
            self.stop_for_cancel(at, by);
        }
        Ok(())
    }

    fn stop_for_cancel(&mut self, at: usize, by: &str) {
        let node = &self.job.nodes[at];
        let Some(spec) = node.spec() else { return };
        let (now, effect) = (spec.cancel == Cancel::Now, spec.work == Work::Effect);
        match node.state {
            // An effect goes on until its outcome is known; it is only asked to be quick.
            State::Running if now && effect => {
                let id = self.id_of(at, Direction::Do);
                self.effects.extend(id.map(|id| Effect::Stop { id }));
            }
            State::Running if !effect => self.fail(at, cancelled(by)),
            State::Retrying => self.fail(at, cancelled(by)),
            _ => {}
        }
    }

    fn answer(&mut self, step: &str, by: &str, done: bool, note: &str) -> Result<(), JobError> {
        if self.job.has_ended() {
            return Err(JobError::HasEnded);
        }
        let waits = |node: &JobNode| {
            let person = node.spec().is_some_and(|spec| matches!(spec.work, Work::Person { .. }));
            node.name == step && person && node.state == State::Running
        };
        let found = self.job.nodes.iter().position(waits);
        let at = found.ok_or_else(|| JobError::NotWaiting { step: step.to_owned() })?;
        if done {
            self.finish(at, State::Done);
            self.job.nodes[at].result = Some(serde_json::json!({ "by": by, "note": note }));
        } else {
            let what = format!("{by} says that it was not done: {note}");
            self.fail(
                at,
                Cause { what, advice: "settle what stands against it, and begin again".to_owned() },
            );
        }
        Ok(())
    }

    fn finish(&mut self, at: usize, state: State) {
        let node = &mut self.job.nodes[at];
        node.state = state;
        node.ended_ms = Some(self.now);
    }

    fn fail(&mut self, at: usize, cause: Cause) {
        self.job.nodes[at].cause = Some(cause);
        self.finish(at, State::Failed);
    }
}

fn cancelled(by: &str) -> Cause {
    Cause {
        what: format!("the job was cancelled by {by}"),
        advice: "begin again when it is wanted".to_owned(),
    }
}
