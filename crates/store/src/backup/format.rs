//! A backup as bytes. This module must never know where they come from.
//!
//! ```text
//! "FSHVAULT"  u32 format   then frames:  u8 tag  u32 length  payload
//!   H header: u64 schema, term, instant, newest transaction; name
//!   R row:    u64 version; kind, key; body
//!   E event:  u64 version, u32 ordinal, u64 instant; topic, subject; body
//!   S sample: u64 instant; series, subject; body
//!   Z end:    u64 rows, events, samples; BLAKE3 of all bytes before it
//! ```
//! Integers are little-endian; a name is its u16 length and its bytes, a body is the rest.
//! What an older program cannot know, a higher format number says: it is refused.

use std::io::{self, Read};

use bytes::Bytes;

use super::{BackupInfo, BackupLabel, Counts};
use crate::{
    changes::{BODY_MAX, INSTANT_MAX_MS, KEY_MAX, KIND_MAX},
    record::{Event, EventId, Row, RowId, Sample, Version},
};

const MAGIC: &[u8; 8] = b"FSHVAULT";
/// The newest format; all older ones are read.
pub(super) const FORMAT: u32 = 1;
/// Longest payload: the largest body with its names and numbers.
const FRAME_MAX: usize = BODY_MAX + KIND_MAX + KEY_MAX + 64;
/// Longest name of a store.
const NAME_MAX: usize = 64;
const DIGEST_LEN: usize = 32;
/// Counts and digest.
const END_LEN: u32 = 3 * 8 + 32;

/// One piece of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Row(Row),
    Event(Event),
    Sample(Sample),
}

/// Why bytes are no backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where in the file, in bytes.
    pub(crate) at: u64,
    pub(crate) why: String,
    /// A format of a newer program, rather than damage.
    pub(crate) newer: Option<u64>,
}

/// Makes the bytes, piece by piece.
pub(super) struct Encoder {
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
    counts: Counts,
}

impl Encoder {
    pub(super) fn new(info: &BackupInfo) -> Encoder {
        let mut encoder =
            Encoder { bytes: Vec::new(), hasher: blake3::Hasher::new(), counts: Counts::default() };
        encoder.bytes.extend_from_slice(MAGIC);
        encoder.bytes.extend_from_slice(&FORMAT.to_le_bytes());
        let numbers = [info.schema, info.label.term, info.label.at_ms, info.version.0];
        encoder.frame(b'H', &numbers, None, &[&info.store], &[]);
        encoder
    }

    pub(super) fn push(&mut self, record: &Record) {
        match record {
            Record::Row(Row { id, version, body }) => {
                self.counts.rows += 1;
                self.frame(b'R', &[version.0], None, &[&id.kind, &id.key], body);
            }
            Record::Event(Event { id, topic, subject, at_ms, body }) => {
                self.counts.events += 1;
                self.frame(b'E', &[id.version.0, *at_ms], Some(id.ordinal), &[topic, subject], body);
            }
            Record::Sample(Sample { series, subject, at_ms, body }) => {
                self.counts.samples += 1;
                self.frame(b'S', &[*at_ms], None, &[series, subject], body);
            }
        }
    }

    fn frame(&mut self, tag: u8, numbers: &[u64], ordinal: Option<u32>, names: &[&String], body: &[u8]) {
        let fixed = numbers.len() * 8 + if ordinal.is_some() { 4 } else { 0 };
        let len = fixed + names.iter().map(|name| 2 + name.len()).sum::<usize>() + body.len();
        self.bytes.push(tag);
        // Names and bodies were checked when they were stored.
        self.bytes.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        numbers.iter().for_each(|number| self.bytes.extend_from_slice(&number.to_le_bytes()));
        ordinal.iter().for_each(|ordinal| self.bytes.extend_from_slice(&ordinal.to_le_bytes()));
        for name in names {
            self.bytes.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
            self.bytes.extend_from_slice(name.as_bytes());
        }
        self.bytes.extend_from_slice(body);
    }

