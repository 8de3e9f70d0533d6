//! Frames after the negotiation: requests and structured replies.

use super::Fields;
use crate::{Error, Result};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
/// Flag of the last chunk of a reply.
const DONE: u16 = 1;

/// Length of a request in bytes.
pub const REQUEST_LEN: usize = 28;
/// Length in bytes of what simple and structured replies have in common.
pub const HEAD_LEN: usize = 16;
/// Length in bytes of the rest of a structured reply's head: the payload's length.
pub const STRUCTURED_REST: usize = 4;

/// Longest read that is ever asked for, in bytes (QEMU's limit too).
pub const MAX_READ: u32 = 32 * 1024 * 1024;
/// Most extents that one chunk of block status may have (QEMU sends 128 Ki).
pub const MAX_EXTENTS: u32 = 1024 * 1024;
/// Longest payload of an error chunk, in bytes: two numbers, a text, an offset.
pub const MAX_ERROR_PAYLOAD: u32 = 4096 + 14;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Content.
    Read,
    /// The end of the connection; there is no answer.
    Disconnect,
    /// Extents of all selected metadata contexts.
    BlockStatus,
}

impl Command {
    fn number(self) -> u16 {
        match self {
            Command::Read => 0,
            Command::Disconnect => 2,
            Command::BlockStatus => 7,
        }
    }

    /// Verb for "could not … 512 bytes at offset 0".
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Command::Read => "read",
            Command::Disconnect => "disconnect",
            Command::BlockStatus => "give the status of",
        }
    }
}

/// A request.
#[must_use]
pub fn encode_request(command: Command, cookie: u64, offset: u64, len: u32) -> [u8; REQUEST_LEN] {
    let mut out = [0; REQUEST_LEN];
    out[0..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
    out[6..8].copy_from_slice(&command.number().to_be_bytes());
    out[8..16].copy_from_slice(&cookie.to_be_bytes());
    out[16..24].copy_from_slice(&offset.to_be_bytes());
    out[24..28].copy_from_slice(&len.to_be_bytes());
    out
}

/// The start of a reply, and to which request it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A whole reply without payload; allowed here to report errors only.
    Simple {
        /// Which request.
        cookie: u64,
        /// 0 for success.
        errno: u32,
    },
    /// A chunk of a reply; [`STRUCTURED_REST`] bytes with the payload's length follow.
    Structured {
        /// Which request.
        cookie: u64,
        /// Kind of chunk.
        kind: u16,
        /// Whether it is the reply's last.
        done: bool,
    },
}

/// Reads the start of a reply.
///
/// # Errors
/// [`Error::Protocol`] where there is no magic number.
pub fn parse_head(bytes: &[u8; HEAD_LEN]) -> Result<Head> {
    let mut fields = Fields::of("a reply", bytes);
    match fields.u32()? {
        SIMPLE_REPLY_MAGIC => Ok(Head::Simple { errno: fields.u32()?, cookie: fields.u64()? }),
        STRUCTURED_REPLY_MAGIC => {
            let (flags, kind, cookie) = (fields.u16()?, fields.u16()?, fields.u64()?);
            Ok(Head::Structured { cookie, kind, done: flags & DONE != 0 })
        }
        magic => Err(Error::protocol(format!("a reply starts with {magic:#010x}, no known magic number"))),
    }
}

/// Kind of a structured reply's chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// No payload: only ends a reply.
    None,
    /// An offset, then content.
    Data,
    /// An offset and a length that reads as zeros.
    Hole,
    /// A context's number, then extents.
    Status,
    /// An error number and a text; with an offset where `at_offset`.
    Error {
        /// Whether an offset follows the text.
        at_offset: bool,
    },
}

/// A chunk whose payload of `len` bytes follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// What the payload is.
    pub kind: ChunkKind,
    /// Bytes of payload, already checked against the kind's limits.
    pub len: u32,
}

