//! What an order came to, lists a page at a time, and what is said instead.

use farshore_types::JobId;
use farshore_vault::Finding;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What an order came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ordered {
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
    /// A new token of the API. It is told once and kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Another name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// The name.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
}

/// Some of a list, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// They; with filters there may be fewer than asked for and still more to come.
    pub items: Vec<T>,
    /// The cursor of the next page; none: this is the last one.
    #[serde(default)]
    pub next: Option<String>,
}

/// Why something was not done (RFC 9457). Nothing was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemView {
    /// `urn:farshore:problem:` and the code.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// HTTP's status.
    pub status: u16,
    /// What and where.
    pub detail: String,
    /// A short fixed word for programs.
    pub code: String,
    /// What to do.
    pub advice: String,
    /// Everything that was found, where there is more than one thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}
