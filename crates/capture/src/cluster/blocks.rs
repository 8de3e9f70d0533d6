//! What the sixteen 4 KiB blocks of a cluster digest to, and the file that this is kept in.
//!
//! ```text
//! entry, 128 bytes, at 128 × cluster:  16 × 7 bytes, a block's digest each | seal, 16 bytes
//! ```
//! The seal is the digest of the blocks' digests and of the whole cluster's. An entry counts
//! only for the cluster digest that it was made with, as the digest map has it: one that is
//! old, torn or lost is unknown, and costs a whole cluster. So the file is never synced, and
//! what is in it decides nothing but how much is sent.

use std::sync::Arc;

use farshore_env::{File, read_exact_at};
use farshore_types::{BLOCK_SIZE, BLOCKS, Digest};

use crate::bug::{self, Bug};

/// Bytes of an entry.
pub(crate) const ENTRY_LEN: usize = 128;

/// Bytes of a block's digest. Two blocks that look the same by these are found at the target
/// by the whole cluster's digest.
const LEN: usize = (ENTRY_LEN - Digest::LEN) / BLOCKS;

const ENTRY: u64 = ENTRY_LEN as u64;

/// Digests of a cluster's blocks; zeros for a block of zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockDigests([[u8; LEN]; BLOCKS]);

impl BlockDigests {
    /// Of a whole cluster's bytes.
    pub(crate) fn of(cluster: &[u8]) -> BlockDigests {
        let mut out = BlockDigests::default();
        for (digest, block) in out.0.iter_mut().zip(cluster.chunks_exact(BLOCK_SIZE)) {
            digest.copy_from_slice(&Digest::of(block).0[..LEN]);
        }
        out
    }

    /// The blocks that differ: bit n stands for the n-th.
    pub(crate) fn differing(&self, other: &BlockDigests) -> u16 {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        pairs.filter(|(_, (one, two))| one != two).fold(0, |mask, (at, _)| mask | 1 << at)
    }

    fn encode(&self, digest: &Digest) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        let (body, seal) = out.split_at_mut(ENTRY_LEN - Digest::LEN);
        body.copy_from_slice(self.0.as_flattened());
        seal.copy_from_slice(&seal_of(body, digest).0);
        out
    }

    fn decode(bytes: &[u8; ENTRY_LEN], digest: &Digest) -> Option<BlockDigests> {
        let (body, seal) = bytes.split_at(ENTRY_LEN - Digest::LEN);
        if seal != seal_of(body, digest).0 && !bug::is(Bug::BelieveBlocks) {
            return None;
        }
        let mut out = BlockDigests::default();
        out.0.as_flattened_mut().copy_from_slice(body);
        Some(out)
    }
}

fn seal_of(body: &[u8], digest: &Digest) -> Digest {
    Digest::of(&[body, &digest.0].concat())
}

/// What is known of one cluster's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) cluster: u64,
    /// Of the whole cluster.
    pub(crate) digest: Digest,
    pub(crate) blocks: BlockDigests,
}

/// The file of one disk's entries.
#[derive(Clone)]
pub(crate) struct BlockFile(Arc<dyn File>);

impl std::fmt::Debug for BlockFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockFile")
    }
}

impl BlockFile {
    pub(crate) fn new(file: Arc<dyn File>) -> BlockFile {
        BlockFile(file)
    }

    /// The blocks of a cluster that digests to `digest`, where they are known.
    pub(crate) fn read(&self, cluster: u64, digest: &Digest) -> Option<BlockDigests> {
        if digest.is_zero() {
            return Some(BlockDigests::default());
        }
        let mut bytes = [0; ENTRY_LEN];
        // Whatever keeps it from being read, it is then not known.
        read_exact_at(&*self.0, &mut bytes, cluster * ENTRY).ok()?;
        BlockDigests::decode(&bytes, digest)
    }

    /// Keeps what is known of a cluster.
    pub(crate) fn note(&self, known: &Known) {
        let bytes = known.blocks.encode(&known.digest);
        if let Err(error) = self.0.write_at(&bytes, known.cluster * ENTRY) {
            tracing::debug!(%error, "what a cluster's blocks are is not noted");
        }
    }

    /// Forgets clusters from `end` on; only to give their space back.
    pub(crate) fn cut(&self, end: u64) {
        let cut = self.0.size().and_then(|size| match size > end * ENTRY {
            true => self.0.set_size(end * ENTRY),
            false => Ok(()),
        });
        if let Err(error) = cut {
            tracing::debug!(%error, "a file of blocks' digests is not cut");
        }
    }
}

#[cfg(test)]
mod tests;
