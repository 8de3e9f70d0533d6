//! Alerts. This module must never know where they come from.

use farshore_health::Level;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlertView {
    /// Its id.
    pub id: Uuid,
    /// About what: `protection`, `host` or `site`.
    pub of: String,
    /// The id of that; a protection's is its machine's.
    pub subject: Uuid,
    /// Its name.
    pub name: String,
    /// How bad it is.
    pub level: Level,
    /// A short fixed word for programs.
    pub code: String,
    /// What and where.
    pub what: String,
    /// What to do.
    pub advice: String,
    /// Since when it is wrong, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When it was raised.
    pub raised_ms: u64,
    /// When it was over; none: it is open.
    pub resolved_ms: Option<u64>,
    /// Who has taken note of it.
    pub acknowledged_by: Option<String>,
    /// When.
    pub acknowledged_ms: Option<u64>,
}

/// Somebody takes note of an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    /// Who; may be left out.
    #[serde(default)]
    #[schema(max_length = 128)]
    pub by: String,
}
