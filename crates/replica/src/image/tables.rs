//! Comparing an image's tables with what they should say. Only reads, and needs the image no
//! more: while anyone holds what is here, the caller sees to it that no place is used again.

use std::{path::PathBuf, sync::Arc};

use farshore_delta::Entry;
use farshore_env::File;
use farshore_qcow2::{L2Entry, host_clusters};
use farshore_types::PointId;

use super::{
    CLUSTER, GEOMETRY, Image,
    publish::{l2_entry, read_l2},
    view::{View, read_words},
};
use crate::ReplicaError;

/// The tables of an image as they were at one moment.
pub(crate) struct Tables {
    pub(crate) path: PathBuf,
    file: Arc<dyn File>,
    view: View,
    /// First byte after everything in use.
    end: u64,
}

impl Image {
    /// The tables as they are now.
    pub(crate) fn tables(&self) -> Tables {
        let (path, view) = (self.path.clone(), self.view.clone());
        Tables { path, file: self.file(), view, end: self.extent() }
    }

    /// The published points, as the tables list them.
    pub(crate) fn published(&self) -> Vec<PointId> {
        self.view.published.iter().map(|p| p.point).collect()
    }
}

impl Tables {
    /// What is wrong with a published point's tables, where its map is `entries`.
    pub(crate) fn fault_of_point(
        &self,
        point: PointId,
        entries: impl Iterator<Item = Result<Entry, ReplicaError>>,
    ) -> Result<Option<String>, ReplicaError> {
        let Some(l1) = self.view.find(point).map(|p| &p.l1) else { return Ok(None) };
        let mut entries = entries.peekable();
        for (index, place) in l1.iter().enumerate() {
            let end = (index as u64 + 1) * GEOMETRY.l2_entries();
            let (mut wanted, mut any) = (vec![0; usize::try_from(GEOMETRY.l2_entries()).unwrap_or(0)], false);
            while let Some(entry) = entries.next_if(|e| e.as_ref().map_or(true, |e| e.cluster < end)) {
                let entry = entry?;
                let slot = usize::try_from(entry.cluster % GEOMETRY.l2_entries()).unwrap_or(0);
                (wanted[slot], any) = (l2_entry(entry.place).encode(GEOMETRY), true);
            }
            if any != (*place != 0) || any && self.read_l2(*place)? != wanted {
                return Ok(Some(format!("L2 table {index} of point {point} is not what the chain says")));
            }
        }
        Ok(None)
    }

    /// What is wrong with the active tables or the reference counts.
    pub(crate) fn fault_of_counts(&self) -> Result<Option<String>, ReplicaError> {
        let shown = self.view.active_point().map(|p| self.view.find(p).map(|p| &p.l1));
        if shown.is_some_and(|l1| l1 != Some(&self.view.active)) {
            return Ok(Some("the active tables are not those of the point they are to show".to_owned()));
        }
        let Some(wanted) = self.count_references()? else {
            return Ok(Some("an L2 table points outside of the file".to_owned()));
        };
        let per_block = usize::try_from(GEOMETRY.refcounts_per_block()).unwrap_or(1);
        let places = &self.view.refcount_blocks;
        let needed = wanted.len().div_ceil(per_block);
        for block in (0..places.len().max(needed)).filter(|b| *b < needed || places[*b] != 0) {
            let counts = self.read_counts(places.get(block).copied().unwrap_or(0))?;
            let first = block * per_block;
            let wrong = |i: &usize| counts[*i] != wanted.get(first + i).copied().unwrap_or(0);
            if let Some(i) = (0..per_block).find(wrong) {
                return Ok(Some(format!("the reference count of cluster {} is wrong", first + i)));
            }
        }
        Ok(None)
    }

    /// How often each cluster of the file is referred to; `None` where a table points
    /// outside of the file or does not decode.
    fn count_references(&self) -> Result<Option<Vec<u32>>, ReplicaError> {
        let mut counts = vec![0u32; usize::try_from(self.end.div_ceil(CLUSTER)).unwrap_or(0)];
        let mut add = |cluster: u64, n: u32| {
            let count = usize::try_from(cluster).ok().and_then(|c| counts.get_mut(c));
            count.map(|count| *count = count.saturating_add(n)).is_some()
        };
        let references = self.view.l2_references();
        let mut inside = true;
        for range in self.view.metadata().into_iter().filter(|r| !references.contains_key(&r.start)) {
            inside &= (range.start / CLUSTER..range.end.div_ceil(CLUSTER)).all(|c| add(c, 1));
        }
        for (l2, users) in references {
            let users = u32::try_from(users).unwrap_or(u32::MAX);
            inside &= add(l2 / CLUSTER, users);
            for word in self.read_l2(l2)?.into_iter().filter(|w| *w != 0) {
                let Ok(entry) = L2Entry::decode(word, GEOMETRY) else { return Ok(None) };
                inside &= host_clusters(entry, GEOMETRY).all(|c| add(c, users));
            }
        }
        Ok(inside.then_some(counts))
    }

    fn read_counts(&self, block: u64) -> Result<Vec<u32>, ReplicaError> {
        let per_block = GEOMETRY.refcounts_per_block();
        if block == 0 {
            return Ok(vec![0; usize::try_from(per_block).unwrap_or(0)]);
        }
        let half = |w: u64| u32::try_from(w & u64::from(u32::MAX)).unwrap_or(0);
        let halves = |w: u64| [half(w >> 32), half(w)];
        let words = read_words(&*self.file, block, per_block / 2);
        let words = words.map_err(|e| self.io("reading reference counts", std::io::Error::other(e)))?;
        Ok(words.into_iter().flat_map(halves).collect())
    }

    /// The published points, as the tables list them.
    pub(crate) fn published(&self) -> impl Iterator<Item = PointId> {
        self.view.published.iter().map(|p| p.point)
    }

    fn read_l2(&self, at: u64) -> Result<Vec<u64>, ReplicaError> {
        read_l2(&*self.file, at).map_err(|e| self.io("reading an L2 table", e))
    }

    fn io(&self, what: &'static str, source: std::io::Error) -> ReplicaError {
        ReplicaError::Io { what, dir: self.path.clone(), source }
    }
}
