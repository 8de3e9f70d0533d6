//! Frames before the first request: greeting, options and their replies.

use super::Fields;
use crate::{Error, Result};

const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Handshake flag: the server speaks fixed newstyle.
const FIXED_NEWSTYLE: u16 = 1;
/// Handshake flag: neither side pads the end of the negotiation with zeros.
const NO_ZEROES: u16 = 2;
/// Bit that marks an option reply as an error.
const REPLY_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// Longest payload of an option reply that is accepted, in bytes.
pub const MAX_OPTION_REPLY: u32 = 64 * 1024;
/// Longest name of an export or of a metadata context, in bytes (the protocol's own limit).
pub const MAX_CONTEXT_NAME: usize = 4096;

/// Numbers of the options that are sent.
pub mod option {
    /// Gives up the negotiation.
    pub const ABORT: u32 = 2;
    /// Selects the export and ends the negotiation.
    pub const GO: u32 = 7;
    /// Asks for structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Selects metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
}

/// What the server says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// It will not pad the end of the negotiation.
    pub no_zeroes: bool,
}

/// Length of the greeting in bytes.
pub const GREETING_LEN: usize = 18;

/// Reads the greeting; only fixed newstyle is accepted.
///
/// # Errors
/// [`Error::Protocol`] where this is no NBD server, or one too old.
pub fn parse_greeting(bytes: &[u8; GREETING_LEN]) -> Result<Greeting> {
    let mut fields = Fields::of("the greeting", bytes);
    if fields.u64()? != NBD_MAGIC {
        return Err(Error::protocol("it does not greet as an NBD server"));
    }
    if fields.u64()? != OPTION_MAGIC {
        return Err(Error::protocol(
            "it speaks the old style of NBD; a server with fixed newstyle is needed",
        ));
    }
    let flags = fields.u16()?;
    if flags & FIXED_NEWSTYLE == 0 {
        return Err(Error::protocol("it does not speak fixed newstyle"));
    }
    Ok(Greeting { no_zeroes: flags & NO_ZEROES != 0 })
}

/// The client's answer to the greeting.
#[must_use]
pub fn client_flags(greeting: Greeting) -> [u8; 4] {
    let no_zeroes = if greeting.no_zeroes { NO_ZEROES } else { 0 };
    u32::from(FIXED_NEWSTYLE | no_zeroes).to_be_bytes()
}

/// An option with its payload.
///
/// # Panics
/// Where `payload` is longer than a `u32` can say.
#[must_use]
pub fn encode_option(number: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + payload.len());
    out.extend(OPTION_MAGIC.to_be_bytes());
    out.extend(number.to_be_bytes());
    out.extend(length_of(payload).to_be_bytes());
    out.extend(payload);
    out
}

/// The option that selects `export`, asking for its block sizes.
#[must_use]
pub fn encode_go(export: &str) -> Vec<u8> {
    let mut payload = name(export);
    payload.extend(1u16.to_be_bytes());
    payload.extend(INFO_BLOCK_SIZE.to_be_bytes());
    encode_option(option::GO, &payload)
}

/// The option that selects metadata contexts of `export`.
#[must_use]
pub fn encode_set_meta_context(export: &str, contexts: &[String]) -> Vec<u8> {
    let mut payload = name(export);
    let count = u32::try_from(contexts.len()).unwrap_or(u32::MAX);
    payload.extend(count.to_be_bytes());
    payload.extend(contexts.iter().flat_map(|c| name(c)));
    encode_option(option::SET_META_CONTEXT, &payload)
}

fn name(text: &str) -> Vec<u8> {
    [&length_of(text.as_bytes()).to_be_bytes(), text.as_bytes()].concat()
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("lengths of names are checked against MAX_CONTEXT_NAME")
}

/// The kind of an option reply; its payload of `len` bytes follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionReply {
    /// Done.
    Ack,
    /// A fact about the export.
    Info {
        /// Bytes of payload.
        len: u32,
    },
    /// A metadata context that was selected.
    MetaContext {
        /// Bytes of payload.
        len: u32,
    },
    /// The option failed; the payload may say why in words.
    Error {
        /// The protocol's number.
        code: u32,
        /// Bytes of payload.
        len: u32,
    },
}

/// Length of an option reply's head in bytes.
pub const OPTION_REPLY_LEN: usize = 20;

