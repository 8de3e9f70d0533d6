//! One reply in the making: chunks come in any order and are put together, checked against
//! what was asked. This module must never know how chunks arrive.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use farshore_extent::{Run, Runs};

use crate::{Error, Result, pool::Pool, protocol::Command};

/// What a reply brought.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The content that was read.
    Content(Bytes),
    /// Extents (length in bytes, flags) by number of context.
    Extents(Vec<(u32, Vec<(u32, u32)>)>),
}

/// A request that was sent and the part of its reply that has come.
pub(crate) struct Assembly {
    pub(crate) command: Command,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    /// Content so far, from `offset` on without gaps; what no chunk covers yet is zero.
    content: BytesMut,
    /// Bytes of content that a chunk has brought, relative to `offset`.
    covered: Runs,
    extents: Vec<(u32, Vec<(u32, u32)>)>,
    error: Option<(u32, String)>,
    pool: Arc<Pool>,
}

impl Assembly {
    pub(crate) fn new(command: Command, offset: u64, len: u32, pool: Arc<Pool>) -> Assembly {
        Assembly {
            command,
            offset,
            len,
            content: BytesMut::new(),
            covered: Runs::new(),
            extents: Vec::new(),
            error: None,
            pool,
        }
    }

    /// Checks a chunk's place and gives it relative to the request's.
    fn place(&mut self, offset: u64, len: u32) -> Result<Run> {
        if self.command != Command::Read {
            return Err(Error::protocol("it sent content where none was asked for"));
        }
        let start = offset.checked_sub(self.offset);
        let run = start.map(|start| Run { start, len: len.into() }).filter(|r| r.end() <= self.len.into());
        let wrong = || {
            let asked = Run { start: self.offset, len: self.len.into() };
            Error::protocol(format!("it sent {len} bytes at {offset}, asked for {asked:?}"))
        };
        let run = run.ok_or_else(wrong)?;
        let one = Runs::from_iter([run]);
        if !self.covered.intersect(&one).is_empty() {
            return Err(Error::protocol(format!("it sent the bytes at {offset} twice")));
        }
        self.covered.insert(run);
        Ok(run)
    }

    /// Room for a data chunk: `Ok(true)` where it is to be appended to
    /// [`content`](Self::content), which then has the capacity; else it goes to
    /// [`middle`](Self::middle).
    pub(crate) fn data_at(&mut self, offset: u64, len: u32) -> Result<Run> {
        let run = self.place(offset, len)?;
        if self.content.capacity() == 0 {
            self.content = self.pool.take(self.len as usize);
        }
        Ok(run)
    }

    /// Content so far, to append to. A chunk that starts at its end needs no zeroing first.
    pub(crate) fn content(&mut self) -> &mut BytesMut {
        &mut self.content
    }

    /// The place of a chunk that does not continue the content.
    pub(crate) fn middle(&mut self, run: Run) -> &mut [u8] {
        let (start, end) = (index(run.start), index(run.end()));
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        &mut self.content[start..end]
    }

    pub(crate) fn hole_at(&mut self, offset: u64, len: u32) -> Result<()> {
        let run = self.place(offset, len)?;
        self.middle(run);
        Ok(())
    }

    pub(crate) fn extents(&mut self, context: u32, extents: Vec<(u32, u32)>) -> Result<()> {
        if self.command != Command::BlockStatus {
            return Err(Error::protocol("it sent a block status where none was asked for"));
        }
        if self.extents.iter().any(|(id, _)| *id == context) {
            return Err(Error::protocol("it sent the block status of a context twice"));
        }
        self.extents.push((context, extents));
        Ok(())
    }

    /// Notes an error; the first one of a reply counts.
    pub(crate) fn fail(&mut self, errno: u32, why: String) {
        self.error.get_or_insert((errno, why));
    }

    /// The whole reply, when its last chunk has come.
    pub(crate) fn finish(self) -> Result<Reply> {
        if let Some((errno, why)) = self.error {
            let (command, len) = (self.command.verb(), self.len.into());
            return Err(Error::Server { command, offset: self.offset, len, errno, why });
        }
        if self.command == Command::BlockStatus {
            return Ok(Reply::Extents(self.extents));
        }
        let got = self.covered.total();
        if got != u64::from(self.len) {
            return Err(Error::protocol(format!("it sent {got} of {} bytes at {}", self.len, self.offset)));
        }
        Ok(Reply::Content(self.pool.lend(self.content)))
    }
}

fn index(within_request: u64) -> usize {
    usize::try_from(within_request).expect("a request's length fits u32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(offset: u64, len: u32) -> Assembly {
        Assembly::new(Command::Read, offset, len, Arc::default())
    }

    #[test]
    fn chunks_in_any_order_make_one_buffer() {
        let mut reply = read(100, 12);
        let run = reply.data_at(108, 4).unwrap();
        reply.middle(run).copy_from_slice(b"last");
        reply.hole_at(104, 4).unwrap();
        let run = reply.data_at(100, 4).unwrap();
        reply.middle(run).copy_from_slice(b"head");
        let Reply::Content(bytes) = reply.finish().unwrap() else { panic!("not content") };
        assert_eq!(&bytes[..], b"head\0\0\0\0last");
    }

    #[test]
    fn a_byte_outside_the_request_or_sent_twice_is_refused() {
        assert!(read(100, 8).data_at(99, 2).is_err());
        assert!(read(100, 8).hole_at(107, 2).is_err());
        assert!(read(100, 8).hole_at(u64::MAX, 2).is_err());
        let mut twice = read(100, 8);
        twice.hole_at(100, 4).unwrap();
        assert!(twice.data_at(103, 1).is_err());
    }

    #[test]
    fn a_missing_byte_is_never_made_up() {
        let mut short = read(0, 8);
        short.hole_at(4, 4).unwrap();
        assert!(short.finish().unwrap_err().to_string().contains("4 of 8 bytes"));
    }
}
