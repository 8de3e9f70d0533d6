//! Frames over a stream of bytes. All progress is kept in the two halves, so that every
//! future here can be dropped at any await and called again.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Buf, Bytes};
use farshore_wire::{Encoded, FrameError, Inbox, RawFrame};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::{
    dial::Stream,
    limits::{READ_CHUNK, WRITE_SLICES_MAX},
};

/// Why a connection can no longer be used.
#[derive(Debug, Error)]
pub(crate) enum PipeError {
    #[error("the peer closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

pub(crate) struct FrameReader {
    stream: ReadHalf<Box<dyn Stream>>,
    inbox: Inbox,
}

pub(crate) struct FrameWriter {
    stream: WriteHalf<Box<dyn Stream>>,
    queue: Queue,
    /// Bytes may wait in the stream's own buffers.
    unflushed: bool,
}

/// Splits a connection into its two halves.
pub(crate) fn frames_over(stream: Box<dyn Stream>) -> (FrameReader, FrameWriter) {
    let (read, write) = tokio::io::split(stream);
    let reader = FrameReader { stream: read, inbox: Inbox::default() };
    (reader, FrameWriter { stream: write, queue: Queue::default(), unflushed: false })
}

impl FrameReader {
    /// The next frame whose checksums hold.
    pub(crate) async fn next(&mut self) -> Result<RawFrame, PipeError> {
        loop {
            if let Some(raw) = self.inbox.next_frame()? {
                return Ok(raw);
            }
            // Other memory means copying what has arrived of the frame, so it is changed once
            // per frame, as soon as its length is known.
            self.inbox.make_room(READ_CHUNK);
            if self.stream.read_buf(&mut self.inbox.buffer).await? == 0 {
                self.inbox.end()?;
                return Err(PipeError::Closed);
            }
        }
    }
}

impl FrameWriter {
    pub(crate) fn push(&mut self, frame: Encoded) {
        self.queue.push(frame);
    }

    /// Bytes not yet given to the stream.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len
    }

    /// Whether [`FrameWriter::write_out`] has anything to do.
    pub(crate) fn is_dirty(&self) -> bool {
        self.unflushed || self.queue.len > 0
    }

    /// Writes the whole queue and flushes it.
    pub(crate) async fn write_out(&mut self) -> Result<(), PipeError> {
        while self.queue.has_remaining() {
            self.write_some().await?;
        }
        self.stream.flush().await?;
        self.unflushed = false;
        Ok(())
    }

    async fn write_some(&mut self) -> Result<(), PipeError> {
        self.unflushed = true;
        match self.stream.write_buf(&mut self.queue).await? {
            0 => Err(PipeError::Closed),
            _ => Ok(()),
        }
    }

    /// Writes what is queued and closes the stream in good order.
    pub(crate) async fn finish(&mut self) -> Result<(), PipeError> {
        self.write_out().await?;
        Ok(self.stream.shutdown().await?)
    }
}

/// Parts of frames waiting to be written, as one buffer.
#[derive(Default)]
struct Queue {
    parts: VecDeque<Bytes>,
    len: usize,
}

impl Queue {
    fn push(&mut self, frame: Encoded) {
        self.len += frame.wire_len();
        self.parts.extend(frame.parts);
    }
}

impl Buf for Queue {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = slices.len().min(WRITE_SLICES_MAX);
        let pairs = slices[..count].iter_mut().zip(&self.parts);
        pairs.map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while let Some(front) = self.parts.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }
}
