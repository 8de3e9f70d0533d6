//! Patches become whole clusters: the cluster as the last element has it, with some of its
//! blocks replaced. This module must never store anything, nor believe a patch whose result
//! does not have the digest it came with.

use std::sync::Arc;

use farshore_delta::{Entry, Filter, Place, Prober};
use farshore_types::{BLOCK_SIZE, BLOCKS, CLUSTER_SIZE, Digest, DiskKey, clusters_in};

use crate::{
    PointReader, ReplicaError, Stored,
    bug::{self, Bug},
    chain::Element,
};

/// Entries of the newest elements that filters are kept for, of one store: 32 MiB of memory.
/// What is only in older ones is searched for in their pages.
const FILTERED_ENTRIES_MAX: u64 = 32 << 20;

/// zstd level of what patches make: the source's own.
const LEVEL: i32 = 1;

/// A cluster is stored compressed only if that saves at least one part in this many.
const WORTH: usize = 16;

/// New content of some of a cluster's blocks.
#[derive(Clone, Copy, Debug)]
pub struct Patch<'a> {
    /// Index of the cluster within its disk.
    pub cluster: u64,
    /// Digest of the whole cluster with the blocks in it.
    pub digest: Digest,
    /// Which blocks: bit n stands for the n-th.
    pub blocks: u16,
    /// Whether the bytes are one zstd frame.
    pub packed: bool,
    /// The blocks in order.
    pub bytes: &'a [u8],
}

/// A whole cluster, as it is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patched {
    /// Plain.
    Raw(Vec<u8>),
    /// One zstd frame.
    Compressed(Vec<u8>),
}

impl Patched {
    /// Its bytes, ready to store.
    #[must_use]
    pub fn stored(&self) -> Stored<'_> {
        match self {
            Patched::Raw(bytes) => Stored::Raw(bytes),
            Patched::Compressed(bytes) => Stored::Compressed(bytes),
        }
    }
}

/// One disk of the last element, read cluster by cluster.
pub struct BaseReader {
    point: PointReader,
    disk: DiskKey,
    prober: Prober,
    /// Elements that say anything of the disk, newest first.
    parts: Vec<Part>,
}

struct Part {
    /// Position of the element.
    at: usize,
    /// The first cluster for which it, and all older ones, do not count any more.
    end: u64,
    filter: Option<Arc<Filter>>,
}

impl BaseReader {
    /// Prepares looking clusters of a disk up in a point. Where the point's filters are not
    /// made yet, its deltas are read once.
    #[must_use]
    pub fn new(point: PointReader, disk: &DiskKey) -> BaseReader {
        let (mut parts, mut end, mut filtered) = (Vec::new(), u64::MAX, 0);
        for (at, element) in point.elements().iter().enumerate().rev() {
            filtered += element.entries();
            let keep = filtered <= FILTERED_ENTRIES_MAX;
            if !keep {
                element.drop_filter();
            }
            // A smaller size, or the disk's absence, ends all that older elements say.
            let (pages, floor) = element.delta.disk(disk).map_or((0, 0), |d| (d.pages, d.floor));
            if pages > 0 && end > 0 {
                parts.push(Part { at, end, filter: keep.then(|| element.filter()).flatten() });
            }
            end = end.min(clusters_in(floor));
        }
        BaseReader { point, disk: disk.clone(), prober: Prober::new(disk), parts }
    }

    /// The cluster's entry; `None` where it was never written, and so reads as zeros.
    ///
    /// # Errors
    /// Where a delta file is damaged or cannot be read.
    pub fn entry(&self, cluster: u64) -> Result<Option<Entry>, ReplicaError> {
        let probe = self.prober.probe(cluster);
        for part in self.parts.iter().take_while(|part| cluster < part.end) {
            if part.filter.as_ref().is_some_and(|filter| !filter.may_hold(probe)) {
                continue;
            }
            let element: &Element = &self.point.elements()[part.at];
            if let Some(entry) = element.delta.lookup(&self.disk, cluster).map_err(|e| element.error(e))? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Puts a patch's blocks into its cluster. The result is compressed where the cluster
    /// was; where it held nothing, if the patch is; and never where that does not pay.
    ///
    /// # Errors
    /// [`ReplicaError::Patch`] where the result does not have the patch's digest; else where
    /// the cluster cannot be read.
    pub fn apply(&self, patch: &Patch<'_>) -> Result<Patched, ReplicaError> {
        let entry = self.entry(patch.cluster)?;
        let mut bytes = Vec::new();
        let compress = match entry {
            None | Some(Entry { place: Place::Zero, .. }) => {
                bytes.resize(CLUSTER_SIZE, 0);
                patch.packed
            }
            Some(entry) => {
                self.point.read(&self.disk, &entry, &mut bytes)?;
                matches!(entry.place, Place::Compressed { .. })
            }
        };
        self.put(patch, &mut bytes)?;
        if Digest::of(&bytes) != patch.digest && !bug::is(Bug::SkipPatchCheck) {
            return Err(self.wrong(patch, "a patch does not make what its digest says"));
        }
        let packed = compress.then(|| pack(&bytes)).flatten();
        Ok(packed.map_or(Patched::Raw(bytes), Patched::Compressed))
    }

    fn put(&self, patch: &Patch<'_>, cluster: &mut [u8]) -> Result<(), ReplicaError> {
        let len = patch.blocks.count_ones() as usize * BLOCK_SIZE;
        let unpacked;
        let plain = if patch.packed {
            unpacked = zstd::bulk::decompress(patch.bytes, len).unwrap_or_default();
            &unpacked
        } else {
            patch.bytes
        };
        if plain.len() != len {
            return Err(self.wrong(patch, "a patch does not unpack to the blocks it names"));
        }
        let mut blocks = plain.chunks_exact(BLOCK_SIZE);
        for (at, block) in cluster.chunks_exact_mut(BLOCK_SIZE).enumerate().take(BLOCKS) {
            if patch.blocks & (1 << at) != 0
                && let Some(new) = blocks.next()
            {
                block.copy_from_slice(new);
            }
        }
        Ok(())
    }

    fn wrong(&self, patch: &Patch<'_>, why: &'static str) -> ReplicaError {
        ReplicaError::Patch { disk: self.disk.clone(), cluster: patch.cluster, why }
    }
}

/// Compresses a cluster; `None` where that does not pay.
pub(crate) fn pack(plain: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(CLUSTER_SIZE - CLUSTER_SIZE / WORTH);
    zstd::bulk::Compressor::new(LEVEL).ok()?.compress_to_buffer(plain, &mut out).ok()?;
    Some(out)
}
