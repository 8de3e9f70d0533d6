//! Jobs and their steps. This module must never know where they come from.

use farshore_types::{CloudId, JobId, MachineId, PolicyId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Its kind: `enable`, `disable`, `associate`, `change-policy`, `resync`, `move`, `forget`,
    /// `discard`, or one of a protection's life: `planned-failover` and the like.
    pub kind: String,
    /// What it does.
    pub title: String,
    /// Where it stands.
    pub state: JobState,
    /// The machine it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineId>,
    /// The cloud it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudId>,
    /// The policy it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyId>,
    /// Thousandths of it that are done, each step counted the same.
    pub permille: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseView>,
    /// Whether what it waits for goes on where it is cancelled.
    #[serde(default)]
    pub goes_on: bool,
    /// What gives that up, as `farshore` takes it: `protection abort web1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up_by: Option<String>,
    /// What it did, could not take back, and has to be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// Its groups and steps, each before what is in it.
    pub steps: Vec<StepView>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It goes on.
    Running,
    /// What it did is being taken back.
    Undoing,
    /// Everything was done.
    Succeeded,
    /// It went to its end; some of it was not done.
    Partly,
    /// It failed, and was taken back.
    Failed,
    /// It was cancelled, and taken back.
    Cancelled,
}

impl JobState {
    /// All of them.
    pub const ALL: [JobState; 6] = [
        JobState::Running,
        JobState::Undoing,
        JobState::Succeeded,
        JobState::Partly,
        JobState::Failed,
        JobState::Cancelled,
    ];

    /// Whether it has not ended.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, JobState::Running | JobState::Undoing)
    }

    /// It in a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Undoing => "undoing",
            JobState::Succeeded => "succeeded",
            JobState::Partly => "partly",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }
}

/// What went wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CauseView {
    /// What and where.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// A step, or a group of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Unique within the job.
    pub name: String,
    /// What it does.
    pub title: String,
    /// How many groups it is in.
    pub depth: usize,
    /// Whether it is a group of what follows it at a greater depth.
    #[serde(default)]
    pub group: bool,
    /// `waiting`, `running`, `retrying`, `done`, `failed`, `lost`, `skipped`, `undoing`,
    /// `undone` or `left`.
    pub state: String,
    /// When it began, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Thousandths that are done, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permille: Option<u64>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseView>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
