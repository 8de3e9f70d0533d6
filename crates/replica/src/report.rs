//! What opening a store found, and what a store has to show.

use std::path::PathBuf;

use farshore_types::{Consistency, DiskKey, PointId, RootDigest};
use serde::Serialize;

/// A file that opening removed or moved aside, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Where it was.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// What opening a store found and mended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OpenReport {
    /// Leftovers of a crash, removed. Nothing acknowledged is ever among them.
    pub dropped: Vec<Dropped>,
    /// Damaged files, moved aside; points that need them are gone until a resync.
    pub damaged: Vec<Dropped>,
    /// Files of the chain that were found damaged since, and are still in their place: while
    /// there are any, nothing is pruned.
    pub decayed: Vec<Dropped>,
    /// Images whose tables were built anew.
    pub rebuilt: Vec<Dropped>,
    /// Points that the damaged chain lost but that stock tools still read from the images
    /// by their names. Their space is not used again.
    pub rescued: Vec<PointId>,
    /// Elements that had been moved aside and are part of the chain again.
    pub restored: Vec<PointId>,
}

/// One recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PointInfo {
    /// Its name.
    pub id: PointId,
    /// Digest of its whole content.
    pub root: RootDigest,
    /// Crash- or application-consistent.
    pub consistency: Consistency,
    /// The instant it shows, milliseconds since the Unix epoch by this host's clock.
    pub captured_ms: u64,
    /// When it was sealed here, by the same clock.
    pub sealed_ms: u64,
    /// Its disks and their sizes in bytes.
    pub disks: Vec<(DiskKey, u64)>,
    /// Clusters that changed since the point before.
    pub changed_clusters: u64,
    /// Bytes received for it.
    pub received: u64,
    /// Whether stock tools see it in the images by its name.
    pub published: bool,
    /// Who pins it.
    pub pinned_by: Vec<String>,
}
