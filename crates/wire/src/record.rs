//! One cluster's change: its head of 32 bytes and the bytes stored for it.
//!
//! ```text
//! offset  bytes  field
//!      0      8  cluster
//!      8      1  kind: 1 raw, 2 zstd, 3 zero, 4 discard, 5 patch (from version 2 on)
//!      9      2  a patch's blocks: bit n stands for the n-th 4 KiB; else 0
//!     11      1  a patch's encoding: 0 raw, 1 zstd; else 0
//!     12      4  stored bytes
//!     16     16  digest of the whole plain cluster; zeros for zero and discard
//! ```
//!
//! Heads of a frame stand together before all bodies: the writer then hands the bodies
//! on as the slices they are, and the reader checks all heads before it looks at data.
//! Whether a zstd body unpacks to its digest, and whether a patch makes it out of what the
//! replica holds, is the replica's to check.

use bytes::Bytes;
use farshore_types::{BLOCK_SIZE, CLUSTER_SIZE, Digest};
use thiserror::Error;

use crate::{
    codec::{Input, Output},
    error::FrameError,
    stream::Covered,
};

/// Bytes of a record's head.
pub(crate) const RECORD_HEAD_LEN: usize = 32;

const RAW: u8 = 1;
const ZSTD: u8 = 2;
const ZERO: u8 = 3;
const DISCARD: u8 = 4;
const PATCH: u8 = 5;

/// What one cluster holds from this cycle on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which cluster of its disk, from 0.
    pub cluster: u64,
    /// Digest of the plain content; [`Digest::ZERO`] exactly for zero and discard.
    pub digest: Digest,
    /// The content.
    pub body: Body,
}

/// How a record carries its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All bytes of the cluster; a last, partial cluster is padded with zeros.
    Raw(Bytes),
    /// One zstd frame that unpacks to the whole cluster, shorter than it.
    Zstd(Bytes),
    /// Zeros that the guest wrote.
    Zero,
    /// The guest gave the cluster back; it reads as zeros.
    Discard,
    /// Some of the cluster's blocks; the others are as in the cycle's base.
    Patch(Patch),
}

/// Some of a cluster's sixteen blocks of 4 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Which: bit n stands for the n-th block. Neither none nor all.
    pub blocks: u16,
    /// Whether the bytes are one zstd frame.
    pub packed: bool,
    /// The blocks in order.
    pub bytes: Bytes,
}

impl Patch {
    /// Plain bytes of the blocks.
    #[must_use]
    pub fn plain_len(&self) -> usize {
        self.blocks.count_ones() as usize * BLOCK_SIZE
    }
}

/// A record that breaks a rule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// A patch of no block says nothing, one of all blocks is a whole cluster.
    #[error("cluster {cluster}: a patch cannot have the blocks {blocks:#06x}")]
    Blocks {
        /// Which cluster.
        cluster: u64,
        /// What the head says.
        blocks: u16,
    },
    /// No such encoding of a patch.
    #[error("cluster {cluster}: no patch has encoding {encoding}")]
    Encoding {
        /// Which cluster.
        cluster: u64,
        /// What the head says.
        encoding: u8,
    },
    /// No such kind.
    #[error("cluster {cluster}: no record is of kind {kind}")]
    Kind {
        /// Which cluster.
        cluster: u64,
        /// What the head says.
        kind: u8,
    },
    /// The stored length does not fit the kind.
    #[error("cluster {cluster}: a {kind} record cannot store {len} bytes")]
    Length {
        /// Which cluster.
        cluster: u64,
        /// The record's kind.
        kind: &'static str,
        /// What the head says.
        len: u64,
    },
    /// Zeros travel as zero records, and nothing else has the digest of zeros.
    #[error("cluster {cluster}: the digest of a {kind} record {rule} be that of zeros")]
    ZeroDigest {
        /// Which cluster.
        cluster: u64,
        /// The record's kind.
        kind: &'static str,
        /// "must" or "must not".
        rule: &'static str,
    },
    /// The bytes are not what the digest says.
    #[error("cluster {cluster}: content of digest {actual:?} came under digest {claimed:?}")]
    Digest {
        /// Which cluster.
        cluster: u64,
        /// In the head.
        claimed: Digest,
        /// Of the bytes.
        actual: Digest,
    },
}

impl Record {
    /// Whether it carries only part of its cluster.
    #[must_use]
    pub fn is_patch(&self) -> bool {
        matches!(self.body, Body::Patch(_))
    }

    /// Bytes stored for the cluster.
    #[must_use]
    pub fn stored(&self) -> &[u8] {
        match &self.body {
            Body::Raw(bytes) | Body::Zstd(bytes) => bytes,
            Body::Patch(patch) => &patch.bytes,
            Body::Zero | Body::Discard => &[],
        }
    }

    /// Whether the frame's checksum covers the body: of a raw one, the digest says more.
    pub(crate) fn is_covered(&self) -> bool {
        !matches!(self.body, Body::Raw(_))
    }

