//! Where a disk's digests are not all zeros, roughly: enough to find the highest cluster that
//! has content without reading a file of a quarter gigabyte. This module must never be
//! trusted to say where there is content, only where there is none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farshore_types::Digest;

/// Clusters told of by one flag: 1 GiB of disk, 256 KiB of digests.
pub(super) const CHUNK: u64 = 16 * 1024;

/// Flags of one disk, shared by all that read its digests. What was not looked at yet may
/// have content.
#[derive(Clone, Debug, Default)]
pub(super) struct Tops(Arc<Mutex<Vec<bool>>>);

impl Tops {
    fn flags(&self) -> MutexGuard<'_, Vec<bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cluster was given this digest.
    pub(super) fn note(&self, cluster: u64, digest: &Digest) {
        if digest.is_zero() {
            return;
        }
        self.set(cluster / CHUNK, true);
    }

    /// Chunks of the first `clusters` that may have content, ascending.
    pub(super) fn chunks(&self, clusters: u64) -> Vec<u64> {
        let count = usize::try_from(clusters.div_ceil(CHUNK)).unwrap_or(0);
        let mut flags = self.flags();
        if flags.len() < count {
            flags.resize(count, true);
        }
        (0u64..).zip(&flags[..count]).filter(|(_, flag)| **flag).map(|(at, _)| at).collect()
    }

    /// A chunk was seen to have no content. What is written at the same time is noted later:
    /// the one owner of the map does both.
    pub(super) fn is_empty(&self, chunk: u64) {
        self.set(chunk, false);
    }

    fn set(&self, chunk: u64, may_have: bool) {
        let at = usize::try_from(chunk).unwrap_or(usize::MAX);
        if let Some(flag) = self.flags().get_mut(at) {
            *flag = may_have;
        }
    }
}
