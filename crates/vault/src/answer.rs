//! What a command came to.

use farshore_types::JobId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Finding;

/// What a command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was made, where something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Whether anything is different now; not where it was so already.
    pub changed: bool,
    /// What people should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
    /// The jobs that see to the rest of it; also those that did so already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobId>,
    /// A new token. It is told once and kept nowhere.
    #[serde(skip)]
    pub secret: Option<String>,
}

impl Answer {
    pub(crate) fn made(id: Uuid) -> Answer {
        Answer { id: Some(id), changed: true, ..Answer::default() }
    }

    pub(crate) fn changed(changed: bool) -> Answer {
        Answer { changed, ..Answer::default() }
    }

    pub(crate) fn with_jobs(self, jobs: impl IntoIterator<Item = JobId>) -> Answer {
        Answer { jobs: jobs.into_iter().collect(), ..self }
    }
}
