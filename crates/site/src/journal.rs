//! What a site server keeps: an append-only file of checksummed records, written anew when
//! most of it is of no more use. A record counts once it is durable; what a crash has torn at
//! the end is dropped, and that is said. This module must never judge a record.
//!
//! ```text
//! header   8 bytes  "FARSITE" and the version
//! record   length u32 LE, CRC-32C u32 LE of the payload, payload (JSON)
//! ```

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use farshore_control::{Document, Key, Term};
use farshore_env::{File, Files, OpenMode, read_exact_at};
use farshore_pki::Registration;
use farshore_types::SiteId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Name of the file.
const FILE: &str = "site.journal";
/// Beginning of the file: what it is, and its version.
const MAGIC: [u8; 8] = *b"FARSITE\x01";
/// Bytes before a payload.
const HEAD: usize = 8;
/// Longest payload, in bytes.
const PAYLOAD_MAX: usize = 16 << 20;
/// Longest file that is read, in bytes.
const FILE_MAX: u64 = 4 << 30;
/// The file is written anew when it has grown to so many times what is of use, and...
const COMPACT_RATIO: u64 = 2;
/// ...at least by so many bytes.
const COMPACT_MIN: u64 = 1 << 20;

/// One thing that a site server has learned, or did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "of")]
pub enum Record {
    /// Whose journal this is.
    Site(SiteId),
    /// A vault spoke with a higher term than any before.
    Term(Term),
    /// A document is the newest of its key.
    Document(Box<Document>),
    /// A document that says that nothing is to be done any more was forgotten.
    Forgotten(Key),
    /// A registration key was made, used or withdrawn.
    Registration(Registration),
}

/// The journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is none, or of a newer version.
    #[error("{} is no journal of a site server of this version: start the right one, or move it away; everything but registration keys comes again from the vault", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A record is too long to be kept.
    #[error("a record of {len} bytes is longer than the journal takes ({PAYLOAD_MAX})")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes at the end that were torn by a crash, and dropped.
    pub torn: u64,
    /// Whether what was dropped is more than a crash leaves: records that were durable once
    /// may be among it.
    pub damaged: bool,
}

/// An open journal.
pub struct Journal {
    files: Arc<dyn Files>,
    dir: PathBuf,
    file: Arc<dyn File>,
    /// Where the next record goes.
    end: u64,
    /// Bytes after the last time it was written anew.
    whole: u64,
    /// Whether an append failed: what is on disk after `end` is not known.
    in_doubt: bool,
}

impl Journal {
    /// Opens the journal in `dir`, or begins one.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(files: Arc<dyn Files>, dir: &Path) -> Result<(Journal, Vec<Record>, Opened), JournalError> {
        let path = dir.join(FILE);
        let io = |what| io_error(what, &path);
        files.create_dir_all(dir).map_err(io("create the directory of"))?;
        let bytes = match files.open(&path, OpenMode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            file => Some(read(&*file.map_err(io("open"))?).map_err(io("read"))?),
        };
        let fresh = bytes.as_ref().is_none_or(|bytes| bytes.len() < MAGIC.len());
        if fresh {
            write_whole(&*files, dir, &[]).map_err(io("write"))?;
        }
        let bytes = bytes.filter(|_| !fresh).unwrap_or_else(|| MAGIC.to_vec());
        if !bytes.starts_with(&MAGIC) {
            return Err(JournalError::Foreign { path });
        }
        let (records, end, damaged) = decode(&bytes);
        let file = files.open(&path, OpenMode::Write).map_err(io("open"))?;
        let torn = bytes.len() as u64 - end;
        if torn > 0 {
            file.set_size(end).map_err(io("cut"))?;
            file.sync().map_err(io("sync"))?;
        }
        let journal = Journal { files, dir: dir.to_owned(), file, end, whole: end, in_doubt: false };
        Ok((journal, records, Opened { torn, damaged }))
    }

    /// Makes records durable, all or (after an error) possibly some of them.
    ///
    /// # Errors
    /// [`JournalError`]; then none of them may be acted on.
    pub fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        if records.is_empty() {
            return Ok(());
        }
        let path = self.path();
        let bytes = encode(records)?;
        let io = |what| io_error(what, &path);
        if self.in_doubt {
            self.file.set_size(self.end).map_err(io("cut"))?;
        }
        self.in_doubt = true;
        self.file.write_at(&bytes, self.end).map_err(io("write"))?;
        self.file.sync().map_err(io("sync"))?;
        self.in_doubt = false;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Whether most of the file is of no more use.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.end > self.whole.saturating_mul(COMPACT_RATIO).max(self.whole + COMPACT_MIN)
    }

    /// Writes the journal anew, with these records alone.
    ///
    /// # Errors
    /// [`JournalError`]; the old one stays in force then.
    pub fn rewrite(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let path = self.path();
        let bytes = encode(records)?;
        write_whole(&*self.files, &self.dir, &bytes).map_err(io_error("write", &path))?;
        self.file = self.files.open(&path, OpenMode::Write).map_err(io_error("open", &path))?;
        self.end = (MAGIC.len() + bytes.len()) as u64;
        (self.whole, self.in_doubt) = (self.end, false);
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }
}

