//! The qcow2 format, pure: bytes in, values out and back. Header, L1/L2 entries,
//! snapshot table, and the arithmetic of reference counts.
//!
//! Source of every rule: QEMU's `docs/interop/qcow2.txt`. This crate must never know
//! what a recovery point is, nor touch a file.

mod entry;
mod foreign;
pub mod fuzz;
mod header;
mod overlay;
mod snapshot;

pub use entry::{COPIED, L2Entry, SECTOR, host_clusters};
pub use foreign::{Compression, FOREIGN_HEADER_LEN, ForeignHeader, MAGIC};
pub use header::{Extension, HEADER_MAX, HEADER_READ, Header};
pub use overlay::{Overlay, OverlayImage};
pub use snapshot::{SNAPSHOTS_MAX, Snapshot, decode_table, encode_table};

use thiserror::Error;

/// Bytes that are not a qcow2 structure that this crate understands.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// The magic number is missing.
    #[error("not a qcow2 image: it begins with {0:#010x}, not with 'QFI\\xfb'")]
    Magic(u32),
    /// A structure ends before its last field.
    #[error("qcow2 {structure} is cut short: {have} bytes, {need} needed")]
    Short {
        /// Which structure.
        structure: &'static str,
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// A field has a value that the format or this crate does not allow.
    #[error("qcow2 {field} is {value:#x}, which {why}")]
    Field {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Why it cannot be.
        why: &'static str,
    },
}

/// Sizes that follow from an image's cluster size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    cluster_bits: u32,
}

impl Geometry {
    /// 64 KiB clusters, QEMU's default.
    pub const DEFAULT: Geometry = Geometry { cluster_bits: 16 };

    /// Geometry of clusters of `1 << cluster_bits` bytes; the format allows 9 to 21.
    ///
    /// # Errors
    /// Where `cluster_bits` is out of that range.
    pub fn new(cluster_bits: u32) -> Result<Geometry, FormatError> {
        if (9..=21).contains(&cluster_bits) {
            return Ok(Geometry { cluster_bits });
        }
        Err(FormatError::Field { field: "cluster_bits", value: cluster_bits.into(), why: "is not 9 to 21" })
    }

    /// Base-2 logarithm of the cluster size.
    #[must_use]
    pub const fn cluster_bits(self) -> u32 {
        self.cluster_bits
    }

    /// Bytes of a cluster.
    #[must_use]
    pub const fn cluster(self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries of one L2 table, which fills a cluster.
    #[must_use]
    pub const fn l2_entries(self) -> u64 {
        self.cluster() / 8
    }

    /// Entries an L1 table needs for a disk of `size` bytes.
    #[must_use]
    pub const fn l1_entries(self, size: u64) -> u64 {
        size.div_ceil(self.cluster() * self.l2_entries())
    }

    /// Reference counts in one refcount block: 32 bits each ([`REFCOUNT_ORDER`]).
    #[must_use]
    pub const fn refcounts_per_block(self) -> u64 {
        self.cluster() / 4
    }
}

/// 32-bit reference counts. 16 bits overflow at some twenty snapshots of data that
/// compresses well, because a host cluster counts every compressed cluster it holds.
pub const REFCOUNT_ORDER: u32 = 5;

/// Largest L1 table that QEMU opens, in bytes.
pub const L1_BYTES_MAX: u64 = 32 << 20;

pub(crate) struct Fields<'a> {
    structure: &'static str,
    bytes: &'a [u8],
}

/// Big-endian reads that cannot run past the end.
impl<'a> Fields<'a> {
    pub(crate) fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Fields { structure, bytes }
    }

    pub(crate) fn take(&self, at: usize, len: usize) -> Result<&'a [u8], FormatError> {
        let need = at.saturating_add(len);
        self.bytes.get(at..need).ok_or(FormatError::Short {
            structure: self.structure,
            have: self.bytes.len(),
            need,
        })
    }

    pub(crate) fn u16(&self, at: usize) -> Result<u16, FormatError> {
        Ok(u16::from_be_bytes(self.array(at)?))
    }

    pub(crate) fn u32(&self, at: usize) -> Result<u32, FormatError> {
        Ok(u32::from_be_bytes(self.array(at)?))
    }

    pub(crate) fn u64(&self, at: usize) -> Result<u64, FormatError> {
        Ok(u64::from_be_bytes(self.array(at)?))
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], FormatError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(at, N)?);
        Ok(out)
    }
}
