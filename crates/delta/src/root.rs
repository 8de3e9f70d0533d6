//! The root digest: one value that names a point's whole content, computed from changes
//! alone, by the source before it seals and by the target before it acknowledges.

use farshore_types::{Digest, DiskKey, PointId, RootDigest};

/// One changed cluster as both sides know it, wherever its bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceChange {
    /// Index of the cluster within its disk.
    pub cluster: u64,
    /// Digest of its plain content.
    pub digest: Digest,
}

/// Chains the changes of one element onto the root of the element before it.
///
/// Equal roots mean: equal history of changes, hence equal bytes.
pub struct RootBuilder(blake3::Hasher);

impl RootBuilder {
    /// Starts from the element before (or [`RootDigest::NONE`]).
    #[must_use]
    pub fn new(before: RootDigest, id: PointId) -> RootBuilder {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"farshore root v1");
        hasher.update(&before.0);
        hasher.update(&id.epoch.to_le_bytes());
        hasher.update(&id.number.to_le_bytes());
        RootBuilder(hasher)
    }

    /// Adds one disk's changes, sorted by cluster. Disks come in the order of the session.
    pub fn disk(&mut self, key: &DiskKey, size: u64, changes: impl ExactSizeIterator<Item = SourceChange>) {
        self.0.update(&(key.as_str().len() as u64).to_le_bytes());
        self.0.update(key.as_str().as_bytes());
        self.0.update(&size.to_le_bytes());
        self.0.update(&(changes.len() as u64).to_le_bytes());
        for change in changes {
            self.0.update(&change.cluster.to_le_bytes());
            self.0.update(&change.digest.0);
        }
    }

    /// The element's root.
    #[must_use]
    pub fn finish(self) -> RootDigest {
        RootDigest(*self.0.finalize().as_bytes())
    }
}
