//! Frames out of and into a stream of bytes. Outgoing bodies stay the slices they are;
//! incoming payloads are sliced out of the read buffer, not copied.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::{
    codec::Output,
    error::FrameError,
    header::{HEADER_LEN, Header},
    messages::SessionId,
};

/// A record's body on its way out.
pub(crate) struct Covered {
    pub(crate) bytes: Bytes,
    /// Whether the frame's checksum covers it; else its own digest does.
    pub(crate) by_checksum: bool,
}

/// A frame ready to be written: its parts, in order.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Header and fields first, then the bodies of records.
    pub parts: Vec<Bytes>,
}

impl Encoded {
    pub(crate) fn new(
        kind: u8,
        session: SessionId,
        sequence: u64,
        fields: Output,
        bodies: Vec<Covered>,
    ) -> Encoded {
        let fields = fields.0.freeze();
        let len = fields.len() + bodies.iter().map(|body| body.bytes.len()).sum::<usize>();
        let covered = bodies.iter().filter(|body| body.by_checksum).map(|body| &body.bytes[..]);
        let covered = std::iter::once(&fields[..]).chain(covered);
        let header = Header::seal(kind, session, sequence, len, covered);
        let mut head = BytesMut::with_capacity(HEADER_LEN + fields.len());
        head.extend_from_slice(&header);
        head.extend_from_slice(&fields);
        let mut parts = Vec::with_capacity(1 + bodies.len());
        parts.push(head.freeze());
        parts.extend(bodies.into_iter().map(|body| body.bytes));
        Encoded { parts }
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// The frame in one piece. Copies; for tests and small frames.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.parts.concat().into()
    }
}

/// A frame whose header is sound, not yet understood. What its checksum covers only shows
/// when it is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Its header.
    pub header: Header,
    /// Its payload, shared with the buffer it arrived in.
    pub payload: Bytes,
}

/// Cuts frames out of the bytes read so far. The owner appends what it reads to
/// [`Inbox::buffer`] and takes frames until there is none.
#[derive(Debug, Default)]
pub struct Inbox {
    /// What was read and not yet taken.
    pub buffer: BytesMut,
    /// The header of the frame whose payload is still arriving.
    header: Option<Header>,
    /// Buffers that frames were cut out of: once these are gone, it can be filled again.
    spent: VecDeque<BytesMut>,
}

/// Buffers that are kept to be filled again. What is not free among them by then belongs to
/// a reader that is behind; new memory is got for it.
const SPENT_MAX: usize = 24;

impl Inbox {
    /// Takes the next whole frame; `None` until more is read.
    ///
    /// # Errors
    /// The bytes are not a frame; nothing after them can be read.
    pub fn next_frame(&mut self) -> Result<Option<RawFrame>, FrameError> {
        let header = match self.header {
            Some(header) => header,
            None => match self.buffer.first_chunk::<HEADER_LEN>() {
                None => return Ok(None),
                Some(bytes) => *self.header.insert(Header::decode(bytes)?),
            },
        };
        let whole = HEADER_LEN + header.payload_len as usize;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        self.header = None;
        let payload = self.buffer.split_to(whole).freeze().slice(HEADER_LEN..);
        Ok(Some(RawFrame { header, payload }))
    }

    /// Bytes that the frame now arriving still needs; at least 1.
    #[must_use]
    pub fn wanted(&self) -> usize {
        let whole = HEADER_LEN + self.header.map_or(0, |h| h.payload_len as usize);
        whole.saturating_sub(self.buffer.len()).max(1)
    }

    /// Makes room for what the arriving frame still needs, and for `chunk` bytes at least, in
    /// memory that is free again where there is some: memory got anew for each frame would
    /// have to be cleared by the system each time.
    pub fn make_room(&mut self, chunk: usize) {
        if self.buffer.capacity() - self.buffer.len() >= self.wanted() {
            return;
        }
        let need = self.buffer.len() + self.wanted().max(chunk);
        let free = self.spent.iter_mut().position(|spent| spent.try_reclaim(need));
        let next = free.and_then(|at| self.spent.remove(at));
        let mut next = next.unwrap_or_else(|| BytesMut::with_capacity(need));
        next.extend_from_slice(&self.buffer);
        let mut spent = std::mem::replace(&mut self.buffer, next);
        spent.clear();
        self.spent.push_back(spent);
        if self.spent.len() > SPENT_MAX {
            self.spent.pop_front();
        }
    }

    /// To be asked when the connection has ended.
    ///
    /// # Errors
    /// [`FrameError::Cut`] where it ended inside a frame.
    pub fn end(&self) -> Result<(), FrameError> {
        match self.buffer.len() {
            0 => Ok(()),
            have => Err(FrameError::Cut { have }),
        }
    }
}