/// Reads the head of a reply to option `to`.
///
/// # Errors
/// [`Error::Protocol`] where it answers something else, is of an unknown kind or too long.
pub fn parse_option_reply(bytes: &[u8; OPTION_REPLY_LEN], to: u32) -> Result<OptionReply> {
    let mut fields = Fields::of("an option reply", bytes);
    if fields.u64()? != OPTION_REPLY_MAGIC {
        return Err(Error::protocol("an option reply has no magic number"));
    }
    let (answers, kind, len) = (fields.u32()?, fields.u32()?, fields.u32()?);
    if answers != to {
        return Err(Error::protocol(format!("it answered option {answers} where {to} was sent")));
    }
    if len > MAX_OPTION_REPLY {
        return Err(Error::protocol(format!("an option reply of {len} bytes, more than {MAX_OPTION_REPLY}")));
    }
    match kind {
        1 if len == 0 => Ok(OptionReply::Ack),
        3 => Ok(OptionReply::Info { len }),
        4 => Ok(OptionReply::MetaContext { len }),
        code if code & REPLY_ERROR != 0 => Ok(OptionReply::Error { code, len }),
        _ => Err(Error::protocol(format!("an option reply of kind {kind} with {len} bytes"))),
    }
}

/// Smallest, best and largest request, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    /// Offsets and lengths are multiples of it.
    pub min: u32,
    /// Multiples of it are fast.
    pub preferred: u32,
    /// No payload is longer.
    pub max: u32,
}

/// A fact about the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Info {
    /// Its size in bytes.
    Export {
        /// Bytes.
        size: u64,
    },
    /// Its limits on requests.
    BlockSize(BlockSizes),
    /// One that was not asked for.
    Other,
}

/// Reads the payload of [`OptionReply::Info`].
///
/// # Errors
/// [`Error::Protocol`] where it is cut, too long, or its block sizes make no sense.
pub fn parse_info(payload: &[u8]) -> Result<Info> {
    let mut fields = Fields::of("an export's description", payload);
    match fields.u16()? {
        INFO_EXPORT => {
            let (size, _flags) = (fields.u64()?, fields.u16()?);
            fields.end()?;
            if i64::try_from(size).is_err() {
                return Err(Error::protocol(format!("an export of {size} bytes")));
            }
            Ok(Info::Export { size })
        }
        INFO_BLOCK_SIZE => {
            let sizes = BlockSizes { min: fields.u32()?, preferred: fields.u32()?, max: fields.u32()? };
            fields.end()?;
            let ordered = sizes.min <= sizes.preferred && sizes.min <= sizes.max;
            if !sizes.min.is_power_of_two() || !ordered {
                return Err(Error::protocol(format!("block sizes that make no sense: {sizes:?}")));
            }
            Ok(Info::BlockSize(sizes))
        }
        _ => Ok(Info::Other),
    }
}

/// Reads the payload of [`OptionReply::MetaContext`]: the context's number and name.
///
/// # Errors
/// [`Error::Protocol`] where it is cut, or the name too long or not text.
pub fn parse_meta_context(payload: &[u8]) -> Result<(u32, &str)> {
    let mut fields = Fields::of("a metadata context", payload);
    let id = fields.u32()?;
    let name = fields.rest();
    if name.len() > MAX_CONTEXT_NAME {
        return Err(Error::protocol("a metadata context's name is too long"));
    }
    let name =
        std::str::from_utf8(name).map_err(|_| Error::protocol("a metadata context's name is not text"))?;
    Ok((id, name))
}

/// An option error in words: the server's own where it gave some.
#[must_use]
pub fn refusal(code: u32, payload: &[u8]) -> String {
    let usual = match code & !REPLY_ERROR {
        1 => "it does not know the option",
        2 => "its policy forbids it",
        3 => "it found the request invalid",
        4 => "it cannot do that on this platform",
        5 => "it requires TLS",
        6 => "it has no such export",
        7 => "it is shutting down",
        8 => "it requires block sizes to be honoured",
        9 => "the request is too big",
        _ => "it gave an error unknown to this client",
    };
    match std::str::from_utf8(payload) {
        Ok(words) if !words.is_empty() => format!("{usual} ({})", words.trim_end_matches('\0')),
        _ => usual.to_owned(),
    }
}
