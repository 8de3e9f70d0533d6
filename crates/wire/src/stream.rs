//! Frames out of and into a stream of bytes. Outgoing bodies stay the slices they are;
//! incoming payloads are sliced out of the read buffer, not copied.

use bytes::{Bytes, BytesMut};

use crate::{
    codec::Output,
    error::FrameError,
    header::{HEADER_LEN, Header},
    messages::SessionId,
};

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
        bodies: Vec<Bytes>,
    ) -> Encoded {
        let fields = fields.0.freeze();
        let header = Header::seal(kind, session, sequence, std::iter::once(&fields).chain(&bodies));
        let mut head = BytesMut::with_capacity(HEADER_LEN + fields.len());
        head.extend_from_slice(&header);
        head.extend_from_slice(&fields);
        let mut parts = Vec::with_capacity(1 + bodies.len());
        parts.push(head.freeze());
        parts.extend(bodies);
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

/// A frame whose checksums hold, not yet understood.
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
}

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
        header.verify(&payload)?;
        Ok(Some(RawFrame { header, payload }))
    }

    /// Bytes that the frame now arriving still needs; at least 1.
    #[must_use]
    pub fn wanted(&self) -> usize {
        let whole = HEADER_LEN + self.header.map_or(0, |h| h.payload_len as usize);
        whole.saturating_sub(self.buffer.len()).max(1)
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
