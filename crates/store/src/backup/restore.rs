//! Reads a backup into a store: first all of it is checked, then all of it is written in one
//! transaction, and the store is marked. Killed at any instant, the store is as before or
//! restored.

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    BackupInfo, Decoder,
    format::{Damage, FORMAT, Record},
};
use crate::{
    StoreError, apply, fault,
    head::{self, unsigned},
    hold,
    link::{Link, Value},
    load,
    location::Location,
    options::Options,
    record::{Event, Learn, LearnReason, Row, Sample, Version},
    schema::{self, SCHEMA},
    session::{self, Session},
};

/// Whether a store that is not empty is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is refused.
    No,
    /// It is; a SQLite file that is damaged is moved aside.
    Overwrite,
}

/// Samples collected for one statement.
const SAMPLES_AT_ONCE: usize = 128;

/// Reads a whole backup and says what is in it; nothing is changed.
///
/// # Errors
/// [`StoreError::BackupDamaged`], [`StoreError::SchemaNewer`], [`StoreError::File`].
pub async fn verify(path: &Path) -> Result<BackupInfo, StoreError> {
    let owned = path.to_owned();
    let read = move || {
        let mut decoder = open(&owned)?;
        while decoder.next().map_err(|damage| damaged(&owned, damage))?.is_some() {}
        Ok(decoder.info().clone())
    };
    let info: BackupInfo = match tokio::task::spawn_blocking(read).await {
        Ok(read) => read?,
        Err(error) => return Err(unreadable(path, io::Error::other(error))),
    };
    schema::refuse_newer(info.schema, &path.display().to_string())?;
    Ok(info)
}

/// Reads a backup into a store that nobody has open. The store is marked: whoever opens it
/// next sees [`Loaded::learn`](crate::Loaded::learn), until it says that it has learned.
///
/// # Errors
/// Those of [`verify`] and of opening a store, and [`StoreError::NotEmpty`]; the store is as
/// before then.
pub async fn restore(
    location: &Location,
    options: &Options,
    path: &Path,
    force: Force,
) -> Result<BackupInfo, StoreError> {
    let info = verify(path).await?;
    let mut session = match session::open(location, options).await {
        Ok((session, _)) => session,
        Err(StoreError::Corrupt { .. } | StoreError::NotAStore { .. }) if force == Force::Overwrite => {
            set_aside(location, options).await?;
            session::open(location, options).await?.0
        }
        Err(error) => return Err(error),
    };
    let restored = write(&mut session, location, path, force, &info).await;
    session.close().await;
    restored.map(|()| info)
}

async fn write(
    session: &mut Session,
    location: &Location,
    path: &Path,
    force: Force,
    info: &BackupInfo,
) -> Result<(), StoreError> {
    let failed = |error| fault::opening(location, "restore", error);
    let link = &mut session.link;
    let head = head::read(link).await.map_err(failed)?;
    let (rows,): (i64,) = link.one("SELECT count(*) FROM store_rows", &[]).await.map_err(failed)?;
    if force == Force::No && (rows > 0 || head.newest > Version(0)) {
        let location = location.to_string();
        return Err(StoreError::NotEmpty { location, rows: unsigned(rows), newest: head.newest });
    }
    link.begin().await.map_err(failed)?;
    link.clear().await.map_err(failed)?;
    let found = copy(link, location, path).await?;
    if found != *info {
        let why = "it changed while it was read".to_owned();
        return Err(StoreError::BackupDamaged { path: path.to_owned(), at: 0, why });
    }
    // Numbers that were given once are never given again, neither here nor there.
    let newest = Version(head.newest.max(info.version).0 + 1);
    link.execute("UPDATE store_head SET sequence = $1", &[newest.0.into()]).await.map_err(failed)?;
    let learn = Learn { reason: LearnReason::Restored, term: info.label.term, as_of_ms: info.label.at_ms };
    head::mark(link, Some(learn)).await.map_err(failed)?;
    link.commit().await.map_err(failed)
}

/// Writes every record; the backup's end is checked again before anything is committed.
async fn copy(link: &mut Link, location: &Location, path: &Path) -> Result<BackupInfo, StoreError> {
    let failed = |error| fault::opening(location, "restore", error);
    let mut decoder = open(path)?;
    let mut samples: Vec<Sample> = Vec::new();
    loop {
        // A page of a file is read at once; blocking here holds up nobody else.
        let record = decoder.next().map_err(|damage| damaged(path, damage))?;
        match &record {
            Some(Record::Row(row)) => insert_row(link, row).await.map_err(failed)?,
            Some(Record::Event(event)) => insert_event(link, event).await.map_err(failed)?,
            Some(Record::Sample(sample)) => samples.push(sample.clone()),
            None => {}
        }
        if samples.len() >= SAMPLES_AT_ONCE || record.is_none() {
            apply::write_samples(link, &samples).await.map_err(failed)?;
            samples.clear();
        }
        if record.is_none() {
            return Ok(decoder.info().clone());
        }
    }
}

async fn insert_row(link: &mut Link, Row { id, version, body }: &Row) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO store_rows (kind, key, version, body, sum) VALUES ($1, $2, $3, $4, $5)";
    let sum = Value::Int(load::sum_of(id, *version, body));
    let values =
        [id.kind.as_str().into(), id.key.as_str().into(), version.0.into(), body.as_ref().into(), sum];
    link.execute(sql, &values).await.map(drop)
}

async fn insert_event(link: &mut Link, event: &Event) -> Result<(), sqlx::Error> {
    let new = crate::changes::NewEvent {
        topic: event.topic.clone(),
        subject: event.subject.clone(),
        at_ms: event.at_ms,
        body: event.body.clone(),
    };
    apply::insert_event(link, event.id.version, event.id.ordinal, &new).await
}

/// Moves a SQLite file that cannot be read out of the way, with what belongs to it.
async fn set_aside(location: &Location, options: &Options) -> Result<(), StoreError> {
    let Location::Sqlite(path) = location else {
        let why = "drop the database, create it anew, then restore into it".to_owned();
        return Err(StoreError::Unfit { location: location.to_string(), why });
    };
    let hold = hold::take(location, options, "a restore").await?;
    let suffix = format!(".damaged-{}", options.clock.wall_ms());
    for part in ["", "-wal", "-shm"] {
        let from = with_suffix(path, part);
        let to = with_suffix(&from, &suffix);
        match std::fs::rename(&from, &to) {
            Ok(()) => tracing::warn!(from = %from.display(), to = %to.display(), "moved aside"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                let advice = "move it away yourself";
                return Err(StoreError::File {
                    what: "move aside",
                    path: from,
                    advice,
                    source: Arc::new(source),
                });
            }
        }
    }
    hold.release().await;
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn open(path: &Path) -> Result<Decoder<BufReader<File>>, StoreError> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    Decoder::new(BufReader::new(file)).map_err(|damage| damaged(path, damage))
}

fn damaged(path: &Path, damage: Damage) -> StoreError {
    if let Some(found) = damage.newer {
        let location = format!("the format of {}", path.display());
        return StoreError::SchemaNewer { location, found, known: u64::from(FORMAT).max(SCHEMA) };
    }
    StoreError::BackupDamaged { path: path.to_owned(), at: damage.at, why: damage.why }
}

fn unreadable(path: &Path, source: io::Error) -> StoreError {
    let advice = "give the path of a backup that this user may read";
    StoreError::File { what: "read", path: path.to_owned(), advice, source: Arc::new(source) }
}