    /// What is ready to be written.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.hasher.update(&self.bytes);
        std::mem::take(&mut self.bytes)
    }

    /// The last bytes, and how much is in it all.
    pub(super) fn finish(mut self) -> (Vec<u8>, Counts) {
        let Counts { rows, events, samples } = self.counts;
        self.bytes.push(b'Z');
        self.bytes.extend_from_slice(&END_LEN.to_le_bytes());
        [rows, events, samples].iter().for_each(|count| self.bytes.extend_from_slice(&count.to_le_bytes()));
        self.hasher.update(&self.bytes);
        let digest = self.hasher.finalize();
        self.bytes.extend_from_slice(digest.as_bytes());
        (self.bytes, self.counts)
    }
}

/// Reads the bytes, checking everything; only after the end is any of it to be believed.
pub(crate) struct Decoder<R> {
    input: R,
    at: u64,
    hasher: blake3::Hasher,
    info: BackupInfo,
    ended: bool,
}

impl<R: Read> Decoder<R> {
    /// Reads the header.
    pub(crate) fn new(input: R) -> Result<Decoder<R>, Damage> {
        let info = BackupInfo {
            schema: 0,
            label: BackupLabel { term: 0, at_ms: 0 },
            version: Version(0),
            store: String::new(),
            counts: Counts::default(),
        };
        let mut decoder = Decoder { input, at: 0, hasher: blake3::Hasher::new(), info, ended: false };
        let start: [u8; 12] = decoder.array()?;
        if !start.starts_with(MAGIC) {
            return Err(decoder.damage("it does not begin like a backup"));
        }
        let format = u32::from_le_bytes([start[8], start[9], start[10], start[11]]);
        if format == 0 || format > FORMAT {
            let newer = Some(u64::from(format)).filter(|format| *format > 0);
            return Err(Damage { newer, ..decoder.damage(&format!("its format is {format}")) });
        }
        let (tag, payload) = decoder.frame()?;
        if tag != b'H' {
            return Err(decoder.damage("it has no header"));
        }
        let mut parts = Parts(&payload);
        let header = parts.header();
        decoder.info =
            header.filter(|_| parts.0.is_empty()).ok_or_else(|| decoder.damage("its header is damaged"))?;
        Ok(decoder)
    }

    /// What it says about itself; the counts are right only after the end.
    pub(crate) fn info(&self) -> &BackupInfo {
        &self.info
    }

    /// The next piece; `None` at the end, when everything is found to be whole.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, Damage> {
        if self.ended {
            return Ok(None);
        }
        let (tag, payload) = self.frame()?;
        let mut parts = Parts(&payload);
        let counts = &mut self.info.counts;
        let record = match tag {
            b'R' => {
                counts.rows += 1;
                parts.row().map(Record::Row)
            }
            b'E' => {
                counts.events += 1;
                parts.event().map(Record::Event)
            }
            b'S' => {
                counts.samples += 1;
                parts.sample().map(Record::Sample)
            }
            b'Z' => return self.end(&payload).map(|()| None),
            _ => return Err(self.damage(&format!("a piece of unknown kind {tag}"))),
        };
        record.map(Some).ok_or_else(|| self.damage("a piece is damaged"))
    }

    fn end(&mut self, payload: &[u8]) -> Result<(), Damage> {
        let Counts { rows, events, samples } = self.info.counts;
        let mut parts = Parts(payload);
        if [parts.u64(), parts.u64(), parts.u64()] != [Some(rows), Some(events), Some(samples)] {
            return Err(self.damage("pieces are missing"));
        }
        if parts.0 != self.hasher.finalize().as_bytes() {
            return Err(self.damage("its checksum does not match"));
        }
        let mut more = [0];
        let more = self.input.read(&mut more).map_err(|error| self.damage(&error.to_string()))?;
        if more > 0 {
            return Err(self.damage("something follows its end"));
        }
        self.ended = true;
        Ok(())
    }

    /// Memory grows with what is really there, not with what a length claims.
    fn frame(&mut self) -> Result<(u8, Vec<u8>), Damage> {
        let [tag, a, b, c, d] = self.array()?;
        let claimed = u32::from_le_bytes([a, b, c, d]);
        let len = claimed as usize;
        if len > FRAME_MAX || (tag == b'Z' && claimed != END_LEN) {
            return Err(self.damage(&format!("a piece claims {len} bytes")));
        }
        let mut payload = Vec::new();
        let read = Read::by_ref(&mut self.input).take(len as u64).read_to_end(&mut payload);
        read.map_err(|error| self.damage(&error.to_string()))?;
        if payload.len() < len {
            return Err(self.damage("it ends too early"));
        }
        let hashed = if tag == b'Z' { len - DIGEST_LEN } else { len };
        self.hasher.update(&payload[..hashed]);
        self.at += len as u64;
        Ok((tag, payload))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => {
                self.hasher.update(&bytes);
                self.at += N as u64;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damage("it ends too early"))
            }
            Err(error) => Err(self.damage(&error.to_string())),
        }
    }

    fn damage(&self, why: &str) -> Damage {
        Damage { at: self.at, why: why.to_owned(), newer: None }
    }
}

