//! A model disk image: sparse content, and one dirty bitmap per checkpoint as QEMU keeps
//! them. This module must never know a machine.

use std::{collections::BTreeMap, sync::Arc};

use farshore_extent::{Run, Runs};
use farshore_types::{CLUSTER_BYTES, CLUSTER_SIZE, clusters_in};

use super::wrong;
use crate::{Kind, Result};

/// Content by number of cluster; what is absent reads as zeros. Cheap to clone: that is how
/// an instant is kept.
pub(super) type Content = BTreeMap<u64, Arc<[u8]>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) size: u64,
    pub(super) content: Content,
    /// Whether it stands on another image; what it reads is all in `content` even so.
    pub(super) layered: bool,
    /// Times that its file was written.
    pub(super) changes: u64,
    /// Clusters written while each bitmap recorded, by name of checkpoint.
    bitmaps: BTreeMap<String, Bitmap>,
    /// The bitmap that records now.
    active: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Bitmap {
    dirty: Runs,
    /// It was not kept to its end, and says nothing any more.
    broken: bool,
}

impl Image {
    pub(super) fn new(size: u64) -> Image {
        Image { size, ..Image::default() }
    }

    pub(super) fn write(&mut self, operation: &'static str, offset: u64, data: &[u8]) -> Result<()> {
        self.record(operation, offset, data.len() as u64)?;
        for run in split(offset, data.len() as u64) {
            let cluster = run.start / CLUSTER_BYTES;
            let mut bytes = self.content.get(&cluster).map_or_else(|| vec![0; CLUSTER_SIZE], |c| c.to_vec());
            let within = index(run.start % CLUSTER_BYTES);
            let from = index(run.start - offset);
            let len = index(run.len);
            bytes[within..within + len].copy_from_slice(&data[from..from + len]);
            self.content.insert(cluster, bytes.into());
        }
        Ok(())
    }

    pub(super) fn discard(&mut self, operation: &'static str, offset: u64, len: u64) -> Result<()> {
        self.record(operation, offset, len)?;
        for run in split(offset, len) {
            let cluster = run.start / CLUSTER_BYTES;
            if run.len == CLUSTER_BYTES {
                self.content.remove(&cluster);
            } else if let Some(bytes) = self.content.get(&cluster) {
                let mut bytes = bytes.to_vec();
                let within = index(run.start % CLUSTER_BYTES);
                bytes[within..within + index(run.len)].fill(0);
                self.content.insert(cluster, bytes.into());
            }
        }
        Ok(())
    }

    /// Gives the disk another size. As with QEMU, no bitmap records that: what is cut off is
    /// gone from them, and what is added has not been written.
    pub(super) fn resize(&mut self, size: u64) {
        self.changes += 1;
        self.content.retain(|cluster, _| cluster * CLUSTER_BYTES < size);
        let (last, within) = (size / CLUSTER_BYTES, index(size % CLUSTER_BYTES));
        if let Some(bytes) = self.content.get(&last) {
            let mut bytes = bytes.to_vec();
            bytes[within..].fill(0);
            self.content.insert(last, bytes.into());
        }
        let kept: Runs = [Run::between(0, clusters_in(size))].into_iter().collect();
        for bitmap in self.bitmaps.values_mut() {
            bitmap.dirty = bitmap.dirty.intersect(&kept);
        }
        self.size = size;
    }

    fn record(&mut self, operation: &'static str, offset: u64, len: u64) -> Result<()> {
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(wrong(operation, Kind::Invalid, format!("the disk ends at {}", self.size)));
        }
        self.changes += 1;
        if let Some(bitmap) = self.active.as_ref().and_then(|name| self.bitmaps.get_mut(name)) {
            let first = offset / CLUSTER_BYTES;
            bitmap.dirty.insert(Run::between(first, clusters_in(offset + len)));
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        read(&self.content, 0, self.size)
    }

    /// Starts a bitmap; the one before keeps what it has and records no more.
    pub(super) fn start_bitmap(&mut self, name: &str) {
        self.bitmaps.insert(name.to_owned(), Bitmap::default());
        self.active = Some(name.to_owned());
    }

    pub(super) fn has_bitmap(&self, name: &str) -> bool {
        self.bitmaps.contains_key(name)
    }

    /// Bytes written since the first of `checkpoints`, oldest first; none where a bitmap is
    /// missing or broken.
    pub(super) fn dirty_since(&self, checkpoints: &[&str]) -> Option<Runs> {
        let mut dirty = Runs::new();
        for name in checkpoints {
            let bitmap = self.bitmaps.get(*name).filter(|b| !b.broken)?;
            dirty = dirty.union(&bitmap.dirty);
        }
        let in_bytes =
            |r: Run| Run::between(r.start * CLUSTER_BYTES, (r.end() * CLUSTER_BYTES).min(self.size));
        Some(dirty.iter().map(in_bytes).collect())
    }

    /// Whether a bitmap is there and right.
    pub(super) fn is_sound(&self, name: &str) -> bool {
        self.bitmaps.get(name).is_some_and(|b| !b.broken)
    }

    /// Deletes a bitmap; what it recorded, and recording, goes to `parent`'s.
    pub(super) fn delete_bitmap(&mut self, name: &str, parent: Option<&str>) {
        let Some(gone) = self.bitmaps.remove(name) else { return };
        if let Some(heir) = parent.and_then(|parent| self.bitmaps.get_mut(parent)) {
            heir.dirty = heir.dirty.union(&gone.dirty);
        }
        if self.active.as_deref() == Some(name) {
            self.active = parent.filter(|parent| self.bitmaps.contains_key(*parent)).map(str::to_owned);
        }
    }

    /// Loses one bitmap as a tool that deletes it would.
    pub(super) fn lose_bitmap(&mut self, name: &str) {
        self.bitmaps.remove(name);
        self.active.take_if(|active| active == name);
    }

    /// What is left of the bitmaps after the process that kept them was killed.
    pub(super) fn break_bitmaps(&mut self) {
        self.bitmaps.values_mut().for_each(|b| b.broken = true);
        self.active = None;
    }
}

/// `len` bytes of `content` from `offset` on.
pub(super) fn read(content: &Content, offset: u64, len: u64) -> Vec<u8> {
    let mut out = vec![0; index(len)];
    for run in split(offset, len) {
        if let Some(bytes) = content.get(&(run.start / CLUSTER_BYTES)) {
            let (to, within, len) =
                (index(run.start - offset), index(run.start % CLUSTER_BYTES), index(run.len));
            out[to..to + len].copy_from_slice(&bytes[within..within + len]);
        }
    }
    out
}

/// A run of bytes cut at the bounds of clusters.
fn split(offset: u64, len: u64) -> impl Iterator<Item = Run> {
    let end = offset + len;
    (offset / CLUSTER_BYTES..clusters_in(end))
        .map(move |c| Run::between(offset.max(c * CLUSTER_BYTES), end.min((c + 1) * CLUSTER_BYTES)))
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("model disks fit memory")
}
