//! A job as it is kept: whole, with all that is needed to go on after a crash, and with all
//! that people want to see of it. This module must never decide what comes next.

use farshore_types::JobId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{JobError, Node, Order, Progress, StepSpec, definition::Definition};

/// Version of a kept job. A job of a newer one is refused, never guessed at.
pub const FORMAT: u32 = 1;

/// Most steps and groups of a job.
pub const STEPS_MAX: usize = 4000;

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// [`FORMAT`] of when it was last stored.
    pub format: u32,
    /// Its id.
    pub id: JobId,
    /// Its kind: the name of a [`Definition`].
    pub kind: String,
    /// What it does, for people.
    pub title: String,
    /// What it was made with.
    pub input: Value,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Its steps and groups, each before what is in it.
    pub nodes: Vec<JobNode>,
    /// Which way it goes.
    pub phase: Phase,
    /// Whether somebody wants it cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelAsked>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// Which way a job goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Towards its end.
    Forward,
    /// What was done is being undone.
    Backward,
    /// It has ended.
    Ended,
}

/// That a job is to be cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelAsked {
    /// When.
    pub at_ms: u64,
    /// By whom.
    pub by: String,
}

/// A step or a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobNode {
    /// Unique within the job.
    pub name: String,
    /// For people.
    pub title: String,
    /// The group that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u16>,
    /// Step or group.
    pub shape: Shape,
    /// Where it stands; of a group: what its steps make of it.
    pub state: State,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// How far it is, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The asking for what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<Run>,
    /// The asking for what takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoing: Option<Run>,
}

/// Step or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "shape")]
pub enum Shape {
    /// A group.
    Group {
        /// Which of its parts run when.
        order: Order,
    },
    /// A step.
    Step(StepSpec),
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has not begun.
    Waiting,
    /// It runs.
    Running,
    /// It failed, and is tried again later.
    Retrying,
    /// It is done.
    Done,
    /// It failed; nothing was changed by it.
    Failed,
    /// Whether it was done cannot be known.
    Lost,
    /// It never began.
    Skipped,
    /// It is being taken back.
    Undoing,
    /// It was taken back.
    Undone,
    /// It was done, and what it did may stay or could not be taken back; the end says which.
    Left,
}

/// The asking for an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// What is asked for; the same whenever it is asked for again.
    pub action: Value,
    /// When the first attempt was asked for.
    pub since_ms: u64,
    /// When this one was last asked for.
    pub sent_ms: u64,
    /// When the next attempt begins; none while this one is outstanding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<u64>,
}

/// Something that went wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What and where.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at_ms: u64,
    /// How.
    pub ending: Ending,
    /// Why, where it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What was done and was not taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Everything was done.
    Succeeded,
    /// It went to its end; some steps failed whose failure does not stop it.
    Partly,
    /// It failed, and was undone but for what is left.
    Failed,
    /// It was cancelled, and undone but for what is left.
    Cancelled,
}

/// What a job that did not succeed leaves behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Which step did it.
    pub step: String,
    /// Why it was not taken back.
    pub why: String,
    /// Whether that is as planned; else somebody has to look at it.
    pub safe: bool,
}

impl Job {
    /// A job that has not begun.
    pub(crate) fn new(
        definition: &dyn Definition,
        id: JobId,
        input: Value,
        now_ms: u64,
    ) -> Result<Job, JobError> {
        let mut nodes = Vec::new();
        flatten(definition.plan(&input)?, None, &mut nodes)?;
        check(&nodes)?;
        Ok(Job {
            format: FORMAT,
            id,
            kind: definition.kind().to_owned(),
            title: definition.title(&input),
            input,
            created_ms: now_ms,
            nodes,
            phase: Phase::Forward,
            cancel: None,
            end: None,
        })
    }

    /// Reads a job as it was kept.
    ///
    /// # Errors
    /// [`JobError::Newer`], [`JobError::Unreadable`].
    pub fn parse(text: &str) -> Result<Job, JobError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let unreadable = |e: serde_json::Error| JobError::Unreadable { why: e.to_string() };
        let head: Head = serde_json::from_str(text).map_err(unreadable)?;
        if head.format > FORMAT {
            return Err(JobError::Newer { format: head.format });
        }
        serde_json::from_str(text).map_err(unreadable)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The node of a name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&JobNode> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

impl JobNode {
    /// What there is to know about it, if it is a step.
    #[must_use]
    pub fn spec(&self) -> Option<&StepSpec> {
        match &self.shape {
            Shape::Step(spec) => Some(spec),
            Shape::Group { .. } => None,
        }
    }
}

fn flatten(nodes: Vec<Node>, parent: Option<u16>, out: &mut Vec<JobNode>) -> Result<(), JobError> {
    for node in nodes {
        let at = u16::try_from(out.len()).ok().filter(|at| usize::from(*at) < STEPS_MAX);
        let at = at.ok_or(JobError::TooManySteps)?;
        let (name, title, shape, inside) = match node {
            Node::Group { name, title, order, nodes } => (name, title, Shape::Group { order }, nodes),
            Node::Step { name, title, spec } => (name, title, Shape::Step(spec), Vec::new()),
        };
        out.push(JobNode {
            name,
            title,
            parent,
            shape,
            state: State::Waiting,
            started_ms: None,
            ended_ms: None,
            progress: None,
            result: None,
            cause: None,
            doing: None,
            undoing: None,
        });
        flatten(inside, Some(at), out)?;
    }
    Ok(())
}

/// What a definition must keep to.
fn check(nodes: &[JobNode]) -> Result<(), JobError> {
    let wrong = |name: &str, why: &str| JobError::Definition { step: name.to_owned(), why: why.to_owned() };
    for (at, node) in nodes.iter().enumerate() {
        if nodes[..at].iter().any(|other| other.name == node.name) {
            return Err(wrong(&node.name, "another step has its name"));
        }
        let Some(spec) = node.spec() else { continue };
        if spec.retry.attempts == 0 {
            return Err(wrong(&node.name, "it is never tried"));
        }
        if spec.work == crate::Work::Effect && spec.deadline_ms.is_none() {
            return Err(wrong(&node.name, "it has no deadline, so the job might never end"));
        }
    }
    Ok(())
}
