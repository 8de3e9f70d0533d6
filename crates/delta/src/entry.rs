//! One changed cluster.

use farshore_types::{CLUSTER_BYTES, Digest};

/// Bytes of an entry in a delta file.
pub const ENTRY_LEN: usize = 32;

/// Sector in which places are counted.
const SECTOR: u64 = 512;
const SECTOR_BITS: u32 = 40;
const LEN_BITS: u32 = 17;
const KIND_SHIFT: u32 = 62;

/// Where a cluster's bytes are in the replica's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the cluster reads as zeros.
    Zero,
    /// In the backing file that was adopted, at the cluster's own place.
    Backing,
    /// As it is, at a byte offset that is a whole number of clusters.
    Raw(u64),
    /// Compressed, at a byte offset that is a whole number of sectors.
    Compressed {
        /// Byte offset.
        offset: u64,
        /// Stored bytes, 1 to 65,536.
        len: u32,
    },
}

impl Place {
    /// The byte range that the place occupies, in whole sectors.
    #[must_use]
    pub fn range(&self) -> Option<std::ops::Range<u64>> {
        match *self {
            Place::Zero | Place::Backing => None,
            Place::Raw(offset) => Some(offset..offset + CLUSTER_BYTES),
            Place::Compressed { offset, len } => {
                Some(offset..offset + u64::from(len).next_multiple_of(SECTOR))
            }
        }
    }

    fn pack(self) -> u64 {
        match self {
            Place::Zero => 0,
            Place::Backing => 1 << KIND_SHIFT,
            Place::Raw(offset) => (2 << KIND_SHIFT) | (offset / SECTOR),
            Place::Compressed { offset, len } => {
                (3 << KIND_SHIFT) | (u64::from(len) << SECTOR_BITS) | (offset / SECTOR)
            }
        }
    }

    fn unpack(packed: u64) -> Option<Place> {
        let offset = (packed & ((1 << SECTOR_BITS) - 1)) * SECTOR;
        let len = (packed >> SECTOR_BITS) & ((1 << LEN_BITS) - 1);
        match packed >> KIND_SHIFT {
            0 if packed == 0 => Some(Place::Zero),
            1 if len == 0 && offset == 0 => Some(Place::Backing),
            2 if len == 0 && offset.is_multiple_of(CLUSTER_BYTES) && offset > 0 => Some(Place::Raw(offset)),
            3 if (1..=CLUSTER_BYTES).contains(&len) && offset > 0 => {
                Some(Place::Compressed { offset, len: u32::try_from(len).ok()? })
            }
            _ => None,
        }
    }
}

/// One changed cluster: which, where its bytes are, what they digest to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index of the cluster within its disk.
    pub cluster: u64,
    /// Where its bytes are.
    pub place: Place,
    /// Digest of its plain content.
    pub digest: Digest,
}

impl Entry {
    /// The entry's bytes in a delta file.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        out[..8].copy_from_slice(&self.cluster.to_le_bytes());
        out[8..16].copy_from_slice(&self.place.pack().to_le_bytes());
        out[16..].copy_from_slice(&self.digest.0);
        out
    }

    /// Reads an entry; `None` where no place has these bits.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY_LEN]) -> Option<Entry> {
        let word = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(w)
        };
        let mut digest = [0; Digest::LEN];
        digest.copy_from_slice(&bytes[16..]);
        Some(Entry { cluster: word(0), place: Place::unpack(word(8))?, digest: Digest(digest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_place_survives_its_bytes() {
        for place in [
            Place::Zero,
            Place::Backing,
            Place::Raw(5 * CLUSTER_BYTES),
            Place::Compressed { offset: 3 * SECTOR, len: 1 },
            Place::Compressed { offset: (1 << 48) - SECTOR, len: 65_536 },
        ] {
            let entry = Entry { cluster: 9, place, digest: Digest([7; 16]) };
            assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }
    }

    #[test]
    fn impossible_places_are_refused() {
        for packed in
            [1, (1 << 62) | 1, (2 << 62) | 1, 2 << 62, (3 << 62) | 5, (3 << 62) | (70_000 << 40) | 5]
        {
            assert_eq!(Place::unpack(packed), None, "{packed:#x}");
        }
    }
}
