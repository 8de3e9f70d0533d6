//! The delta file.
//!
//! ```text
//! pages of disk 0 | pages of disk 1 | … | definition | footer (JSON) | trailer (32 bytes)
//! page, 4 KiB:  crc32c u32 | entries u32 | zero [24] | up to 127 entries of 32 bytes, ascending
//! trailer:      "FSDELTA1" | footer offset u64 | footer length u32 | footer crc32c u32 | trailer crc32c u32 | 0 u32
//! ```
//! All integers little-endian. Every byte but padding is under a checksum, so that
//! damage is found where it is, and named. The footer is JSON so that it can be read by
//! eye on the day everything else is gone.

mod read;
mod write;

use farshore_types::{Consistency, DiskKey, PointId, RootDigest};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use read::{Cursor, DeltaFile};
pub use write::DeltaWriter;
pub(crate) use write::assembled;

use crate::ENTRY_LEN;

const MAGIC: &[u8; 8] = b"FSDELTA1";
const TRAILER_LEN: usize = 32;
const PAGE: usize = 4096;
const PAGE_HEAD: usize = 32;
pub(crate) const PAGE_ENTRIES: usize = (PAGE - PAGE_HEAD) / ENTRY_LEN;

/// Longest footer that is read, in bytes.
const FOOTER_MAX: u32 = 1 << 20;

/// Longest definition (with its attachments) that is read, in bytes.
const DEFINITION_MAX: u64 = 16 << 20;

/// What kind of chain element a delta seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ElementKind {
    /// A recovery point.
    Point(Consistency),
    /// A durable slice of an initial copy or resync: never shown, never brought up.
    Stage,
}

/// Size of a disk at an element, and where its pages are in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskInfo {
    /// The disk.
    pub key: DiskKey,
    /// Its size in bytes.
    pub size: u64,
    /// The smallest size it had since the element before: what older elements say counts
    /// only below this. 0 where it was away.
    pub floor: u64,
    /// Byte offset of its first page.
    pub offset: u64,
    /// Number of its pages.
    pub pages: u64,
    /// Number of its entries.
    pub entries: u64,
}

/// What a delta file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// The element that this delta leads to.
    pub id: PointId,
    /// The element that it starts from; `None` for the whole disk from nothing.
    pub parent: Option<PointId>,
    /// Digest chain up to and with this element.
    pub root: RootDigest,
    /// Point or stage.
    pub kind: ElementKind,
    /// The instant it shows, milliseconds since the Unix epoch by the target's clock (the
    /// arrival minus the age the source stated). For people; it orders nothing.
    pub captured_ms: u64,
    /// The same instant by a clock that neither goes back nor jumps: the element before it,
    /// and the time that really passed since. What is due and what is old goes by this. None
    /// in files of before it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady_ms: Option<u64>,
    /// Arrival of the seal, by the target's clock.
    pub sealed_ms: u64,
    /// Bytes stored for it: as they came over the wire, but that a patch is stored whole.
    pub received: u64,
    /// The machine's disks, in the order of the session.
    pub disks: Vec<DiskInfo>,
    /// Byte offset and length of the machine's definition.
    pub definition: (u64, u64),
    /// CRC-32C of the definition.
    pub definition_crc: u32,
}

impl Footer {
    /// The instant by the steady clock, in milliseconds.
    #[must_use]
    pub fn steady_ms(&self) -> u64 {
        self.steady_ms.unwrap_or(self.captured_ms)
    }
}

/// A delta file could not be read or written.
#[derive(Debug, Error)]
pub enum DeltaError {
    /// The system refused.
    #[error("delta file: {0}")]
    Io(#[from] std::io::Error),
    /// The content is not what was written.
    #[error("delta file is damaged: {what} at byte {offset}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// Entries were handed over out of order.
    #[error("delta entries must ascend: cluster {next} after {last}")]
    Order {
        /// The one before.
        last: u64,
        /// The offending one.
        next: u64,
    },
}

#[cfg(test)]
mod tests;
