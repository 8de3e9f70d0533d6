//! Events: small words of what has changed. Whoever hears one asks for what it wants to know.

use farshore_health::Level;
use farshore_protection::State as LifeState;
use farshore_types::{HostId, JobId, MachineId, SiteId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{JobState, ProtectionState};

/// Something has changed. The stream's `event` is its `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum EventView {
    /// What was missed is not known, or the stream begins: read anew what you need, then
    /// follow.
    Reset {
        /// Why.
        why: String,
    },
    /// A protection does something else, or is as well as it was not before.
    Protection {
        /// The machine.
        machine: MachineId,
        /// Its name.
        name: String,
        /// What it does.
        state: ProtectionState,
        /// How well it is.
        health: Level,
        /// Where it is in its life.
        life: LifeState,
    },
    /// A protection has ended.
    ProtectionEnded {
        /// The machine.
        machine: MachineId,
    },
    /// A job began, came to another step or a whole percent further, or ended.
    Job {
        /// Its id.
        id: JobId,
        /// What it does.
        title: String,
        /// Where it stands.
        state: JobState,
        /// The first of its steps that is under way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepNow>,
        /// Thousandths of it that are done.
        permille: u64,
    },
    /// An alert was raised, became worse or better, was taken note of, or is over.
    Alert {
        /// Its id.
        id: Uuid,
        /// What became of it.
        change: AlertChange,
        /// About what: `protection`, `host` or `site`.
        of: String,
        /// The name of that.
        name: String,
        /// How bad it is.
        level: Level,
        /// The reason's code.
        code: String,
        /// What and where.
        what: String,
    },
    /// A host's agent is heard of again, or not any more.
    Host {
        /// The host.
        id: HostId,
        /// Its name.
        name: String,
        /// Which of them.
        contact: Contact,
    },
    /// A site's server is heard of again, or not any more.
    Site {
        /// The site.
        id: SiteId,
        /// Its name.
        name: String,
        /// Which of them.
        contact: Contact,
    },
}

/// A step of a job, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepNow {
    /// What it does.
    pub title: String,
    /// As in a StepView.
    pub state: String,
    /// Thousandths that are done, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permille: Option<u64>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertChange {
    /// It is new.
    Raised,
    /// It is as bad as it was not before.
    Changed,
    /// Somebody looks after it.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// Whether somebody is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Contact {
    /// It is.
    Seen,
    /// It is not, for two minutes.
    Lost,
}

impl AlertChange {
    /// It in a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            AlertChange::Raised => "raised",
            AlertChange::Changed => "changed",
            AlertChange::Acknowledged => "acknowledged",
            AlertChange::Resolved => "resolved",
        }
    }
}

impl EventView {
    /// The event's name in the stream.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            EventView::Reset { .. } => "reset",
            EventView::Protection { .. } => "protection",
            EventView::ProtectionEnded { .. } => "protection-ended",
            EventView::Job { .. } => "job",
            EventView::Alert { .. } => "alert",
            EventView::Host { .. } => "host",
            EventView::Site { .. } => "site",
        }
    }
}
