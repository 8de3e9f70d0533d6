//! What one sealed element of a replica's chain changed: which clusters, where their
//! bytes lie, what their digests are.
//!
//! A **delta file** is immutable and sorted. The map of a point is the newest entry per
//! cluster over all deltas up to it; merging deltas is the one operation behind reading,
//! publishing and pruning. This crate must never know how images are laid out beyond a
//! [`Place`], nor when anything is kept or dropped.

mod entry;
mod file;
mod filter;
pub mod fuzz;
mod merge;
mod root;

pub use entry::{ENTRY_LEN, Entry, Place};
pub use file::{Cursor, DeltaError, DeltaFile, DeltaWriter, DiskInfo, ElementKind, Footer};
pub use filter::{Filter, Probe, Prober};
pub use merge::{Merge, Merged, lowest_floor};
pub use root::{RootBuilder, SourceChange};