/// Reads the kind and length of a chunk.
///
/// # Errors
/// [`Error::Protocol`] where the kind is unknown or the length impossible for it.
pub fn parse_chunk(kind: u16, rest: [u8; STRUCTURED_REST]) -> Result<Chunk> {
    let len = u32::from_be_bytes(rest);
    let (kind, fits) = match kind {
        0 => (ChunkKind::None, len == 0),
        1 => (ChunkKind::Data, (9..=MAX_READ + 8).contains(&len)),
        2 => (ChunkKind::Hole, len == 12),
        5 => (ChunkKind::Status, (12..=4 + 8 * MAX_EXTENTS).contains(&len) && len % 8 == 4),
        0x8001 => (ChunkKind::Error { at_offset: false }, (6..=MAX_ERROR_PAYLOAD).contains(&len)),
        0x8002 => (ChunkKind::Error { at_offset: true }, (14..=MAX_ERROR_PAYLOAD).contains(&len)),
        // Unknown errors are errors with the usual start.
        k if k & 0x8000 != 0 => {
            (ChunkKind::Error { at_offset: false }, (6..=MAX_ERROR_PAYLOAD).contains(&len))
        }
        k => return Err(Error::protocol(format!("a reply's chunk of unknown kind {k}"))),
    };
    if !fits {
        return Err(Error::protocol(format!("a reply's chunk ({kind:?}) of {len} bytes")));
    }
    Ok(Chunk { kind, len })
}

/// Reads the offset that a data chunk starts with.
#[must_use]
pub fn parse_offset(bytes: [u8; 8]) -> u64 {
    u64::from_be_bytes(bytes)
}

/// Reads a hole: its offset and length in bytes.
#[must_use]
pub fn parse_hole(bytes: &[u8; 12]) -> (u64, u32) {
    let (offset, len) = bytes.split_at(8);
    let number = |part: &[u8]| part.iter().fold(0, |acc: u64, b| acc << 8 | u64::from(*b));
    (number(offset), u32::try_from(number(len)).unwrap_or(u32::MAX))
}

/// Reads block status: the context's number, and the extents (length in bytes, flags).
///
/// # Errors
/// [`Error::Protocol`] where an extent is empty or the payload cut.
pub fn parse_extents(payload: &[u8]) -> Result<(u32, Vec<(u32, u32)>)> {
    let mut fields = Fields::of("a block status", payload);
    let context = fields.u32()?;
    let mut extents = Vec::with_capacity(payload.len() / 8);
    for _ in 0..payload.len().saturating_sub(4) / 8 {
        let (len, flags) = (fields.u32()?, fields.u32()?);
        if len == 0 {
            return Err(Error::protocol("a block status has an empty extent"));
        }
        extents.push((len, flags));
    }
    fields.end()?;
    Ok((context, extents))
}

/// Reads an error chunk: the error's number, and the server's words or the number's name.
///
/// # Errors
/// [`Error::Protocol`] where it is cut or the error is 0.
pub fn parse_error(payload: &[u8]) -> Result<(u32, String)> {
    let mut fields = Fields::of("an error", payload);
    let (errno, len) = (fields.u32()?, fields.u16()?);
    let words = fields.rest().get(..len.into()).ok_or_else(|| Error::protocol("an error's text is cut"))?;
    if errno == 0 {
        return Err(Error::protocol("an error with number 0"));
    }
    let words = String::from_utf8_lossy(words).into_owned();
    Ok((errno, if words.is_empty() { errno_name(errno).to_owned() } else { words }))
}

/// The name of an error number that the protocol knows.
#[must_use]
pub fn errno_name(errno: u32) -> &'static str {
    match errno {
        1 => "operation not permitted",
        5 => "input/output error",
        12 => "out of memory",
        22 => "invalid argument",
        28 => "no space left",
        75 => "value too large",
        95 => "not supported",
        108 => "the server is shutting down",
        _ => "unknown error",
    }
}
