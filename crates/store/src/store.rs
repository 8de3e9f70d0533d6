//! The handle to an open store: what its owner calls.

use std::{path::Path, sync::Arc};

use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    StoreError,
    backup::{self, BackupInfo, BackupLabel},
    batch::Index,
    behind::SAMPLES_MAX,
    changes::Changes,
    load,
    location::Location,
    options::{Options, Retention},
    read::{EventQuery, Reader},
    record::{Event, Loaded, Sample, Version},
    session::{self, Known},
    status::{Figures, Shared, Status},
    writer::{Commit, Request, Writer},
};

/// Most transactions that wait; whoever comes then waits to be let in.
const INBOX_MAX: usize = 4_096;

/// An open store. Clones are the same store; the last one that goes ends it in order.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    location: Location,
    inbox: mpsc::Sender<Request>,
    options: Options,
    shared: Arc<Shared>,
    status: watch::Receiver<Status>,
    reader: Reader,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens a store for this process alone, makes or updates its tables, and reads all its
    /// rows. While another process has a PostgreSQL store it waits as `options` say.
    ///
    /// # Errors
    /// Every reason why it cannot be opened; see [`StoreError`].
    pub async fn open(location: Location, options: Options) -> Result<(Store, Loaded), StoreError> {
        let (mut session, head) = session::open(&location, &options).await?;
        let rows = load::rows(&mut session.link, &location).await?;
        let versions = rows.iter().map(|row| (row.id.clone(), row.version)).collect();
        let index = Index { versions, newest: head.newest };
        let known = Known { id: head.id, fence: head.fence, holder: head.holder, newest: head.newest };
        let loaded = Loaded { rows, version: head.newest, fence: head.fence, learn: head.learn };
        let shared = Arc::new(Shared::default());
        let (inbox, requests) = mpsc::channel(INBOX_MAX);
        let (tell, status) = watch::channel(Status::Up);
        let kept = options.clone();
        let reader = Reader::new(location.clone(), options.clone());
        let writer = Writer::new(location.clone(), options, session, index, known, shared.clone(), tell);
        let writer = Mutex::new(Some(tokio::spawn(writer.run(requests))));
        let inner = Inner { location, inbox, options: kept, shared, status, reader, writer };
        Ok((Store { inner: Arc::new(inner) }, loaded))
    }

    /// Writes a transaction, whole or not at all. When this returns `Ok`, it is durable.
    ///
    /// Not safe to cancel: whether it was written is then not known. Where the connection
    /// breaks in the very moment of the commit, this waits until it is known.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a precondition did not hold, [`StoreError::Invalid`]
    /// for what can never be stored, and otherwise what [`StoreError::is_temporary`] and
    /// [`StoreError::is_final`] tell apart.
    pub async fn commit(&self, changes: Changes) -> Result<Version, StoreError> {
        changes.check()?;
        self.ask(|reply| Request::Commit(Commit { changes, reply })).await?
    }

    /// Adds a sample to those that wait to be written; it costs no write of its own. A
    /// crash may cost what waits: at most [`Options::flush_every`] of it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for what can never be stored.
    pub fn note(&self, sample: Sample) -> Result<(), StoreError> {
        sample.check()?;
        let mut behind = self.inner.shared.behind();
        behind.add(sample);
        if behind.len() >= SAMPLES_MAX / 4 {
            self.inner.shared.many.notify_one();
        }
        Ok(())
    }

    /// Writes the samples that wait.
    ///
    /// # Errors
    /// What kept the store from it; the samples wait on.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(Request::Flush).await?
    }

    /// Changes how long events and samples are kept, from now on.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn keep(&self, retention: Vec<Retention>) -> Result<(), StoreError> {
        self.ask(|reply| Request::Keep(retention, reply)).await
    }

    /// Deletes now what is too old; says how much.
    ///
    /// # Errors
    /// What kept the store from it.
    pub async fn prune(&self) -> Result<u64, StoreError> {
        self.ask(Request::Prune).await?
    }

    /// Reads events, also while the writer is away.
    ///
    /// # Errors
    /// What kept the store from it.
    pub async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        self.inner.reader.events(query).await
    }

    /// Reads the written samples of a series from `from_ms` on and before `to_ms`, by
    /// subject and instant; at most `limit`, up to [`READ_MAX`](crate::READ_MAX).
    ///
    /// # Errors
    /// What kept the store from it.
    pub async fn samples(
        &self,
        series: &str,
        subject: Option<&str>,
        from_ms: u64,
        to_ms: u64,
        limit: u32,
    ) -> Result<Vec<Sample>, StoreError> {
        self.inner.reader.samples(series, subject, from_ms, to_ms, limit).await
    }

    /// Writes everything of one instant to a new file, while the store goes on. Samples that
    /// wait are written first.
    ///
    /// # Errors
    /// [`StoreError::BackupExists`], [`StoreError::File`], and what kept the store from
    /// reading. The file is there only when it is whole.
    pub async fn backup(&self, path: &Path, label: BackupLabel) -> Result<BackupInfo, StoreError> {
        self.flush().await?;
        backup::make(&self.inner.location, &self.inner.options, path, label).await
    }

    /// Whether it can be written; a watcher of [`Status::Ended`] must stop commanding.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.clone()
    }

    /// What it has done.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.inner.shared.figures()
    }

    /// Where it lies.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.inner.location
    }

    /// Writes what waits, closes everything, and gives the lock back. Whoever calls
    /// anything afterwards gets [`StoreError::Closed`].
    pub async fn close(&self) {
        self.ask(Request::Close).await.ok();
        let writer = self.inner.writer.lock().await.take();
        if let Some(Err(error)) = async { Some(writer?.await) }.await {
            tracing::error!(%error, "the store's writer failed");
        }
        self.inner.reader.close().await;
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, StoreError> {
        let location = || self.inner.location.to_string();
        let (reply, answer) = oneshot::channel();
        if self.inner.inbox.send(request(reply)).await.is_err() {
            return Err(StoreError::Closed { location: location() });
        }
        answer.await.map_err(|_| StoreError::OutcomeUnknown { location: location() })
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("location", &self.inner.location).finish_non_exhaustive()
    }
}
