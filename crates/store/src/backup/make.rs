//! Makes a backup while the store is written: everything of one instant, page by page, so
//! that memory stays bounded, into a file that gets its name only when it is whole.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use tokio::{fs, io::AsyncWriteExt};

use super::{
    BackupInfo, BackupLabel,
    format::{Encoder, Record},
};
use crate::{
    StoreError, fault,
    head::{self, unsigned},
    link::{Link, Purpose, Value},
    load,
    location::Location,
    options::Options,
    record::{Event, EventId, Row, RowId, Sample, Version},
    schema::SCHEMA,
};

/// Records read at once.
const PAGE: u64 = 64;
/// Bytes after which the file is written to.
const WRITE_AT: usize = 1024 * 1024;

/// Writes a backup to a new file.
pub(crate) async fn make(
    location: &Location,
    options: &Options,
    path: &Path,
    label: BackupLabel,
) -> Result<BackupInfo, StoreError> {
    if fs::try_exists(path).await.unwrap_or(false) {
        return Err(StoreError::BackupExists { path: path.to_owned() });
    }
    let mut link = Link::open(location, Purpose::Read, options).await?;
    let partial = partial_name(path);
    let made = write(&mut link, location, &partial, label).await;
    link.close().await;
    let named = match made {
        Ok(info) => name(&partial, path).await.map(|()| info),
        Err(error) => Err(error),
    };
    if named.is_err() {
        fs::remove_file(&partial).await.ok();
    }
    named
}

/// Beside the final file, and of this process alone.
fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    name.push(format!(".partial-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)));
    PathBuf::from(name)
}

async fn write(
    link: &mut Link,
    location: &Location,
    partial: &Path,
    label: BackupLabel,
) -> Result<BackupInfo, StoreError> {
    let failed = |error| fault::opening(location, "read for a backup", error);
    let mut file = fs::OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(partial).await;
    let mut out = Out { file: file.map_err(|error| fault(partial, error))?, partial };
    link.begin_snapshot().await.map_err(failed)?;
    let head = head::read(link).await.map_err(failed)?;
    let mut info = BackupInfo {
        schema: SCHEMA,
        label,
        version: head.newest,
        store: head.id,
        counts: super::Counts::default(),
    };
    let mut encoder = Encoder::new(&info);
    rows(link, location, &mut encoder, &mut out).await?;
    events(link, location, &mut encoder, &mut out).await?;
    samples(link, location, &mut encoder, &mut out).await?;
    link.rollback().await.map_err(failed)?;
    let (rest, counts) = encoder.finish();
    out.write(&rest).await?;
    out.file.sync_all().await.map_err(|error| fault(partial, error))?;
    info.counts = counts;
    Ok(info)
}

struct Out<'a> {
    file: fs::File,
    partial: &'a Path,
}

impl Out<'_> {
    /// Writes when there is enough.
    async fn take(&mut self, pending: &mut Vec<u8>, encoder: &mut Encoder) -> Result<(), StoreError> {
        pending.append(&mut encoder.take());
        if pending.len() >= WRITE_AT {
            self.write(pending).await?;
            pending.clear();
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).await.map_err(|error| fault(self.partial, error))
    }
}

type RowAnswer = (String, String, i64, Vec<u8>, Option<i64>);
type EventAnswer = (i64, i64, String, String, i64, Vec<u8>);
type SampleAnswer = (String, String, i64, Vec<u8>);

