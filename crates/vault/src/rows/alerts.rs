//! Alerts, and notices of them that wait to be sent.

use farshore_health::{Level, Reason, Subject};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An alert that people were or are to be told of. It stays for a while when it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRow {
    /// Its id.
    pub id: Uuid,
    /// About what.
    pub subject: Subject,
    /// The name of that, as it was then.
    pub name: String,
    /// What is wrong, as it was told last.
    pub reason: Reason,
    /// How bad it was at its worst.
    #[serde(default)]
    pub worst: Level,
    /// Since when it is wrong, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When it was raised, in milliseconds since the Unix epoch.
    pub raised_ms: u64,
    /// When it was over, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub resolved_ms: Option<u64>,
    /// That somebody has taken note of it.
    #[serde(default)]
    pub acknowledged: Option<Acknowledged>,
}

/// That somebody has taken note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who, as far as is known.
    pub by: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl AlertRow {
    /// Whether it is not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.resolved_ms.is_none()
    }
}

/// What a notice says of its alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// It was raised.
    Raised,
    /// It is worse than it was told.
    Worsened,
    /// It is over.
    Resolved,
}

/// A notice that waits for being sent; each is sent at least once by each channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeRow {
    /// Its place in the order of notices: older ones are sent first.
    pub number: u64,
    /// Its id: a receiver knows by it what it has had already.
    pub id: Uuid,
    /// What happened.
    pub event: Event,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The alert as it was then.
    pub alert: AlertRow,
    /// Names of the channels that have not sent it yet.
    pub pending: Vec<String>,
}

impl NoticeRow {
    /// How bad it is; of what is over, how bad it was: who was told of it is told the end.
    #[must_use]
    pub fn level(&self) -> Level {
        match self.event {
            Event::Resolved => self.alert.worst.max(self.alert.reason.level),
            Event::Raised | Event::Worsened => self.alert.reason.level,
        }
    }
}
