//! What a store keeps, as values: rows, events, samples. What their bodies mean is never
//! known here.

use std::fmt;

use bytes::Bytes;

/// A number of the store's own counting: each transaction gets the next one, and everything
/// that it writes carries it. It is never given twice, not even to a row that was deleted
/// and made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// What it is, e.g. "policy"; 1 to [`KIND_MAX`](crate::KIND_MAX) bytes.
    pub kind: String,
    /// Which one; 1 to [`KEY_MAX`](crate::KEY_MAX) bytes.
    pub key: String,
}

impl RowId {
    /// The row `key` of `kind`.
    pub fn new(kind: impl Into<String>, key: impl Into<String>) -> RowId {
        RowId { kind: kind.into(), key: key.into() }
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.kind, self.key)
    }
}

/// One row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub id: RowId,
    /// The transaction that wrote it.
    pub version: Version,
    /// What the caller put, byte for byte.
    pub body: Bytes,
}

/// Where an event stands among all: by transaction, then in the transaction's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The transaction.
    pub version: Version,
    /// Its place in it, from 0.
    pub ordinal: u32,
}

/// Something that happened: written once with its transaction, never changed, gone when it
/// is older than its topic is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it stands.
    pub id: EventId,
    /// What kind of event, e.g. "audit"; decides how long it is kept.
    pub topic: String,
    /// What it is about; may be empty.
    pub subject: String,
    /// Milliseconds since the Unix epoch, as the caller said.
    pub at_ms: u64,
    /// What the caller wrote.
    pub body: Bytes,
}

/// One figure of a series, written behind: a crash may cost the newest ones. A later one
/// with the same series, subject and instant replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which series, e.g. "cycles"; decides how long it is kept.
    pub series: String,
    /// Of what.
    pub subject: String,
    /// Milliseconds since the Unix epoch, as the caller said.
    pub at_ms: u64,
    /// What the caller wrote.
    pub body: Bytes,
}

/// Why a vault has to learn from its agents before it commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnReason {
    /// The store was restored from a backup.
    Restored,
    /// The database server is another one than before, e.g. a standby that was promoted.
    DatabaseFailedOver,
}

/// The mark that a store carries until [`Changes::learned`](crate::Changes::learned).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learn {
    /// Why.
    pub reason: LearnReason,
    /// The term of the backup, as its maker said; 0 where none is known.
    pub term: u64,
    /// The instant of what was restored, in milliseconds since the Unix epoch; 0 where none
    /// is known.
    pub as_of_ms: u64,
}

/// Everything that is read when a store is opened.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Every row, by kind and key.
    pub rows: Vec<Row>,
    /// The newest transaction.
    pub version: Version,
    /// How often the store was opened for writing: this process's number.
    pub fence: u64,
    /// Whether the vault has to learn before it commands.
    pub learn: Option<Learn>,
}
