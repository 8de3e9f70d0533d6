//! SQLite's own part of a connection: the file, and what makes a commit durable.

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{CONNECT_MAX, Link, Purpose, late};
use crate::{StoreError, bug::Bug, fault, location::Location, options::Options};

/// See [`Link::catalogue`]: a file with tables of another program is not ours to fill.
pub(super) const CATALOGUE: &str = "SELECT \
    (SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'store_head'), \
    (SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%')";

/// A backup may read while the writer's checkpoint wants the file.
const BUSY_MAX: Duration = Duration::from_secs(5);

pub(super) async fn open(
    location: &Location,
    path: &Path,
    purpose: Purpose,
    options: &Options,
) -> Result<Link, StoreError> {
    // One that this user may not look for is not called absent.
    if matches!(path.try_exists(), Ok(false)) {
        return Err(StoreError::Absent { location: location.to_string() });
    }
    let mut wanted = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_MAX)
        .journal_mode(SqliteJournalMode::Wal)
        // With the write-ahead log, FULL syncs it at each commit; NORMAL would not.
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    if purpose == Purpose::Read {
        wanted = wanted.pragma("query_only", "ON");
    }
    if options.is(Bug::SmallDisk) {
        wanted = wanted.pragma("max_page_count", "64");
    }
    let connected = tokio::time::timeout(CONNECT_MAX, wanted.connect()).await;
    let connected = connected.unwrap_or_else(|_| Err(late(CONNECT_MAX)));
    let link = connected.map_err(|error| fault::opening(location, "open the file", error))?;
    Ok(Link::Sqlite(Box::new(link)))
}

/// Makes the file if it is not there: for its owner alone, and durably named, so that a
/// commit in it cannot vanish with its name.
pub(crate) fn make_file(path: &Path) -> Result<(), StoreError> {
    let fault = |source: io::Error| StoreError::File {
        what: "create",
        path: path.to_owned(),
        advice: "its folder must exist, and the vault's user must be allowed to write there",
        source: Arc::new(source),
    };
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(file) => file.sync_all().map_err(fault)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(fault(error)),
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::File::open(folder.unwrap_or(Path::new("."))).map_err(fault)?;
    folder.sync_all().map_err(fault)
}

/// Writes the whole write-ahead log into the database file. After a failed sync the log may
/// hold a commit that only the page cache knows; this makes it durable from what was read.
pub(crate) async fn fold_log(link: &mut Link) -> Result<(), sqlx::Error> {
    if matches!(link, Link::Postgres(_)) {
        return Ok(());
    }
    let (busy, _, _): (i64, i64, i64) = link.one("PRAGMA wal_checkpoint(TRUNCATE)", &[]).await?;
    if busy == 0 {
        return Ok(());
    }
    let text = "somebody reads the database for too long";
    Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::ResourceBusy, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no kill of a process can show: a commit is on the disk before it is answered.
    #[tokio::test]
    async fn a_commit_syncs_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        make_file(&path).unwrap();
        let location = Location::Sqlite(path);
        let mut link = Link::open(&location, Purpose::Write, &Options::default()).await.unwrap();
        let (mode,): (String,) = link.one("PRAGMA journal_mode", &[]).await.unwrap();
        let (synchronous,): (i64,) = link.one("PRAGMA synchronous", &[]).await.unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }
}
