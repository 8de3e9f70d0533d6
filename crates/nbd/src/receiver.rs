//! The task that takes replies from the connection and hands each to who waits for it.
//! This module must never know what a reply is used for.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::BufMut;
use tokio::{
    io::{AsyncReadExt, BufReader},
    net::unix::OwnedReadHalf,
    sync::{OwnedSemaphorePermit, oneshot},
};

use crate::{
    Error, Result,
    assembly::{Assembly, Reply},
    protocol::{self, Chunk, ChunkKind, Head},
};

/// Bytes read ahead: enough for heads and small payloads. Content longer than that goes
/// straight to its buffer.
const READ_AHEAD: usize = 4096;

/// A request whose reply is awaited.
pub(crate) struct Waiting {
    pub(crate) assembly: Assembly,
    pub(crate) answer: oneshot::Sender<Result<Reply>>,
    /// Held until the reply has come, even where nobody waits for it any more.
    pub(crate) _slot: OwnedSemaphorePermit,
}

/// The requests whose replies are awaited, by cookie; `Err` holds why the connection ended.
pub(crate) struct Pending(Mutex<Result<HashMap<u64, Waiting>, String>>);

impl Pending {
    pub(crate) fn new() -> Pending {
        Pending(Mutex::new(Ok(HashMap::new())))
    }

    /// Notes a request, before it is sent.
    pub(crate) fn put(&self, cookie: u64, waiting: Waiting) -> Result<()> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *table {
            Ok(table) => {
                table.insert(cookie, waiting);
                Ok(())
            }
            Err(why) => Err(Error::Lost { why: why.clone() }),
        }
    }

    fn take(&self, cookie: u64) -> Result<Waiting> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = table.as_mut().ok().and_then(|table| table.remove(&cookie));
        waiting.ok_or_else(|| Error::protocol(format!("it answered request {cookie}, which is not open")))
    }

    /// Ends the connection for all that wait and all that will.
    pub(crate) fn end(&self, why: &str) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(waiting) = std::mem::replace(&mut *table, Err(why.to_owned())) {
            for waiting in waiting.into_values() {
                // Nobody may be waiting any more: that is fine.
                drop(waiting.answer.send(Err(Error::Lost { why: why.to_owned() })));
            }
        }
    }
}

/// Takes replies until the connection ends or the server breaks the protocol.
pub(crate) async fn receive(connection: OwnedReadHalf, pending: &Pending) {
    let mut input = BufReader::with_capacity(READ_AHEAD, connection);
    loop {
        if let Err(error) = receive_one(&mut input, pending).await {
            tracing::debug!(%error, "NBD connection ends");
            pending.end(&error.to_string());
            return;
        }
    }
}

async fn receive_one(input: &mut BufReader<OwnedReadHalf>, pending: &Pending) -> Result<()> {
    match protocol::parse_head(&bytes(input).await?)? {
        Head::Simple { errno: 0, .. } => {
            Err(Error::protocol("a simple reply where a structured one was agreed upon"))
        }
        Head::Simple { cookie, errno } => {
            let mut waiting = pending.take(cookie)?;
            waiting.assembly.fail(errno, protocol::errno_name(errno).to_owned());
            finish(waiting);
            Ok(())
        }
        Head::Structured { cookie, kind, done } => {
            let chunk = protocol::parse_chunk(kind, bytes(input).await?)?;
            let mut waiting = pending.take(cookie)?;
            let received = receive_chunk(input, chunk, &mut waiting.assembly).await;
            match received {
                Ok(()) if done => finish(waiting),
                // Back to the table: also on errors, so that `end` tells it like the others.
                _ => pending.put(cookie, waiting)?,
            }
            received
        }
    }
}

fn finish(waiting: Waiting) {
    // The one who asked may have given up: that is fine.
    drop(waiting.answer.send(waiting.assembly.finish()));
}

async fn receive_chunk(
    input: &mut BufReader<OwnedReadHalf>,
    chunk: Chunk,
    assembly: &mut Assembly,
) -> Result<()> {
    match chunk.kind {
        ChunkKind::None => Ok(()),
        ChunkKind::Data => {
            let offset = protocol::parse_offset(bytes(input).await?);
            receive_content(input, offset, chunk.len - 8, assembly).await
        }
        ChunkKind::Hole => {
            let (offset, len) = protocol::parse_hole(&bytes(input).await?);
            assembly.hole_at(offset, len)
        }
        ChunkKind::Status => {
            let (context, extents) = protocol::parse_extents(&payload(input, chunk.len).await?)?;
            assembly.extents(context, extents)
        }
        ChunkKind::Error { .. } => {
            let (errno, why) = protocol::parse_error(&payload(input, chunk.len).await?)?;
            assembly.fail(errno, why);
            Ok(())
        }
    }
}

/// Reads content straight into the reply's buffer, without zeroing it first where the
/// chunk continues what is there: the usual case.
async fn receive_content(
    input: &mut BufReader<OwnedReadHalf>,
    offset: u64,
    len: u32,
    assembly: &mut Assembly,
) -> Result<()> {
    let run = assembly.data_at(offset, len)?;
    if run.start != assembly.content().len() as u64 {
        input.read_exact(assembly.middle(run)).await.map_err(|e| lost(&e))?;
        return Ok(());
    }
    let mut room = assembly.content().limit(len as usize);
    while room.has_remaining_mut() {
        if input.read_buf(&mut room).await.map_err(|e| lost(&e))? == 0 {
            return Err(lost(&std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(())
}

async fn payload(input: &mut BufReader<OwnedReadHalf>, len: u32) -> Result<Vec<u8>> {
    let mut payload = vec![0; len as usize];
    input.read_exact(&mut payload).await.map_err(|e| lost(&e))?;
    Ok(payload)
}

async fn bytes<const N: usize>(input: &mut BufReader<OwnedReadHalf>) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).await.map_err(|e| lost(&e))?;
    Ok(bytes)
}

fn lost(source: &std::io::Error) -> Error {
    Error::lost("while waiting for replies", source)
}
