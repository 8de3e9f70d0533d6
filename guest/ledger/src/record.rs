//! One record of the ledger: 4 KiB, checksummed, naming its predecessor by digest.
//! It knows nothing of where records lie on a disk.
//!
//! | bytes     | what                                        |
//! |-----------|---------------------------------------------|
//! | 0–8       | magic                                       |
//! | 8–16      | version, little endian like all numbers     |
//! | 16–32     | ledger id                                   |
//! | 32–40     | number, from 1                              |
//! | 40–48     | the guest's clock, ms since 1970            |
//! | 48–80     | digest of the predecessor; zeros in the first |
//! | 80–4064   | payload: half pseudo-random, half text      |
//! | 4064–4096 | BLAKE3 of all before it                     |

use std::fmt;

use thiserror::Error;

/// Bytes of a record: what a disk takes in one aligned write.
pub const RECORD_BYTES: usize = 4096;

const MAGIC: [u8; 8] = *b"FSLEDGER";
const VERSION: u64 = 1;
const DIGEST_AT: usize = RECORD_BYTES - 32;
const PAYLOAD_AT: usize = 80;
/// Where the payload turns from noise to text: about half, so that it compresses like real data.
const TEXT_AT: usize = PAYLOAD_AT + (DIGEST_AT - PAYLOAD_AT) / 2;

/// BLAKE3 of a record's content.
pub type Hash = [u8; 32];

/// A record's bytes, aligned as direct I/O wants them.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; RECORD_BYTES]);

/// Tells one ledger from another that lay on the same disk earlier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LedgerId(pub [u8; 16]);

impl fmt::Debug for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// A record without its payload, which follows from id and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The ledger it belongs to.
    pub ledger: LedgerId,
    /// Its place in the order, from 1.
    pub number: u64,
    /// The guest's clock when it was written, milliseconds since 1970.
    pub written_ms: u64,
    /// Digest of record `number - 1`; zeros in record 1.
    pub predecessor: Hash,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RecordFault {
    /// No magic number: never written, or overwritten by something else.
    #[error("not a ledger record")]
    Foreign,
    /// Written by another version of this program.
    #[error("ledger format {0}, this program reads {VERSION}")]
    Version(u64),
    /// Torn or altered.
    #[error("checksum does not match")]
    Checksum,
}

impl Record {
    /// The record's bytes and the digest that its successor must name.
    #[must_use]
    pub fn encode(&self) -> (Box<Block>, Hash) {
        let mut block = Box::new(Block([0; RECORD_BYTES]));
        let bytes = &mut block.0;
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.ledger.0);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.written_ms.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.predecessor);
        self.fill(&mut bytes[PAYLOAD_AT..DIGEST_AT]);
        let digest = *blake3::hash(&bytes[..DIGEST_AT]).as_bytes();
        bytes[DIGEST_AT..].copy_from_slice(&digest);
        (block, digest)
    }

    /// Reads a record back with its digest.
    ///
    /// # Errors
    /// When the bytes are none, are of another version, or fail their checksum.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Result<(Record, Hash), RecordFault> {
        if bytes[0..8] != MAGIC {
            return Err(RecordFault::Foreign);
        }
        let version = u64::from_le_bytes(field(bytes, 8));
        if version != VERSION {
            return Err(RecordFault::Version(version));
        }
        let digest = *blake3::hash(&bytes[..DIGEST_AT]).as_bytes();
        if bytes[DIGEST_AT..] != digest {
            return Err(RecordFault::Checksum);
        }
        let record = Record {
            ledger: LedgerId(field(bytes, 16)),
            number: u64::from_le_bytes(field(bytes, 32)),
            written_ms: u64::from_le_bytes(field(bytes, 40)),
            predecessor: field(bytes, 48),
        };
        Ok((record, digest))
    }

    fn fill(&self, payload: &mut [u8]) {
        let (noise, text) = payload.split_at_mut(TEXT_AT - PAYLOAD_AT);
        let seed = blake3::Hasher::new().update(&self.ledger.0).update(&self.number.to_le_bytes()).clone();
        seed.finalize_xof().fill(noise);
        let line = format!("entry {} of the demo ledger; paid in full, with thanks. ", self.number);
        text.iter_mut().zip(line.bytes().cycle()).for_each(|(to, from)| *to = from);
    }
}

/// Copies the field of `N` bytes at `at`.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record { ledger: LedgerId([7; 16]), number: 42, written_ms: 1_700_000_000_123, predecessor: [9; 32] }
    }

    #[test]
    fn a_record_survives_its_bytes() {
        let (block, digest) = sample().encode();
        assert_eq!(Record::decode(&block.0), Ok((sample(), digest)));
    }

    #[test]
    fn any_flipped_byte_is_noticed() {
        let (block, _) = sample().encode();
        for at in (0..RECORD_BYTES).step_by(13) {
            let mut bad = block.0;
            bad[at] ^= 0x10;
            assert!(Record::decode(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_empty_block_is_foreign_and_not_corrupt() {
        assert_eq!(Record::decode(&[0; RECORD_BYTES]), Err(RecordFault::Foreign));
    }

    #[test]
    fn the_payload_is_half_noise() {
        let (block, _) = sample().encode();
        let distinct = |bytes: &[u8]| bytes.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!(distinct(&block.0[PAYLOAD_AT..TEXT_AT]) > 200);
        assert!(distinct(&block.0[TEXT_AT..DIGEST_AT]) < 64);
    }
}
