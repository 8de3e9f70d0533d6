//! Backups: one file with everything of one instant, made while the store is written, and
//! read into any store, whichever database either uses. A restored store is marked, so that
//! the vault learns before it commands.

mod format;
mod make;
mod restore;

pub(crate) use format::Decoder;
pub(crate) use format::sealed;
pub(crate) use make::make;
pub use restore::{Force, restore, verify};

use std::path::Path;

use crate::{StoreError, location::Location, options::Options, record::Version};

/// Writes everything of one instant of a store to a new file, whether or not a process has it
/// open; samples that wait in one are not in it.
///
/// # Errors
/// As [`Store::backup`](crate::Store::backup).
pub async fn backup(
    location: &Location,
    options: &Options,
    path: &Path,
    label: BackupLabel,
) -> Result<BackupInfo, StoreError> {
    make(location, options, path, label).await
}

/// What the vault says about the instant of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupLabel {
    /// The vault's term; 0 where it has none.
    pub term: u64,
    /// The instant, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What a backup says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// The schema of the store that it was made of.
    pub schema: u64,
    /// The vault's term and the instant.
    pub label: BackupLabel,
    /// The newest transaction in it.
    pub version: Version,
    /// The store's name, made up at random with it.
    pub store: String,
    /// How many rows, events and samples it has.
    pub counts: Counts,
}

/// How many records of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows.
    pub rows: u64,
    /// Events.
    pub events: u64,
    /// Samples.
    pub samples: u64,
}
