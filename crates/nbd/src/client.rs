//! The client as its callers see it. This module must never know the layout of a frame.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use farshore_extent::Run;
use tokio::{
    io::AsyncWriteExt,
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    Error, Result,
    assembly::{Assembly, Reply},
    handshake::{self, Agreed},
    pool::Pool,
    protocol::{self, BlockSizes, Command, REQUEST_LEN},
    receiver::{self, Pending, Waiting},
};

/// Requests in flight on one connection; more wait their turn.
const MAX_IN_FLIGHT: usize = 128;
/// Bytes whose status one request asks for: the largest aligned length that 32 bits can say.
const STATUS_SPAN: u64 = 0xffff_0000;
/// Most requests for status that one question has in flight.
const STATUS_ASKED: usize = 32;
#[expect(clippy::cast_possible_truncation, reason = "32 bits, on machines of 64")]
const STATUS_STEP: usize = STATUS_SPAN as usize;
/// How long to wait for the last request to leave when a connection is closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// What to connect to, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the export; may be empty.
    pub export: String,
    /// Metadata contexts to select, such as `base:allocation`; all must exist.
    pub contexts: Vec<String>,
    /// Longest wait for connecting, and for any one answer.
    pub deadline: Duration,
}

impl Options {
    /// Default of [`deadline`](Self::deadline).
    pub const DEADLINE: Duration = Duration::from_secs(60);

    /// An export without metadata contexts, with the default deadline.
    #[must_use]
    pub fn export(name: impl Into<String>) -> Options {
        Options { export: name.into(), contexts: Vec::new(), deadline: Options::DEADLINE }
    }
}

/// Flags of a run in one metadata context; their meaning is the context's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Bytes of the export.
    pub run: Run,
    /// The context's flags.
    pub flags: u32,
}

impl Status {
    /// Flag of `base:allocation`: nothing is allocated there.
    pub const HOLE: u32 = 1;
    /// Flag of `base:allocation`: it reads as zeros.
    pub const ZERO: u32 = 2;
    /// Flag of `qemu:dirty-bitmap:…`: it was written to.
    pub const DIRTY: u32 = 1;
}

/// A connection to one export. Clones share it; any number of tasks may use it at once, and
/// the server may answer them in any order. It ends with the last clone.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    size: u64,
    blocks: BlockSizes,
    contexts: HashMap<String, u32>,
    deadline: Duration,
    cookies: AtomicU64,
    slots: Arc<Semaphore>,
    requests: mpsc::Sender<[u8; REQUEST_LEN]>,
    pending: Arc<Pending>,
    receiver: JoinHandle<()>,
    sender: JoinHandle<()>,
    pool: Arc<Pool>,
}

impl Client {
    /// Connects to the server that listens at `path` and selects its export.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Refused`] for a missing export or context,
    /// [`Error::Deadline`], [`Error::Protocol`], [`Error::Lost`].
    pub async fn connect_unix(path: &Path, options: Options) -> Result<Client> {
        let connect = async {
            let mut stream = UnixStream::connect(path)
                .await
                .map_err(|source| Error::Connect { path: path.to_owned(), source })?;
            let agreed = handshake::negotiate(&mut stream, &options).await?;
            Ok((stream, agreed))
        };
        let late = Error::Deadline { command: "negotiate", offset: 0, len: 0, deadline: options.deadline };
        let (stream, agreed) = timeout(options.deadline, connect).await.unwrap_or(Err(late))?;
        Ok(Client::over(stream, agreed, options.deadline))
    }

    pub(crate) fn over(stream: UnixStream, agreed: Agreed, deadline: Duration) -> Client {
        let (input, output) = stream.into_split();
        let pending = Arc::new(Pending::new());
        let (requests, queue) = mpsc::channel(MAX_IN_FLIGHT);
        let receiver = tokio::spawn({
            let pending = Arc::clone(&pending);
            async move { receiver::receive(input, &pending).await }
        });
        let sender = tokio::spawn(send(output, queue, Arc::clone(&pending)));
        Client(Arc::new(Shared {
            size: agreed.size,
            blocks: agreed.blocks,
            contexts: agreed.contexts,
            deadline,
            cookies: AtomicU64::new(1),
            slots: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            requests,
            pending,
            receiver,
            sender,
            pool: Arc::default(),
        }))
    }

