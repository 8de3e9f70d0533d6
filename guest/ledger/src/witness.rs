//! The file on the guest's first disk that names the newest record on its second: one
//! sector, so that no crash can tear it. It knows nothing of the ledger disk.

use thiserror::Error;

use crate::record::{LedgerId, field};

/// Bytes of the file: one sector, written in place.
pub const WITNESS_BYTES: usize = 512;

const MAGIC: [u8; 8] = *b"FSWITNES";
const DIGEST_AT: usize = WITNESS_BYTES - 32;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The ledger it speaks of.
    pub ledger: LedgerId,
    /// The newest record that was flushed before this was written; 0 before the first.
    pub number: u64,
}

/// Why bytes are not a witness.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WitnessFault {
    /// The file has another length.
    #[error("the file has {0} bytes instead of {WITNESS_BYTES}")]
    Length(usize),
    /// Torn, altered or never written.
    #[error("the file is damaged")]
    Damaged,
}

impl Witness {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; WITNESS_BYTES] {
        let mut bytes = [0; WITNESS_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.ledger.0);
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        let digest = blake3::hash(&bytes[..DIGEST_AT]);
        bytes[DIGEST_AT..].copy_from_slice(digest.as_bytes());
        bytes
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// When they have the wrong length, magic or checksum.
    pub fn decode(bytes: &[u8]) -> Result<Witness, WitnessFault> {
        if bytes.len() != WITNESS_BYTES {
            return Err(WitnessFault::Length(bytes.len()));
        }
        let digest = blake3::hash(&bytes[..DIGEST_AT]);
        if bytes[0..8] != MAGIC || bytes[DIGEST_AT..] != *digest.as_bytes() {
            return Err(WitnessFault::Damaged);
        }
        Ok(Witness { ledger: LedgerId(field(bytes, 8)), number: u64::from_le_bytes(field(bytes, 24)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_survives_its_bytes_and_nothing_else_passes() {
        let witness = Witness { ledger: LedgerId([3; 16]), number: 77 };
        let bytes = witness.encode();
        assert_eq!(Witness::decode(&bytes), Ok(witness));
        assert_eq!(Witness::decode(&bytes[1..]), Err(WitnessFault::Length(511)));
        assert_eq!(Witness::decode(&[0; WITNESS_BYTES]), Err(WitnessFault::Damaged));
        let mut bad = bytes;
        bad[24] ^= 1;
        assert_eq!(Witness::decode(&bad), Err(WitnessFault::Damaged));
    }
}
