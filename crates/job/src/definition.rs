//! What kinds of jobs there are: the steps of each, and what each step asks for. A definition
//! is pure: for the same input it always gives the same steps and the same actions. It must
//! never know how far a job is.

use farshore_types::JobId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Job, JobError, State};

/// A kind of job.
pub trait Definition: Send + Sync {
    /// Its name, which is kept with every job of it.
    fn kind(&self) -> &'static str;

    /// What a job with this input does, for people.
    fn title(&self, input: &Value) -> String;

    /// Its steps. They are kept with the job: one that has begun keeps those it began with.
    ///
    /// # Errors
    /// [`JobError::Input`] where the input makes no sense.
    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError>;

    /// What a step asks for. It is kept with the job from the first asking on.
    fn action(&self, step: &str, known: &Known<'_>) -> Value;

    /// What takes a step back, for one with [`Undo::Effect`].
    fn undo(&self, step: &str, known: &Known<'_>) -> Value {
        let _ = (step, known);
        Value::Null
    }
}

/// What is known when a step begins.
pub struct Known<'a> {
    pub(crate) job: &'a Job,
}

impl Known<'_> {
    /// The job.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job.id
    }

    /// What the job was made with.
    #[must_use]
    pub fn input(&self) -> &Value {
        &self.job.input
    }

    /// What an earlier step came to; null where it was not done.
    #[must_use]
    pub fn result(&self, step: &str) -> &Value {
        let node = self.job.nodes.iter().find(|node| node.name == step && node.state == State::Done);
        node.and_then(|node| node.result.as_ref()).unwrap_or(&Value::Null)
    }
}

/// One place in the tree of steps.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Steps that belong together.
    Group {
        /// Unique within the job.
        name: String,
        /// For people.
        title: String,
        /// Which of them run when.
        order: Order,
        /// The steps and groups in it.
        nodes: Vec<Node>,
    },
    /// One step.
    Step {
        /// Unique within the job.
        name: String,
        /// For people.
        title: String,
        /// What there is to know about it.
        spec: StepSpec,
    },
}

impl Node {
    /// A step.
    #[must_use]
    pub fn step(name: &str, title: &str, spec: StepSpec) -> Node {
        Node::Step { name: name.to_owned(), title: title.to_owned(), spec }
    }

    /// A group.
    #[must_use]
    pub fn group(name: &str, title: &str, order: Order, nodes: Vec<Node>) -> Node {
        Node::Group { name: name.to_owned(), title: title.to_owned(), order, nodes }
    }
}

/// Which parts of a group run when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// One after the other.
    Sequence,
    /// All at once.
    Parallel,
}

/// What there is to know about a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// What it does.
    pub work: Work,
    /// What takes it back.
    pub undo: Undo,
    /// Whether the job can be cancelled in it.
    pub cancel: Cancel,
    /// How often it is tried.
    pub retry: Retry,
    /// Milliseconds from its beginning after which it is given up, retries included. For a
    /// person's step none: people take their time.
    pub deadline_ms: Option<u64>,
    /// What its failure means for the job.
    pub on_failure: OnFailure,
}

impl StepSpec {
    /// A step that asks for an effect, and whose failure stops the job.
    #[must_use]
    pub fn effect(deadline_ms: u64, undo: Undo) -> StepSpec {
        StepSpec {
            work: Work::Effect,
            undo,
            cancel: Cancel::After,
            retry: Retry::default(),
            deadline_ms: Some(deadline_ms),
            on_failure: OnFailure::Stop,
        }
    }

    /// A step that waits for a person to say that it was done.
    #[must_use]
    pub fn person(instructions: &str) -> StepSpec {
        StepSpec {
            work: Work::Person { instructions: instructions.to_owned() },
            undo: Undo::SafeToLeave { why: "nothing but a person's word".to_owned() },
            cancel: Cancel::Now,
            retry: Retry::default(),
            deadline_ms: None,
            on_failure: OnFailure::Stop,
        }
    }

    /// A step that lets time pass.
    #[must_use]
    pub fn wait(ms: u64) -> StepSpec {
        let undo = Undo::SafeToLeave { why: "only time passed".to_owned() };
        StepSpec { work: Work::Wait { ms }, deadline_ms: None, ..StepSpec::person("") }.with_undo(undo)
    }

    fn with_undo(self, undo: Undo) -> StepSpec {
        StepSpec { undo, ..self }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "work")]
pub enum Work {
    /// It asks for an effect.
    Effect,
    /// It waits for a person.
    Person {
        /// What that person is to do.
        instructions: String,
    },
    /// It lets time pass.
    Wait {
        /// Milliseconds.
        ms: u64,
    },
}

/// What takes a step back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "undo")]
pub enum Undo {
    /// Another effect; harmless where the step was not done.
    Effect,
    /// Nothing: what was done may stay.
    SafeToLeave {
        /// Why that is safe.
        why: String,
    },
}

/// Whether the job can be cancelled while a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "cancel")]
pub enum Cancel {
    /// Yes: it is asked to stop at once.
    Now,
    /// Yes: when it has ended.
    After,
    /// No, nor after it.
    Never {
        /// Why not.
        why: String,
    },
}

/// How often a step is tried whose failures may heal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Most attempts, at least 1.
    pub attempts: u32,
    /// Milliseconds before the second; doubled for each one after.
    pub first_ms: u64,
    /// Most milliseconds between two.
    pub most_ms: u64,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { attempts: 5, first_ms: 1000, most_ms: 60_000 }
    }
}

impl Retry {
    /// Milliseconds to wait after that many attempts.
    #[must_use]
    pub fn backoff_ms(&self, attempts: u32) -> u64 {
        let doubled = 1u64.checked_shl(attempts.saturating_sub(1)).unwrap_or(u64::MAX);
        self.first_ms.saturating_mul(doubled).min(self.most_ms)
    }
}

/// What the failure of a step means for the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It stops, and what was done is undone.
    Stop,
    /// It goes on, and has succeeded in part.
    Continue,
}