fn io_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError + use<> {
    let path = path.to_owned();
    move |source| JournalError::Io { what, path: path.clone(), source }
}

fn read(file: &dyn File) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?.min(FILE_MAX)).unwrap_or(0);
    let mut bytes = vec![0; size];
    read_exact_at(file, &mut bytes, 0)?;
    Ok(bytes)
}

/// Under another name first: a journal is whole, or the old one.
fn write_whole(files: &dyn Files, dir: &Path, records: &[u8]) -> io::Result<()> {
    let (path, new) = (dir.join(FILE), dir.join(format!("{FILE}.tmp")));
    let file = files.open(&new, OpenMode::Truncate)?;
    file.write_at(&MAGIC, 0)?;
    file.write_at(records, MAGIC.len() as u64)?;
    file.sync()?;
    files.rename(&new, &path)?;
    files.sync_dir(dir)
}

fn encode(records: &[Record]) -> Result<Vec<u8>, JournalError> {
    let mut bytes = Vec::new();
    for record in records {
        let payload = serde_json::to_vec(record).unwrap_or_default();
        let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_MAX);
        let len = len.ok_or(JournalError::TooLong { len: payload.len() })?;
        bytes.extend(len.to_le_bytes());
        bytes.extend(crc32c::crc32c(&payload).to_le_bytes());
        bytes.extend(payload);
    }
    Ok(bytes)
}

/// The records that are whole, where they end, and whether more is lost than a crash tears.
fn decode(bytes: &[u8]) -> (Vec<Record>, u64, bool) {
    let (mut records, mut at) = (Vec::new(), MAGIC.len());
    loop {
        match next(&bytes[at..]) {
            Some((record, len)) => {
                records.push(record);
                at += len;
            }
            None => return (records, at as u64, goes_on_after(&bytes[at..])),
        }
    }
}

fn next(bytes: &[u8]) -> Option<(Record, usize)> {
    let number = |from: usize| Some(u32::from_le_bytes(bytes.get(from..from + 4)?.try_into().ok()?));
    let len = usize::try_from(number(0)?).ok().filter(|len| *len <= PAYLOAD_MAX)?;
    let payload = bytes.get(HEAD..HEAD + len)?;
    if crc32c::crc32c(payload) != number(4)? {
        return None;
    }
    Some((serde_json::from_slice(payload).ok()?, HEAD + len))
}

/// Whether a whole record stands somewhere behind the first that is not: a crash tears the
/// end, and leaves nothing behind that.
fn goes_on_after(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|at| next(&bytes[at..]).is_some())
}

#[cfg(test)]
mod tests;
