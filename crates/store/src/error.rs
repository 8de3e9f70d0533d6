//! What can go wrong with a store: what, where, and what to do. The text never repeats the
//! source's, and never shows a password.

use std::{io, path::PathBuf, sync::Arc};

use thiserror::Error;

use crate::{record::RowId, record::Version};

/// Something a store could not do. It can be cloned, because one failing commit is many
/// callers' failure.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    // ---- the caller's own -------------------------------------------------------------
    /// A precondition of the caller's changes did not hold; nothing of them was written.
    #[error("{row} {found}, and the change expected {expected}: read it again and decide anew")]
    Conflict {
        /// The row.
        row: RowId,
        /// "that it is absent" or a version.
        expected: String,
        /// "is absent" or a version.
        found: String,
        /// The version that was found; none: the row is absent.
        version: Option<Version>,
    },
    /// Something that can never be stored.
    #[error("{what} cannot be stored: {why}")]
    Invalid {
        /// A row, event or sample.
        what: String,
        /// The limit that it breaks.
        why: String,
    },

    // ---- for a while ------------------------------------------------------------------
    /// The database cannot be reached; nothing was written. The store goes on trying.
    #[error(
        "{location} cannot be reached for {down_secs} s now; nothing was changed: try again in {retry_secs} s, and look at the database server"
    )]
    Unavailable {
        /// Which database.
        location: String,
        /// Whole seconds since it was lost.
        down_secs: u64,
        /// Whole seconds until the store tries again, at least 1.
        retry_secs: u64,
        /// What was seen first.
        #[source]
        source: Option<Arc<sqlx::Error>>,
    },
    /// No space for the database; nothing was written.
    #[error("no space left for {location}; nothing was changed: free some, then try again")]
    DiskFull {
        /// Which database.
        location: String,
        /// The database's words.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The database failed otherwise; nothing was written.
    #[error("{location} failed to {what}; nothing was changed: see the cause and the database's own log")]
    Failed {
        /// Which database.
        location: String,
        /// Verb and object.
        what: &'static str,
        /// The database's words.
        #[source]
        source: Arc<sqlx::Error>,
    },

    // ---- the end of this store --------------------------------------------------------
    /// Another process took the store over; this one may write nothing any more.
    #[error(
        "{location} was taken over by {by}: this process must stop commanding, and be started again to wait its turn"
    )]
    Superseded {
        /// Which database.
        location: String,
        /// Who holds it now, in that process's own words.
        by: String,
    },
    /// The database no longer has what it acknowledged: it is an older copy.
    #[error(
        "{location} is at change {found}, after change {acknowledged} was acknowledged: it is an older copy or another database; start the vault again, so that it learns before it commands"
    )]
    RolledBack {
        /// Which database.
        location: String,
        /// The newest change that was acknowledged.
        acknowledged: Version,
        /// The newest that the database has.
        found: Version,
    },
    /// The rows are not those that this process wrote: somebody else changed them.
    #[error(
        "{location}: {row} is not what this process wrote last: somebody changed the database by hand; stop that, and start the vault again"
    )]
    Diverged {
        /// Which database.
        location: String,
        /// The row.
        row: RowId,
    },
    /// The connection was lost while committing, and the store ended before it could be
    /// found out whether the change was written.
    #[error("whether the change reached {location} is not known: read it again after the next start")]
    OutcomeUnknown {
        /// Which database.
        location: String,
    },
    /// The store was closed.
    #[error("{location} is closed in this process: nothing was changed")]
    Closed {
        /// Which database.
        location: String,
    },

    // ---- opening ----------------------------------------------------------------------
    /// A connection string that means nothing.
    #[error("'{text}' names no store ({why}): write a path, sqlite:PATH, or postgres://USER@HOST/DATABASE")]
    Location {
        /// Without its password.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// Another process has it open.
    #[error("{location} is in use by {holder}: stop that one, or leave the vault to it")]
    Held {
        /// Which database.
        location: String,
        /// Who, in that process's own words.
        holder: String,
    },
    /// A newer program wrote it.
    #[error(
        "{location} has schema {found}, and this program knows schemas up to {known}: install the newer version that wrote it, or restore a backup of before"
    )]
    SchemaNewer {
        /// Which database or backup.
        location: String,
        /// The schema there.
        found: u64,
        /// The newest that this program knows.
        known: u64,
    },
    /// A migration failed; the database is as before.
    #[error("{location} could not be brought to schema {to}; it is as before: see the cause")]
    Migration {
        /// Which database.
        location: String,
        /// The schema that it should have got.
        to: u64,
        /// The database's words.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A file that is not there.
    #[error(
        "there is no store at {location}: give the right path or configuration, or make a vault with `farshore vault init`"
    )]
    Absent {
        /// Where it was looked for.
        location: String,
    },
    /// A database that is none of ours, or none at all.
    #[error("{location} is no store of Farshore ({why}): give the right path, or move the file away")]
    NotAStore {
        /// Which database.
        location: String,
        /// What was seen.
        why: String,
    },
    /// What was stored cannot be read as it was written.
    #[error(
        "{location} is damaged ({what}): stop the vault, keep a copy, and restore a backup with --force; the vault then learns the rest from its agents"
    )]
    Corrupt {
        /// Which database.
        location: String,
        /// Which part.
        what: String,
        /// The database's words.
        #[source]
        source: Option<Arc<sqlx::Error>>,
    },
    /// The database refuses this user.
    #[error("{location} refuses this user to {what}: {advice}")]
    Permission {
        /// Which database.
        location: String,
        /// Verb and object.
        what: &'static str,
        /// What to grant.
        advice: &'static str,
        /// The database's words.
        #[source]
        source: Option<Arc<sqlx::Error>>,
    },
    /// The database cannot serve a store as it is set up.
    #[error("{location} cannot serve: {why}")]
    Unfit {
        /// Which database.
        location: String,
        /// What has to be changed.
        why: String,
    },
    /// A file beside the database or a backup cannot be used.
    #[error("cannot {what} {path}: {advice}")]
    File {
        /// Verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
        /// The system's reason.
        #[source]
        source: Arc<io::Error>,
    },

    // ---- backups ----------------------------------------------------------------------
    /// A backup would overwrite a file.
    #[error("{path} exists already: name a new file for the backup")]
    BackupExists {
        /// The file.
        path: PathBuf,
    },
    /// A file that is no whole backup.
    #[error(
        "{path} is no whole backup (at byte {at}: {why}): copy it again, or take an older one; nothing was changed"
    )]
    BackupDamaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// A restore would overwrite what is there.
    #[error(
        "{location} is not empty ({rows} rows, newest change {newest}): restore into a new store, or overwrite this one with --force"
    )]
    NotEmpty {
        /// Which database.
        location: String,
        /// How many rows it has.
        rows: u64,
        /// Its newest change.
        newest: Version,
    },
}

impl StoreError {
    /// Whether the same call may succeed later, without anybody changing the call.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            StoreError::Unavailable { .. } | StoreError::DiskFull { .. } | StoreError::Failed { .. }
        )
    }

    /// Whether the store is at its end in this process: it has to be opened again.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            StoreError::Superseded { .. }
                | StoreError::RolledBack { .. }
                | StoreError::Diverged { .. }
                | StoreError::OutcomeUnknown { .. }
                | StoreError::Closed { .. }
        )
    }
}
