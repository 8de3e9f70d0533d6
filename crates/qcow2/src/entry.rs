//! L2 entries: where one guest cluster's bytes are.

use crate::{FormatError, Geometry};

/// Unit in which compressed clusters are counted, whatever the device's sector size.
pub const SECTOR: u64 = 512;

/// Set in an active L1 or L2 entry exactly where the reference count is one.
pub const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const READS_AS_ZERO: u64 = 1;
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

/// What an L2 table says of one guest cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2Entry {
    /// Reads from the backing file, or as zeros without one.
    Unallocated,
    /// Reads as zeros whatever the backing file holds.
    Zero,
    /// The cluster's bytes as they are, at a cluster-aligned place.
    Raw {
        /// Byte offset in the file.
        offset: u64,
    },
    /// The cluster's bytes compressed, at any place.
    Compressed {
        /// Byte offset in the file.
        offset: u64,
        /// Bytes to read; as read back from a table, up to the end of the last sector.
        len: u64,
    },
}

impl L2Entry {
    /// The entry as the format stores it, without [`COPIED`].
    #[must_use]
    pub fn encode(self, geometry: Geometry) -> u64 {
        match self {
            L2Entry::Unallocated => 0,
            L2Entry::Zero => READS_AS_ZERO,
            L2Entry::Raw { offset } => offset,
            L2Entry::Compressed { offset, len } => {
                let sectors = (offset + len - 1) / SECTOR - offset / SECTOR;
                COMPRESSED | (sectors << sector_shift(geometry)) | offset
            }
        }
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// Where reserved bits are set or a raw cluster is not aligned.
    pub fn decode(entry: u64, geometry: Geometry) -> Result<L2Entry, FormatError> {
        if entry & COMPRESSED != 0 {
            let shift = sector_shift(geometry);
            let offset = entry & ((1 << shift) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> shift;
            let len = (sectors + 1) * SECTOR - offset % SECTOR;
            return Ok(L2Entry::Compressed { offset, len });
        }
        let offset = entry & OFFSET_MASK;
        let refuse = |why| Err(FormatError::Field { field: "L2 entry", value: entry, why });
        if entry & !(OFFSET_MASK | COPIED | READS_AS_ZERO) != 0 {
            return refuse("has reserved bits set");
        }
        if !offset.is_multiple_of(geometry.cluster()) {
            return refuse("does not point to the start of a cluster");
        }
        match (entry & READS_AS_ZERO != 0, offset) {
            (true, _) => Ok(L2Entry::Zero),
            (false, 0) => Ok(L2Entry::Unallocated),
            (false, offset) => Ok(L2Entry::Raw { offset }),
        }
    }
}

/// First bit of a compressed entry's count of additional sectors.
const fn sector_shift(geometry: Geometry) -> u32 {
    62 - (geometry.cluster_bits() - 8)
}

/// Host clusters whose reference count an entry raises, as an index range.
#[must_use]
pub fn host_clusters(entry: L2Entry, geometry: Geometry) -> std::ops::Range<u64> {
    let bits = geometry.cluster_bits();
    match entry {
        L2Entry::Unallocated | L2Entry::Zero => 0..0,
        L2Entry::Raw { offset } => offset >> bits..(offset >> bits) + 1,
        // The format counts whole sectors, as the reader will fetch them.
        L2Entry::Compressed { offset, len } => {
            let end = (offset + len).div_ceil(SECTOR) * SECTOR;
            ((offset / SECTOR * SECTOR) >> bits)..((end - 1) >> bits) + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_entry_counts_the_sectors_after_its_first() {
        let g = Geometry::DEFAULT;
        // 600 bytes from 1000: sectors 1 to 3, so two additional ones.
        let entry = L2Entry::Compressed { offset: 1000, len: 600 }.encode(g);
        assert_eq!(entry, (1 << 62) | (2 << 54) | 1000);
        assert_eq!(L2Entry::decode(entry, g), Ok(L2Entry::Compressed { offset: 1000, len: 1048 }));
    }

    #[test]
    fn entries_survive_their_encoding_in_every_geometry() {
        for bits in [9, 12, 16, 21] {
            let g = Geometry::new(bits).unwrap();
            for entry in [
                L2Entry::Unallocated,
                L2Entry::Zero,
                L2Entry::Raw { offset: g.cluster() * 7 },
                L2Entry::Compressed { offset: 5 * SECTOR, len: SECTOR },
            ] {
                assert_eq!(L2Entry::decode(entry.encode(g), g), Ok(entry));
            }
        }
    }

    #[test]
    fn a_compressed_cluster_counts_in_every_host_cluster_it_touches() {
        let g = Geometry::DEFAULT;
        let touched = |offset, len| host_clusters(L2Entry::Compressed { offset, len }, g);
        assert_eq!(touched(65536, 65536), 1..2);
        assert_eq!(touched(65536 - 512, 513), 0..2);
        assert_eq!(touched(131_072 - 1, 2), 1..3);
    }

    #[test]
    fn reserved_bits_and_misaligned_places_are_refused() {
        assert!(L2Entry::decode(2, Geometry::DEFAULT).is_err());
        assert!(L2Entry::decode(512, Geometry::DEFAULT).is_err());
    }
}
