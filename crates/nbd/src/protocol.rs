//! The protocol's frames as pure functions: bytes to values and back, every length checked.
//! This module must never read or write a socket.
//!
//! Names follow the protocol's document: fixed newstyle negotiation, then structured replies.

mod negotiation;
mod transmission;

pub use negotiation::{
    BlockSizes, GREETING_LEN, Greeting, Info, MAX_CONTEXT_NAME, MAX_OPTION_REPLY, OPTION_REPLY_LEN,
    OptionReply, client_flags, encode_go, encode_option, encode_set_meta_context, option, parse_greeting,
    parse_info, parse_meta_context, parse_option_reply, refusal,
};
pub use transmission::{
    Chunk, ChunkKind, Command, HEAD_LEN, Head, MAX_ERROR_PAYLOAD, MAX_EXTENTS, MAX_READ, REQUEST_LEN,
    STRUCTURED_REST, encode_request, errno_name, parse_chunk, parse_error, parse_extents, parse_head,
    parse_hole, parse_offset,
};

use crate::{Error, Result};

/// Takes whole big-endian numbers from the front of a payload.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(what: &'static str, payload: &'a [u8]) -> Fields<'a> {
        Fields { rest: payload, what }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| {
            Error::protocol(format!("{} ends {} bytes early", self.what, N - self.rest.len()))
        })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::protocol(format!("{} is {} bytes too long", self.what, self.rest.len())))
    }
}

#[cfg(test)]
mod tests;
