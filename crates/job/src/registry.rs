//! The kinds of jobs that a program has, and the one way in which a job moves on. This module
//! must never carry an effect out.

use std::collections::BTreeMap;

use farshore_types::JobId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{Definition, EffectId, FORMAT, Job, Progress, STEPS_MAX, advance};

/// Milliseconds after which an outstanding effect is asked for again, in case that a message
/// was lost.
pub const RESEND_MS: u64 = 60_000;

/// What can happen to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time passed, or the job is new.
    Tick,
    /// The program has started, and knows of no message that may still be under way.
    Resumed,
    /// An effect ended.
    Ended {
        /// Which.
        id: EffectId,
        /// How.
        outcome: Outcome,
    },
    /// An effect is under way.
    Progress {
        /// Which.
        id: EffectId,
        /// How far it is.
        progress: Progress,
    },
    /// Somebody wants the job cancelled.
    Cancel {
        /// Who.
        by: String,
    },
    /// A person answers a step that waits for one.
    Answer {
        /// The step.
        step: String,
        /// Who.
        by: String,
        /// Whether it was done.
        done: bool,
        /// What there is to say.
        note: String,
    },
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It was done.
    Done {
        /// What it came to.
        result: Value,
    },
    /// It failed, and changed nothing.
    Failed {
        /// What and where.
        what: String,
        /// What to do.
        advice: String,
        /// Whether another attempt may succeed.
        again: bool,
    },
    /// It was not begun in time, and never will be.
    Expired,
    /// Nobody will ever know: who was to do it is gone.
    Lost {
        /// What is known.
        what: String,
    },
}

/// What is to be done once the job is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "effect")]
pub enum Effect {
    /// Do this, unless an effect of this id was done already: then tell its outcome again.
    Do {
        /// By which it is known.
        id: EffectId,
        /// What.
        action: Value,
    },
    /// The effect is not wanted any more: it must not begin from now on, and where it runs
    /// it may end early.
    Stop {
        /// Which.
        id: EffectId,
    },
    /// Its outcome is kept with the job and can be forgotten.
    Forget {
        /// Which.
        id: EffectId,
    },
}

/// What cannot be done with a job. Nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JobError {
    /// No definition of that name.
    #[error("there is no kind of job '{kind}' in this program: it may be of a newer version")]
    UnknownKind {
        /// The kind.
        kind: String,
    },
    /// The input makes no sense.
    #[error("the job cannot be made: {why}")]
    Input {
        /// Why.
        why: String,
    },
    /// A definition breaks a rule.
    #[error("step '{step}' of the job's definition is wrong: {why}")]
    Definition {
        /// Which step.
        step: String,
        /// Why.
        why: String,
    },
    /// Too many steps.
    #[error("the job would have more than {max} steps: take fewer machines at once", max = STEPS_MAX)]
    TooManySteps,
    /// A newer program wrote it.
    #[error("the job is of format {format}, this program knows up to {known}: use the newer program", known = FORMAT)]
    Newer {
        /// Its format.
        format: u32,
    },
    /// It is damaged.
    #[error("the job cannot be read: {why}")]
    Unreadable {
        /// Why.
        why: String,
    },
    /// It cannot be cancelled any more.
    #[error("the job cannot be cancelled since step '{step}' began: {why}")]
    NoCancel {
        /// The step.
        step: String,
        /// Why.
        why: String,
    },
    /// It has ended.
    #[error("the job has ended already")]
    HasEnded,
    /// Nobody is waited for there.
    #[error("step '{step}' does not wait for anybody now")]
    NotWaiting {
        /// The step.
        step: String,
    },
}

/// Faults that the matrix must catch.
#[cfg(feature = "deliberate-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// What is outstanding is asked for by a new id after a crash.
    NewIdAfterCrash,
    /// What is outstanding is not asked for again after a crash, nor later.
    SilentAfterCrash,
    /// A step whose outcome was lost is tried again by another id.
    RetryLost,
    /// A lost step is taken for one that was not done.
    LostIsNotUndone,
    /// An outcome that comes twice is taken twice.
    OutcomeTwice,
}

/// The kinds of jobs that a program has.
#[derive(Default)]
pub struct Registry {
    definitions: BTreeMap<&'static str, Box<dyn Definition>>,
    #[cfg(feature = "deliberate-bugs")]
    bug: Option<Bug>,
}

impl Registry {
    /// Adds a kind; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, definition: impl Definition + 'static) -> Registry {
        self.definitions.insert(definition.kind(), Box::new(definition));
        self
    }

    /// Makes a mistake on purpose.
    #[cfg(feature = "deliberate-bugs")]
    #[must_use]
    pub fn with_bug(mut self, bug: Bug) -> Registry {
        self.bug = Some(bug);
        self
    }

    #[cfg(feature = "deliberate-bugs")]
    pub(crate) fn bug(&self) -> Option<Bug> {
        self.bug
    }

    /// Names of its kinds.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.definitions.keys().copied()
    }

    /// Makes a job. It begins with its first [`Event::Tick`], once it is stored.
    ///
    /// # Errors
    /// [`JobError::UnknownKind`], and what stands against its input.
    pub fn make(&self, kind: &str, id: JobId, input: Value, now_ms: u64) -> Result<Job, JobError> {
        Job::new(self.definition(kind)?, id, input, now_ms)
    }

    /// What becomes of a job, and what is to be done once that is stored. An event that is
    /// not for it changes nothing.
    ///
    /// # Errors
    /// [`JobError`]; the job stays as it is.
    pub fn advance(&self, job: &Job, event: &Event, now_ms: u64) -> Result<(Job, Vec<Effect>), JobError> {
        let definition = self.definition(&job.kind)?;
        advance::Advance::new(self, definition, job, now_ms).run(event)
    }

    fn definition(&self, kind: &str) -> Result<&dyn Definition, JobError> {
        let found = self.definitions.get(kind).map(Box::as_ref);
        found.ok_or_else(|| JobError::UnknownKind { kind: kind.to_owned() })
    }
}
