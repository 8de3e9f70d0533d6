//! A kind of job with everything in it, and small helpers to play one.

use farshore_types::JobId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Cancel, Definition, Effect, EffectId, Event, Job, JobError, Known, Node, OnFailure, Order, Outcome,
    Registry, Retry, StepSpec, Undo,
};

pub(super) const DEADLINE_MS: u64 = 600_000;

/// Enables machines, more or less.
pub(super) struct Sample;

impl Definition for Sample {
    fn kind(&self) -> &'static str {
        "sample"
    }

    fn title(&self, input: &Value) -> String {
        format!("Sample of {}", input["machines"])
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let count = input["machines"].as_u64().filter(|n| (1..=100).contains(n));
        let count = count.ok_or(JobError::Input { why: "machines must be 1 to 100".to_owned() })?;
        let safe = Undo::SafeToLeave { why: "a look changes nothing".to_owned() };
        let check = StepSpec { cancel: Cancel::Now, ..StepSpec::effect(DEADLINE_MS, safe) };
        let place = StepSpec::effect(DEADLINE_MS, Undo::Effect);
        let tell = StepSpec { on_failure: OnFailure::Continue, ..place.clone() };
        let each = (0..count).map(|n| Node::step(&format!("place-{n}"), "Place", place.clone()));
        Ok(vec![
            Node::step("check", "Check", check),
            Node::group("places", "Places", Order::Parallel, each.collect()),
            Node::group(
                "rest",
                "The rest",
                Order::Sequence,
                vec![
                    Node::step("ask", "Somebody looks", StepSpec::person("look at it")),
                    Node::step("settle", "Settle", StepSpec::wait(5_000)),
                    Node::step("tell", "Tell", tell),
                    Node::step("last", "Last", place),
                ],
            ),
        ])
    }

    fn action(&self, step: &str, known: &Known<'_>) -> Value {
        json!({ "do": step, "seen": known.result("check"), "for": known.input()["machines"] })
    }

    fn undo(&self, step: &str, _: &Known<'_>) -> Value {
        json!({ "undo": step })
    }
}

/// The same, with a step that ends the time to cancel.
pub(super) struct PointOfNoReturn;

impl Definition for PointOfNoReturn {
    fn kind(&self) -> &'static str {
        "no-return"
    }

    fn title(&self, _: &Value) -> String {
        "No return".to_owned()
    }

    fn plan(&self, _: &Value) -> Result<Vec<Node>, JobError> {
        let spec = StepSpec::effect(DEADLINE_MS, Undo::Effect);
        let spec = StepSpec { retry: Retry { attempts: 2, ..Retry::default() }, ..spec };
        let started = Cancel::Never { why: "the machine runs on the other side".to_owned() };
        Ok(vec![
            Node::step("first", "First", spec.clone()),
            Node::step("start", "Start", StepSpec { cancel: started, ..spec.clone() }),
            Node::step("after", "After", spec),
        ])
    }

    fn action(&self, step: &str, _: &Known<'_>) -> Value {
        json!(step)
    }
}

pub(super) fn registry() -> Registry {
    Registry::default().with(Sample).with(PointOfNoReturn)
}

/// A job that is being played.
pub(super) struct Play {
    pub(super) registry: Registry,
    pub(super) job: Job,
    pub(super) now: u64,
    pub(super) effects: Vec<Effect>,
}

impl Play {
    pub(super) fn of(kind: &str) -> Play {
        let registry = registry();
        let id = JobId(Uuid::from_u128(1));
        let job = registry.make(kind, id, json!({ "machines": 2 }), 100).unwrap();
        let mut play = Play { registry, job, now: 100, effects: Vec::new() };
        play.event(&Event::Tick);
        play
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.try_event(event).unwrap();
    }

    pub(super) fn try_event(&mut self, event: &Event) -> Result<(), JobError> {
        (self.job, self.effects) = self.registry.advance(&self.job, event, self.now)?;
        Ok(())
    }

    pub(super) fn later(&mut self, ms: u64) {
        self.now += ms;
        self.event(&Event::Tick);
    }

    /// Names of the steps that were asked for just now.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.effects.iter().filter_map(|effect| match effect {
            Effect::Do { id, .. } => Some(self.job.nodes[usize::from(id.step)].name.clone()),
            _ => None,
        });
        asked.collect()
    }

    /// The id by which a step is outstanding.
    pub(super) fn id(&self, step: &str) -> EffectId {
        let at = self.job.nodes.iter().position(|node| node.name == step).unwrap();
        let node = &self.job.nodes[at];
        let (direction, run) = match &node.undoing {
            Some(run) => (crate::Direction::Undo, run),
            None => (crate::Direction::Do, node.doing.as_ref().unwrap()),
        };
        EffectId { job: self.job.id, step: u16::try_from(at).unwrap(), direction, attempt: run.attempt }
    }

    pub(super) fn ends(&mut self, step: &str, outcome: Outcome) {
        let id = self.id(step);
        self.event(&Event::Ended { id, outcome });
    }

    pub(super) fn done(&mut self, step: &str) {
        self.ends(step, Outcome::Done { result: json!({ "of": step }) });
    }

    pub(super) fn fails(&mut self, step: &str, again: bool) {
        let (what, advice) = ("no space".to_owned(), "make room".to_owned());
        self.ends(step, Outcome::Failed { what, advice, again });
    }

    pub(super) fn answer(&mut self, step: &str, done: bool) {
        let (step, by, note) = (step.to_owned(), "ann".to_owned(), "fine".to_owned());
        self.event(&Event::Answer { step, by, done, note });
    }
}
