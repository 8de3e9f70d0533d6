//! Asking the replica for the digests of its last element, page by page, so that a
//! source that lost its digest map can build it anew.

use farshore_types::{Digest, DiskKey};

use crate::{
    codec::{Input, Output},
    error::FrameError,
    limits::DIGESTS_PER_PAGE_MAX,
};

/// Source to target: digests of a disk as of the last sealed element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantDigests {
    /// The disk.
    pub disk: DiskKey,
    /// The first cluster wanted.
    pub from: u64,
}

/// Target to source: one page of digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestPage {
    /// The disk.
    pub disk: DiskKey,
    /// The first cluster that the page speaks of.
    pub from: u64,
    /// Clusters that are not zeros, ascending; at most [`DIGESTS_PER_PAGE_MAX`].
    pub entries: Vec<(u64, Digest)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<u64>,
}

/// Bytes of an entry: cluster and digest.
const ENTRY_LEN: usize = 8 + Digest::LEN;

impl WantDigests {
    pub(crate) fn encode(&self, out: &mut Output) {
        out.blob(self.disk.as_str().as_bytes());
        out.u64(self.from);
    }

    pub(crate) fn decode(input: &mut Input) -> Result<WantDigests, FrameError> {
        Ok(WantDigests { disk: input.disk_key()?, from: input.u64("first cluster")? })
    }
}

impl DigestPage {
    pub(crate) fn encode(&self, out: &mut Output) {
        out.blob(self.disk.as_str().as_bytes());
        out.u64(self.from);
        out.len(self.entries.len());
        for (cluster, digest) in &self.entries {
            out.u64(*cluster);
            out.slice(&digest.0);
        }
        out.option(self.next, Output::u64);
    }

    pub(crate) fn decode(input: &mut Input) -> Result<DigestPage, FrameError> {
        let (disk, from) = (input.disk_key()?, input.u64("first cluster")?);
        let count = input.count("digests", DIGESTS_PER_PAGE_MAX, ENTRY_LEN)?;
        let mut entries = Vec::with_capacity(count);
        let mut least = from;
        for _ in 0..count {
            let (cluster, digest) = (input.u64("digest cluster")?, input.digest()?);
            if cluster < least {
                return Err(FrameError::Order { field: "digests" });
            }
            if digest.is_zero() {
                return Err(FrameError::Value { field: "digest of a cluster that is not zeros", value: 0 });
            }
            entries.push((cluster, digest));
            least = cluster.saturating_add(1);
        }
        let next = input.option("next page", |input| input.u64("next page"))?;
        // A page must make progress, or a broken target keeps its source busy for ever.
        if next.is_some_and(|next| next < least || next <= from) {
            return Err(FrameError::Order { field: "digest pages" });
        }
        Ok(DigestPage { disk, from, entries, next })
    }
}