    /// The body's bytes, shared, where there are any.
    pub(crate) fn covered(&self) -> Option<Covered> {
        let bytes = match &self.body {
            Body::Raw(bytes) | Body::Zstd(bytes) => bytes.clone(),
            Body::Patch(patch) => patch.bytes.clone(),
            Body::Zero | Body::Discard => return None,
        };
        Some(Covered { bytes, by_checksum: self.is_covered() })
    }

    /// Bytes that the record takes in a frame.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        RECORD_HEAD_LEN + self.stored().len()
    }

    /// Checks length and digest rules, not the content.
    ///
    /// # Errors
    /// The broken rule.
    pub fn check(&self) -> Result<(), RecordError> {
        let (cluster, len) = (self.cluster, self.stored().len());
        let (_, kind) = self.body.kind();
        if let Body::Patch(Patch { blocks: blocks @ (0 | u16::MAX), .. }) = self.body {
            return Err(RecordError::Blocks { cluster, blocks });
        }
        let fits = match &self.body {
            Body::Patch(patch) if patch.packed => (1..patch.plain_len()).contains(&len),
            Body::Patch(patch) => len == patch.plain_len(),
            Body::Raw(_) => len == CLUSTER_SIZE,
            Body::Zstd(_) => (1..CLUSTER_SIZE).contains(&len),
            Body::Zero | Body::Discard => true,
        };
        if !fits {
            return Err(RecordError::Length { cluster, kind, len: len as u64 });
        }
        let zeros = matches!(self.body, Body::Zero | Body::Discard);
        if zeros != self.digest.is_zero() {
            return Err(RecordError::ZeroDigest {
                cluster,
                kind,
                rule: if zeros { "must" } else { "must not" },
            });
        }
        Ok(())
    }

    /// Checks the rules, and of a raw record that the content has its digest.
    ///
    /// # Errors
    /// The broken rule.
    pub fn verify(&self) -> Result<(), RecordError> {
        self.check()?;
        if let Body::Raw(bytes) = &self.body {
            let actual = Digest::of(bytes);
            if actual != self.digest {
                return Err(RecordError::Digest { cluster: self.cluster, claimed: self.digest, actual });
            }
        }
        Ok(())
    }

    pub(crate) fn encode_head(&self, out: &mut Output) {
        out.u64(self.cluster);
        out.u8(self.body.kind().0);
        let (blocks, encoding) = match &self.body {
            Body::Patch(patch) => (patch.blocks, u8::from(patch.packed)),
            _ => (0, 0),
        };
        out.u16(blocks);
        out.u8(encoding);
        out.len(self.stored().len());
        out.slice(&self.digest.0);
    }
}

impl Body {
    fn kind(&self) -> (u8, &'static str) {
        match self {
            Body::Raw(_) => (RAW, "raw"),
            Body::Zstd(_) => (ZSTD, "zstd"),
            Body::Zero => (ZERO, "zero"),
            Body::Discard => (DISCARD, "discard"),
            Body::Patch(_) => (PATCH, "patch"),
        }
    }
}

/// A head as it arrived; its body follows after all heads.
pub(crate) struct Head {
    cluster: u64,
    kind: u8,
    blocks: u16,
    packed: bool,
    len: u32,
    digest: Digest,
}

impl Head {
    pub(crate) fn decode(index: usize, input: &mut Input) -> Result<Head, FrameError> {
        let cluster = input.u64("record cluster")?;
        let kind = input.u8("record kind")?;
        let (mut blocks, mut packed) = (0, false);
        if kind == PATCH {
            blocks = input.u16("patch blocks")?;
            packed = match input.u8("patch encoding")? {
                0 => false,
                1 => true,
                encoding => {
                    let source = RecordError::Encoding { cluster, encoding };
                    return Err(FrameError::Record { index, source });
                }
            };
        } else {
            input.reserved("record byte 9 to 11", 3)?;
        }
        Ok(Head { cluster, kind, blocks, packed, len: input.u32("record length")?, digest: input.digest()? })
    }

    /// Takes the body from the input. The length is checked first, so that a wrong one
    /// cannot shift the bodies after it.
    pub(crate) fn body(self, index: usize, input: &mut Input) -> Result<Record, FrameError> {
        let Head { cluster, kind, blocks, packed, len, digest } = self;
        let wrong = |source| FrameError::Record { index, source };
        let stored = input.take("record body", len as usize)?;
        let body = match kind {
            RAW => Body::Raw(stored),
            ZSTD => Body::Zstd(stored),
            ZERO | DISCARD if !stored.is_empty() => {
                let kind = if kind == ZERO { "zero" } else { "discard" };
                return Err(wrong(RecordError::Length { cluster, kind, len: u64::from(len) }));
            }
            ZERO => Body::Zero,
            DISCARD => Body::Discard,
            PATCH => Body::Patch(Patch { blocks, packed, bytes: stored }),
            kind => return Err(wrong(RecordError::Kind { cluster, kind })),
        };
        let record = Record { cluster, digest, body };
        record.check().map_err(wrong)?;
        Ok(record)
    }
}