    /// Size of the export in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Longest read in bytes.
    #[must_use]
    pub fn max_read(&self) -> u32 {
        self.0.blocks.max.min(protocol::MAX_READ)
    }

    /// Offsets and lengths of reads are multiples of it, in bytes; a power of two.
    #[must_use]
    pub fn min_block(&self) -> u32 {
        self.0.blocks.min
    }

    /// Reads that are multiples of it are fast, in bytes.
    #[must_use]
    pub fn preferred_block(&self) -> u32 {
        self.0.blocks.preferred
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the read is empty, longer than [`max_read`](Self::max_read)
    /// or passes the end; [`Error::Server`], [`Error::Deadline`], [`Error::Lost`].
    pub async fn read(&self, offset: u64, len: u32) -> Result<Bytes> {
        self.check(Command::Read, Run { start: offset, len: len.into() })?;
        if len > self.max_read() {
            return Err(invalid(
                Command::Read,
                offset,
                len.into(),
                format!("at most {} at once", self.max_read()),
            ));
        }
        match self.ask(Command::Read, offset, len).await? {
            Reply::Content(bytes) => Ok(bytes),
            Reply::Extents(_) => Err(Error::protocol("it answered a read with extents")),
        }
    }

    /// The flags of all of `range` in one metadata context; neighbours with equal flags are
    /// joined. It asks the server as often as it takes.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the range is empty, passes the end, or the context was not
    /// selected when connecting; [`Error::Server`], [`Error::Deadline`], [`Error::Lost`].
    pub async fn block_status(&self, context: &str, range: Run) -> Result<Vec<Status>> {
        self.check(Command::BlockStatus, range)?;
        let not_selected = || {
            invalid(
                Command::BlockStatus,
                range.start,
                range.len,
                format!("context '{context}' was not selected"),
            )
        };
        let id = *self.0.contexts.get(context).ok_or_else(not_selected)?;
        if range.len <= STATUS_SPAN {
            return self.status_of(id, range).await;
        }
        // One after the other, a large disk would take hundreds of turns.
        let (mut asked, mut parts) = (JoinSet::new(), Vec::new());
        let mut starts = (range.start..range.end()).step_by(STATUS_STEP).enumerate();
        loop {
            // A few at a time: a server may claim any size.
            while asked.len() < STATUS_ASKED
                && let Some((index, start)) = starts.next()
            {
                let part = Run::between(start, range.end().min(start.saturating_add(STATUS_SPAN)));
                let client = self.clone();
                asked.spawn(async move { client.status_of(id, part).await.map(|found| (index, found)) });
            }
            let Some(done) = asked.join_next().await else { break };
            parts.push(done.map_err(|e| Error::protocol(format!("a status request panicked: {e}")))??);
        }
        parts.sort_unstable_by_key(|(index, _)| *index);
        let mut out = Vec::<Status>::new();
        parts.into_iter().flat_map(|(_, found)| found).for_each(|status| push(&mut out, status));
        Ok(out)
    }

    /// As [`Client::block_status`], with one request at a time.
    async fn status_of(&self, id: u32, range: Run) -> Result<Vec<Status>> {
        let min = u64::from(self.0.blocks.min);
        let end = range.end().next_multiple_of(min).min(self.0.size);
        let (mut at, mut out) = (range.start / min * min, Vec::<Status>::new());
        while at < range.end() {
            let len = u32::try_from((end - at).min(STATUS_SPAN)).unwrap_or(u32::MAX);
            let Reply::Extents(extents) = self.ask(Command::BlockStatus, at, len).await? else {
                return Err(Error::protocol("it answered a status request with content"));
            };
            let extents = extents.into_iter().find(|(context, _)| *context == id);
            let (_, extents) =
                extents.ok_or_else(|| Error::protocol("a block status without its context"))?;
            at = append(&mut out, &extents, at, range);
        }
        Ok(out)
    }

    /// Tells the server goodbye and ends the connection for all clones. Requests still in
    /// flight fail with [`Error::Lost`].
    pub async fn close(self) {
        let goodbye = protocol::encode_request(Command::Disconnect, 0, 0, 0);
        // Closing is best effort: dropping the connection says the same, less politely.
        if timeout(CLOSE_DEADLINE, self.0.requests.send(goodbye)).await.is_ok_and(|sent| sent.is_ok()) {
            drop(timeout(CLOSE_DEADLINE, self.0.requests.closed()).await);
        }
        self.0.pending.end("this client closed it");
    }

    fn check(&self, command: Command, run: Run) -> Result<()> {
        let why = if run.len == 0 {
            "nothing was asked for".to_owned()
        } else if run.start.checked_add(run.len).is_none_or(|end| end > self.0.size) {
            format!("the export ends at {}", self.0.size)
        } else {
            return Ok(());
        };
        Err(invalid(command, run.start, run.len, why))
    }

    async fn ask(&self, command: Command, offset: u64, len: u32) -> Result<Reply> {
        let shared = &self.0;
        let request = async {
            let closed = || Error::Lost { why: "this client closed it".to_owned() };
            let slot = Arc::clone(&shared.slots).acquire_owned().await.map_err(|_| closed())?;
            let cookie = shared.cookies.fetch_add(1, Ordering::Relaxed);
            let (answer, reply) = oneshot::channel();
            let assembly = Assembly::new(command, offset, len, Arc::clone(&shared.pool));
            let waiting = Waiting { assembly, answer, _slot: slot };
            shared.pending.put(cookie, waiting)?;
            let request = protocol::encode_request(command, cookie, offset, len);
            // Where sending fails, the sender has ended all that wait, this one included.
            let _sent = shared.requests.send(request).await;
            reply.await.unwrap_or_else(|_| Err(closed()))
        };
        let late =
            Error::Deadline { command: command.verb(), offset, len: len.into(), deadline: shared.deadline };
        timeout(shared.deadline, request).await.unwrap_or(Err(late))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.receiver.abort();
        self.sender.abort();
    }
}

/// Appends the extents that start at `at`, cut to `range`; gives where they end.
fn append(out: &mut Vec<Status>, extents: &[(u32, u32)], mut at: u64, range: Run) -> u64 {
    for (len, flags) in extents {
        let end = at.saturating_add(u64::from(*len));
        let run = Run::between(at.max(range.start), end.min(range.end()));
        at = end;
        push(out, Status { run, flags: *flags });
    }
    at
}

/// Adds what follows the last one, as part of it where the flags are equal.
fn push(out: &mut Vec<Status>, next: Status) {
    match out.last_mut() {
        _ if next.run.len == 0 => {}
        Some(last) if last.flags == next.flags => last.run = Run::between(last.run.start, next.run.end()),
        _ => out.push(next),
    }
}

fn invalid(command: Command, offset: u64, len: u64, why: String) -> Error {
    Error::Invalid { command: command.verb(), offset, len, why }
}

/// Writes requests, one whole frame at a time, until the goodbye or the last client is gone.
/// A task of its own, so that a caller who gives up never leaves half a frame behind.
async fn send(
    mut output: OwnedWriteHalf,
    mut queue: mpsc::Receiver<[u8; REQUEST_LEN]>,
    pending: Arc<Pending>,
) {
    let goodbye = protocol::encode_request(Command::Disconnect, 0, 0, 0);
    while let Some(request) = queue.recv().await {
        if let Err(error) = output.write_all(&request).await {
            pending.end(&Error::lost("while sending a request", &error).to_string());
            return;
        }
        if request == goodbye {
            return;
        }
    }
}