/// A payload, taken apart from the front. Nothing is let through that could not be stored.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    /// A number that the databases' signed integers can hold.
    fn number(&mut self) -> Option<u64> {
        self.u64().filter(|number| *number <= INSTANT_MAX_MS)
    }

    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn name(&mut self, min: usize, max: usize) -> Option<String> {
        let (len, rest) = self.0.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        self.0 = rest;
        let fits = (min..=max).contains(&name.len()) && !name.contains(&0);
        fits.then(|| String::from_utf8(name.to_vec()).ok())?
    }

    fn body(&mut self) -> Option<Bytes> {
        let body = std::mem::take(&mut self.0);
        (body.len() <= BODY_MAX).then(|| Bytes::copy_from_slice(body))
    }

    fn header(&mut self) -> Option<BackupInfo> {
        let (schema, term) = (self.number()?, self.number()?);
        let (at_ms, version) = (self.number()?, Version(self.number()?));
        let store = self.name(1, NAME_MAX)?;
        Some(BackupInfo {
            schema,
            label: BackupLabel { term, at_ms },
            version,
            store,
            counts: Counts::default(),
        })
    }

    fn row(&mut self) -> Option<Row> {
        let version = Version(self.number()?);
        let id = RowId { kind: self.name(1, KIND_MAX)?, key: self.name(1, KEY_MAX)? };
        Some(Row { id, version, body: self.body()? })
    }

    fn event(&mut self) -> Option<Event> {
        let (version, at_ms) = (Version(self.number()?), self.number()?);
        let id = EventId { version, ordinal: self.u32()? };
        let (topic, subject) = (self.name(1, KIND_MAX)?, self.name(0, KEY_MAX)?);
        Some(Event { id, topic, subject, at_ms, body: self.body()? })
    }

    fn sample(&mut self) -> Option<Sample> {
        let at_ms = self.number()?;
        let (series, subject) = (self.name(1, KIND_MAX)?, self.name(0, KEY_MAX)?);
        Some(Sample { series, subject, at_ms, body: self.body()? })
    }
}

/// Any bytes with the checksum that makes them a backup, for fuzzers.
pub(crate) fn sealed(frames: &[u8], counts: Counts) -> Vec<u8> {
    let mut encoder = Encoder { bytes: Vec::new(), hasher: blake3::Hasher::new(), counts };
    encoder.bytes.extend_from_slice(MAGIC);
    encoder.bytes.extend_from_slice(&FORMAT.to_le_bytes());
    encoder.bytes.extend_from_slice(frames);
    encoder.finish().0
}

#[cfg(test)]
mod tests;
