//! Images that other programs wrote, as far as reading the disk's bytes needs it: every
//! version, cluster size and compression, but nothing that lies outside of the file. An
//! image that names another file is refused: its content would not be its own.

use crate::{Fields, FormatError, Geometry, L1_BYTES_MAX};

/// Begins every qcow2 image.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Most bytes of a file that [`ForeignHeader::decode`] looks at.
pub const FOREIGN_HEADER_LEN: usize = 112;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const COMPRESSION_TYPE: u64 = 1 << 3;

/// How compressed clusters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A deflate stream without a header.
    Deflate,
    /// A zstd frame.
    Zstd,
}

/// What reading a disk's bytes needs of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignHeader {
    /// Cluster size.
    pub geometry: Geometry,
    /// Size of the disk as the guest sees it, in bytes.
    pub size: u64,
    /// Place of the active L1 table.
    pub l1_offset: u64,
    /// Entries of the active L1 table; at least as many as the disk needs.
    pub l1_entries: u32,
    /// How compressed clusters are.
    pub compression: Compression,
    /// Whether its unallocated clusters are another file's; else they read as zeros.
    pub layered: bool,
}

impl ForeignHeader {
    /// Reads the header from the file's first bytes.
    ///
    /// # Errors
    /// Where it is none, or one whose disk cannot be read from this file alone.
    pub fn decode(bytes: &[u8]) -> Result<ForeignHeader, FormatError> {
        let backing = Fields::new("header", bytes).u64(8).unwrap_or(0);
        if backing != 0 {
            let why = "says that part of the disk is in another file; flatten it with `qemu-img convert`";
            return Err(FormatError::Field { field: "backing file", value: backing, why });
        }
        ForeignHeader::decode_layer(bytes)
    }

    /// Reads the header of an image whose unallocated clusters may be another file's.
    ///
    /// # Errors
    /// Where it is none, or one whose own clusters cannot be read.
    pub fn decode_layer(bytes: &[u8]) -> Result<ForeignHeader, FormatError> {
        let f = Fields::new("header", bytes);
        let magic = f.u32(0)?;
        if magic.to_be_bytes() != MAGIC {
            return Err(FormatError::Magic(magic));
        }
        let refuse = |field, value, why| Err(FormatError::Field { field, value, why });
        let version = f.u32(4)?;
        if f.u32(32)? != 0 {
            return refuse("encryption method", f.u32(32)?.into(), "cannot be read; decrypt it first");
        }
        let features = match version {
            2 => 0,
            3 => f.u64(72)?,
            _ => return refuse("version", version.into(), "is not 2 or 3"),
        };
        if features & (DIRTY | CORRUPT) != 0 {
            let why = "say that it was not closed in order; `qemu-img check -r all` mends that";
            return refuse("incompatible features", features, why);
        }
        if features & !COMPRESSION_TYPE != 0 {
            let why = "include one that is not supported; copy it with `qemu-img convert`";
            return refuse("incompatible features", features, why);
        }
        let compression = match features & COMPRESSION_TYPE == 0 || f.u32(100)? <= 104 {
            true => 0,
            false => f.take(104, 1)?[0],
        };
        let header = ForeignHeader {
            geometry: Geometry::new(f.u32(20)?)?,
            size: f.u64(24)?,
            l1_offset: f.u64(40)?,
            l1_entries: f.u32(36)?,
            compression: match compression {
                0 => Compression::Deflate,
                1 => Compression::Zstd,
                other => return refuse("compression type", other.into(), "is not known"),
            },
            layered: f.u64(8)? != 0,
        };
        header.check_l1()?;
        Ok(header)
    }

    fn check_l1(&self) -> Result<(), FormatError> {
        let entries = u64::from(self.l1_entries);
        let refuse = |field, value, why| Err(FormatError::Field { field, value, why });
        if entries < self.geometry.l1_entries(self.size) {
            return refuse("L1 size", entries, "is too small for the disk");
        }
        if entries * 8 > L1_BYTES_MAX {
            return refuse("L1 size", entries, "is larger than any that QEMU opens");
        }
        match self.l1_offset.is_multiple_of(self.geometry.cluster()) {
            true => Ok(()),
            false => refuse("L1 offset", self.l1_offset, "is not at the start of a cluster"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 3 header of a 10 GiB disk.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; FOREIGN_HEADER_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&16u32.to_be_bytes());
        bytes[24..32].copy_from_slice(&(10u64 << 30).to_be_bytes());
        bytes[36..40].copy_from_slice(&20u32.to_be_bytes());
        bytes[40..48].copy_from_slice(&0x30000u64.to_be_bytes());
        bytes[100..104].copy_from_slice(&112u32.to_be_bytes());
        bytes
    }

    #[test]
    fn both_versions_and_both_compressions_are_read() {
        let header = ForeignHeader::decode(&sample()).unwrap();
        assert_eq!(
            (header.size, header.l1_entries, header.compression),
            (10 << 30, 20, Compression::Deflate)
        );
        let mut old = sample();
        old[7] = 2;
        assert!(ForeignHeader::decode(&old[..72]).is_ok());
        let mut zstd = sample();
        (zstd[79], zstd[104]) = (8, 1);
        assert_eq!(ForeignHeader::decode(&zstd).unwrap().compression, Compression::Zstd);
    }

    #[test]
    fn what_is_not_in_the_file_itself_is_refused_with_what_to_do() {
        for (at, value, says) in [
            (15, 8, "another file"),
            (35, 1, "decrypt"),
            (7, 4, "is not 2 or 3"),
            (39, 3, "too small"),
            (23, 30, "is not 9 to 21"),
            (46, 2, "start of a cluster"),
        ] {
            let mut bytes = sample();
            bytes[at] = value;
            let error = ForeignHeader::decode(&bytes).unwrap_err().to_string();
            assert!(error.contains(says), "byte {at}: {error}");
        }
        for (feature, says) in [(1, "check -r"), (2, "check -r"), (4, "not supported"), (16, "not supported")]
        {
            let mut bytes = sample();
            bytes[79] = feature;
            let error = ForeignHeader::decode(&bytes).unwrap_err().to_string();
            assert!(error.contains(says), "feature {feature}: {error}");
        }
        for len in 0..48 {
            assert!(ForeignHeader::decode(&sample()[..len]).is_err(), "{len}");
        }
    }
}