async fn rows(
    link: &mut Link,
    location: &Location,
    encoder: &mut Encoder,
    out: &mut Out<'_>,
) -> Result<(), StoreError> {
    let sql = "SELECT kind, key, version, body, sum FROM store_rows \
               WHERE (kind, key) > ($1, $2) ORDER BY kind, key LIMIT $3";
    let mut last = RowId::new("", "");
    let mut pending = Vec::new();
    loop {
        let values = [last.kind.as_str().into(), last.key.as_str().into(), PAGE.into()];
        let page: Vec<RowAnswer> = page(link, location, sql, &values).await?;
        let Some(end) = page.last() else { break };
        last = RowId::new(end.0.clone(), end.1.clone());
        for answer in page {
            // What is damaged must not become a backup that says it is whole.
            let Row { id, version, body } = load::row_of(answer, location)?;
            encoder.push(&Record::Row(Row { id, version, body }));
        }
        out.take(&mut pending, encoder).await?;
    }
    out.write(&pending).await
}

async fn events(
    link: &mut Link,
    location: &Location,
    encoder: &mut Encoder,
    out: &mut Out<'_>,
) -> Result<(), StoreError> {
    let sql = "SELECT version, ordinal, topic, subject, at_ms, body FROM store_events \
               WHERE (version, ordinal) > ($1, $2) ORDER BY version, ordinal LIMIT $3";
    // Nothing has version 0.
    let mut last = (0, 0);
    let mut pending = Vec::new();
    loop {
        let values = [Value::Int(last.0), Value::Int(last.1), PAGE.into()];
        let page: Vec<EventAnswer> = page(link, location, sql, &values).await?;
        let Some(end) = page.last() else { break };
        last = (end.0, end.1);
        for (version, ordinal, topic, subject, at_ms, body) in page {
            let ordinal = u32::try_from(ordinal).unwrap_or_default();
            let id = EventId { version: Version(unsigned(version)), ordinal };
            let event = Event { id, topic, subject, at_ms: unsigned(at_ms), body: Bytes::from(body) };
            encoder.push(&Record::Event(event));
        }
        out.take(&mut pending, encoder).await?;
    }
    out.write(&pending).await
}

async fn samples(
    link: &mut Link,
    location: &Location,
    encoder: &mut Encoder,
    out: &mut Out<'_>,
) -> Result<(), StoreError> {
    let sql = "SELECT series, subject, at_ms, body FROM store_samples \
               WHERE (series, subject, at_ms) > ($1, $2, $3) ORDER BY series, subject, at_ms LIMIT $4";
    let mut last = (String::new(), String::new(), 0);
    let mut pending = Vec::new();
    loop {
        let values = [last.0.as_str().into(), last.1.as_str().into(), Value::Int(last.2), PAGE.into()];
        let page: Vec<SampleAnswer> = page(link, location, sql, &values).await?;
        let Some(end) = page.last() else { break };
        last = (end.0.clone(), end.1.clone(), end.2);
        for (series, subject, at_ms, body) in page {
            let sample = Sample { series, subject, at_ms: unsigned(at_ms), body: Bytes::from(body) };
            encoder.push(&Record::Sample(sample));
        }
        out.take(&mut pending, encoder).await?;
    }
    out.write(&pending).await
}

async fn page<T: crate::link::Answer>(
    link: &mut Link,
    location: &Location,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<Vec<T>, StoreError> {
    link.all(sql, values).await.map_err(|error| fault::opening(location, "read for a backup", error))
}

/// Gives the file its name, which must be free, and makes that durable.
async fn name(partial: &Path, path: &Path) -> Result<(), StoreError> {
    match fs::hard_link(partial, path).await {
        Ok(()) => fs::remove_file(partial).await.map_err(|error| fault(partial, error))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StoreError::BackupExists { path: path.to_owned() });
        }
        // Not every file system can give a file a second name.
        Err(_) => fs::rename(partial, path).await.map_err(|error| fault(path, error))?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::File::open(folder).await.map_err(|error| fault(path, error))?;
    folder.sync_all().await.map_err(|error| fault(path, error))
}

fn fault(path: &Path, source: io::Error) -> StoreError {
    StoreError::File {
        what: "write",
        path: path.to_owned(),
        advice: "its folder must exist, have space, and let the vault's user write",
        source: Arc::new(source),
    }
}
