//! From a fresh connection to a chosen export. This module must never know what is read
//! from it later.

use std::{collections::HashMap, io};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{
    Error, Options, Result,
    protocol::{self, BlockSizes, Info, OptionReply, option},
};

/// Most replies that one option may get: a bound on a server that never ends.
const MAX_OPTION_REPLIES: usize = 1024;
/// What a server means that says nothing about block sizes.
const DEFAULT_BLOCK_SIZES: BlockSizes = BlockSizes { min: 1, preferred: 4096, max: protocol::MAX_READ };

/// What was agreed upon.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) size: u64,
    pub(crate) blocks: BlockSizes,
    /// Number of each metadata context by its name.
    pub(crate) contexts: HashMap<String, u32>,
}

/// Greets, selects structured replies, contexts and the export.
pub(crate) async fn negotiate(stream: &mut UnixStream, options: &Options) -> Result<Agreed> {
    check_names(options)?;
    let mut greeting = [0; protocol::GREETING_LEN];
    stream.read_exact(&mut greeting).await.map_err(lost)?;
    let greeting = protocol::parse_greeting(&greeting)?;
    stream.write_all(&protocol::client_flags(greeting)).await.map_err(lost)?;

    send(stream, protocol::encode_option(option::STRUCTURED_REPLY, &[])).await?;
    replies(stream, option::STRUCTURED_REPLY, "structured replies").await?;
    let contexts =
        if options.contexts.is_empty() { HashMap::new() } else { set_contexts(stream, options).await? };
    let (size, blocks) = go(stream, &options.export).await?;
    Ok(Agreed { size, blocks, contexts })
}

fn check_names(options: &Options) -> Result<()> {
    match options.contexts.iter().chain([&options.export]).find(|n| n.len() > protocol::MAX_CONTEXT_NAME) {
        None => Ok(()),
        Some(name) => {
            let why =
                format!("names have at most {} bytes, this one {}", protocol::MAX_CONTEXT_NAME, name.len());
            Err(Error::Refused { option: "a name".to_owned(), why })
        }
    }
}

async fn set_contexts(stream: &mut UnixStream, options: &Options) -> Result<HashMap<String, u32>> {
    let wanted = &options.contexts;
    send(stream, protocol::encode_set_meta_context(&options.export, wanted)).await?;
    let mut found = HashMap::new();
    let asked = format!("the metadata contexts of export '{}'", options.export);
    for payload in replies(stream, option::SET_META_CONTEXT, &asked).await? {
        let (id, name) = protocol::parse_meta_context(&payload)?;
        found.insert(name.to_owned(), id);
    }
    match wanted.iter().find(|name| !found.contains_key(*name)) {
        None => Ok(found),
        Some(missing) => Err(Error::Refused {
            option: format!("metadata context '{missing}'"),
            why: format!("export '{}' does not have it", options.export),
        }),
    }
}

async fn go(stream: &mut UnixStream, export: &str) -> Result<(u64, BlockSizes)> {
    send(stream, protocol::encode_go(export)).await?;
    let (mut size, mut blocks) = (None, DEFAULT_BLOCK_SIZES);
    for payload in replies(stream, option::GO, &format!("export '{export}'")).await? {
        match protocol::parse_info(&payload)? {
            Info::Export { size: bytes } => size = Some(bytes),
            Info::BlockSize(sizes) => blocks = sizes,
            Info::Other => {}
        }
    }
    let size = size.ok_or_else(|| Error::protocol("it did not tell the export's size"))?;
    Ok((size, blocks))
}

/// Payloads of all replies up to the acknowledgement.
async fn replies(stream: &mut UnixStream, to: u32, asked: &str) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    for _ in 0..MAX_OPTION_REPLIES {
        let mut head = [0; protocol::OPTION_REPLY_LEN];
        stream.read_exact(&mut head).await.map_err(lost)?;
        match protocol::parse_option_reply(&head, to)? {
            OptionReply::Ack => return Ok(out),
            OptionReply::Info { len } if to == option::GO => out.push(payload(stream, len).await?),
            OptionReply::MetaContext { len } if to == option::SET_META_CONTEXT => {
                out.push(payload(stream, len).await?);
            }
            OptionReply::Error { code, len } => {
                let words = payload(stream, len).await?;
                // Best effort: the server learns that this client goes; the error is what counts.
                drop(send(stream, protocol::encode_option(option::ABORT, &[])).await);
                return Err(Error::Refused {
                    option: asked.to_owned(),
                    why: protocol::refusal(code, &words),
                });
            }
            other => return Err(Error::protocol(format!("it answered option {to} with {other:?}"))),
        }
    }
    Err(Error::protocol(format!("more than {MAX_OPTION_REPLIES} replies to one option")))
}

async fn payload(stream: &mut UnixStream, len: u32) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    stream.read_exact(&mut bytes).await.map_err(lost)?;
    Ok(bytes)
}

async fn send(stream: &mut UnixStream, bytes: Vec<u8>) -> Result<()> {
    stream.write_all(&bytes).await.map_err(lost)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn lost(source: io::Error) -> Error {
    Error::lost("during the negotiation", &source)
}
