//! Changing what an image shows: new tables in new places, one header write, and only
//! then are the old places let go.

use std::{collections::BTreeSet, ops::Range};

use farshore_delta::{Entry, Place};
use farshore_env::{File, read_exact_at};
use farshore_qcow2::{HEADER_MAX, L2Entry, Snapshot, encode_table, host_clusters};
use farshore_types::PointId;

use super::{
    CLUSTER, GEOMETRY, Image, Trust,
    refcount::{Recount, RecountError},
    view::{Published, View, encode_point, l1_range, words_to_bytes},
};
use crate::{
    ReplicaError,
    bug::{self, Bug},
    sectors::Sectors,
};

/// A point to be published.
pub(crate) struct NewTable {
    pub(crate) point: PointId,
    /// Size of the disk in bytes.
    pub(crate) size: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) captured_ms: u64,
    /// Places of its L2 tables, as [`Image::build_l1`] made them.
    pub(crate) l1: Vec<u64>,
}

/// What the active tables are to show from now on.
#[derive(Clone, Copy, Default)]
pub(crate) enum Active {
    /// What they show now.
    #[default]
    Keep,
    /// A published point: they become a copy of its tables.
    Show(PointId),
    /// Nothing.
    Nothing,
}

/// What an image is to show from now on.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) add: Option<NewTable>,
    pub(crate) remove: Vec<PointId>,
    pub(crate) active: Active,
}

/// Places to give back if the change does not come to be.
#[derive(Default)]
struct Taken(Vec<Range<u64>>);

impl Image {
    /// Builds the L2 tables of a point: those of `anchor` (a published point), with
    /// `entries` (ascending) put in; only tables that an entry falls into are new.
    pub(crate) fn build_l1(
        &mut self,
        size: u64,
        anchor: Option<PointId>,
        entries: impl Iterator<Item = Result<Entry, ReplicaError>>,
    ) -> Result<Vec<u64>, ReplicaError> {
        let len = usize::try_from(GEOMETRY.l1_entries(size)).unwrap_or(0);
        let mut l1 = anchor.and_then(|a| self.view.find(a)).map_or(Vec::new(), |p| p.l1.clone());
        l1.resize(len, 0);
        let mut built = Vec::new();
        let result = self.build_tables(&mut l1, &mut built, entries);
        if result.is_err() {
            built.into_iter().for_each(|at| self.space.give_back(at..at + CLUSTER));
        }
        result.map(|()| l1)
    }

    fn build_tables(
        &mut self,
        l1: &mut [u64],
        built: &mut Vec<u64>,
        entries: impl Iterator<Item = Result<Entry, ReplicaError>>,
    ) -> Result<(), ReplicaError> {
        let mut current: Option<(usize, Vec<u64>)> = None;
        for entry in entries {
            let entry = entry?;
            let table = usize::try_from(entry.cluster / GEOMETRY.l2_entries()).unwrap_or(usize::MAX);
            if table >= l1.len() {
                break; // beyond the end of a disk that has shrunk
            }
            if current.as_ref().is_none_or(|(at, _)| *at != table) {
                self.finish_table(l1, built, current.take())?;
                current = Some((table, self.read_l2(l1[table])?));
            }
            if let Some((_, words)) = &mut current {
                let slot = usize::try_from(entry.cluster % GEOMETRY.l2_entries()).unwrap_or(0);
                words[slot] = l2_entry(entry.place).encode(GEOMETRY);
            }
        }
        self.finish_table(l1, built, current)
    }

    fn finish_table(
        &mut self,
        l1: &mut [u64],
        built: &mut Vec<u64>,
        table: Option<(usize, Vec<u64>)>,
    ) -> Result<(), ReplicaError> {
        let Some((index, words)) = table else { return Ok(()) };
        let at = self.space.take(CLUSTER, CLUSTER);
        built.push(at);
        l1[index] = at;
        self.file.write_at(&words_to_bytes(&words), at).map_err(|e| self.io("writing an L2 table", e))
    }

    fn read_l2(&self, at: u64) -> Result<Vec<u64>, ReplicaError> {
        read_l2(&*self.file, at).map_err(|e| self.io("reading an L2 table", e))
    }

    /// Carries a change out. On an error the image shows what it showed before, but for
    /// [`ReplicaError::Uncertain`], after which it must be opened again.
    pub(crate) fn apply(&mut self, change: Change) -> Result<(), ReplicaError> {
        self.check_sure()?;
        let new_l2s: Vec<u64> = change.add.as_ref().map_or(Vec::new(), |t| t.l1.clone());
        let mut taken = Taken::default();
        match self.write_tables(change, &mut taken) {
            Ok((view, freed)) => self.flip(view, freed),
            // What a failed sync left is found by the next open.
            Err(e) if self.is_uncertain() => Err(e),
            Err(e) => {
                let known = self.view.l2_references();
                let fresh = new_l2s.into_iter().filter(|l2| *l2 != 0 && !known.contains_key(l2));
                taken.0.extend(fresh.map(|at| at..at + CLUSTER));
                taken.0.into_iter().for_each(|r| self.space.give_back(r));
                Err(e)
            }
        }
    }

    /// Writes every new table but the header, and makes them durable.
    fn write_tables(
        &mut self,
        change: Change,
        taken: &mut Taken,
    ) -> Result<(View, Vec<Range<u64>>), ReplicaError> {
        let mut next = self.view.clone();
        let mut recount = Recount::default();
        let mut freed = Vec::new();
        for gone in next.published.extract_if(.., |p| change.remove.contains(&p.point)) {
            freed.push(l1_range(gone.snapshot.l1_offset, gone.l1.len()));
        }
        if let Some(table) = change.add {
            let published = self.place_snapshot(&next, table, taken)?;
            recount.add_range(&l1_range(published.snapshot.l1_offset, published.l1.len()), 1);
            next.published.push(published);
        }
        if !matches!(change.active, Active::Keep) {
            freed.push(self.view.active_place());
            self.place_active(&mut next, change.active, &mut recount, taken)?;
        }
        self.place_snapshot_table(&mut next, &mut recount, &mut freed, taken)?;
        freed.retain(|r| !r.is_empty());
        freed.iter().for_each(|r| recount.add_range(r, -1));
        self.count_l2_changes(&next, &mut recount, &mut freed)?;
        let old_table = self.view.refcount_table();
        freed.extend(self.write_counts(&mut next, recount, &old_table, taken)?);
        if bug::is(Bug::HeaderBeforeTables) {
            return Ok((next, freed));
        }
        self.sync_file("making tables durable")?;
        Ok((next, freed))
    }

    /// The one write that puts a new view in force.
    fn flip(&mut self, mut next: View, freed: Vec<Range<u64>>) -> Result<(), ReplicaError> {
        next.sign().map_err(|e| self.format(e))?;
        let bytes = next.header.encode().map_err(|e| self.format(e))?;
        let sector = &bytes[..HEADER_MAX];
        if let Err(e) = self.file.write_at(sector, 0).and_then(|()| self.file.sync()) {
            self.state = Trust::Lost;
            return Err(self.io("writing the image's header", e));
        }
        self.view = next;
        self.unsynced = false;
        freed.into_iter().for_each(|r| self.space.quarantine(r));
        Ok(())
    }

    fn place_words(&mut self, words: &[u64], taken: &mut Taken) -> Result<u64, ReplicaError> {
        let len = l1_range(0, words.len()).end;
        let at = self.space.take(len, CLUSTER);
        taken.0.push(at..at + len);
        let mut bytes = words_to_bytes(words);
        bytes.resize(usize::try_from(len).unwrap_or(0), 0);
        self.file.write_at(&bytes, at).map_err(|e| self.io("writing an L1 table", e))?;
        Ok(at)
    }

    fn place_snapshot(
        &mut self,
        view: &View,
        new: NewTable,
        taken: &mut Taken,
    ) -> Result<Published, ReplicaError> {
        let highest =
            view.published.iter().filter_map(|p| p.snapshot.id.parse::<u64>().ok()).max().unwrap_or(0);
        let snapshot = Snapshot {
            id: (highest + 1).to_string(),
            name: new.point.to_string(),
            l1_offset: self.place_words(&new.l1, taken)?,
            l1_entries: u32::try_from(new.l1.len()).unwrap_or(u32::MAX),
            size: new.size,
            date_seconds: u32::try_from(new.captured_ms / 1000).unwrap_or(u32::MAX),
            date_nanos: u32::try_from(new.captured_ms % 1000 * 1_000_000).unwrap_or(0),
        };
        Ok(Published { point: new.point, snapshot, l1: new.l1 })
    }

    /// The active tables are their own copy of a published L1 over shared L2s: no L2 ever
    /// has a count of one, so no entry may carry the COPIED flag, and none does.
    fn place_active(
        &mut self,
        next: &mut View,
        active: Active,
        recount: &mut Recount,
        taken: &mut Taken,
    ) -> Result<(), ReplicaError> {
        let Active::Show(point) = active else {
            let l1 = vec![0; next.active.len()];
            next.header.l1_offset = self.place_words(&l1, taken)?;
            next.header.extensions.clear();
            next.active = l1;
            recount.add_range(&next.active_place(), 1);
            return Ok(());
        };
        let Some((l1, size)) = next.find(point).map(|p| (p.l1.clone(), p.snapshot.size)) else {
            let why = format!("point {point} is not published in {}", self.path.display());
            return Err(ReplicaError::NotNow { what: "showing a point", why });
        };
        next.header.l1_offset = self.place_words(&l1, taken)?;
        next.header.l1_entries = u32::try_from(l1.len()).unwrap_or(u32::MAX);
        next.header.size = size;
        next.header.extensions = vec![encode_point(point)];
        next.active = l1;
        recount.add_range(&next.active_place(), 1);
        Ok(())
    }

    fn place_snapshot_table(
        &mut self,
        next: &mut View,
        recount: &mut Recount,
        freed: &mut Vec<Range<u64>>,
        taken: &mut Taken,
    ) -> Result<(), ReplicaError> {
        freed.push(self.view.snapshot_table());
        let snapshots: Vec<Snapshot> = next.published.iter().map(|p| p.snapshot.clone()).collect();
        next.header.snapshots = u32::try_from(snapshots.len()).unwrap_or(u32::MAX);
        next.header.snapshots_offset = 0;
        if snapshots.is_empty() {
            return Ok(());
        }
        let mut bytes = encode_table(&snapshots);
        bytes.resize(bytes.len().next_multiple_of(usize::try_from(CLUSTER).unwrap_or(1)), 0);
        let len = bytes.len() as u64;
        let at = self.space.take(len, CLUSTER);
        taken.0.push(at..at + len);
        self.file.write_at(&bytes, at).map_err(|e| self.io("writing the snapshot table", e))?;
        recount.add_range(&(at..at + len), 1);
        next.header.snapshots_offset = at;
        Ok(())
    }

    /// Every L1 that points to an L2 counts once for the table and once for each cluster
    /// it names. Only tables whose number of users changes are read.
    fn count_l2_changes(
        &self,
        next: &View,
        recount: &mut Recount,
        freed: &mut Vec<Range<u64>>,
    ) -> Result<(), ReplicaError> {
        let mut changes = next.l2_references();
        let after = changes.clone();
        self.view.l2_references().into_iter().for_each(|(l2, n)| *changes.entry(l2).or_insert(0) -= n);
        for (l2, change) in changes.into_iter().filter(|(_, c)| *c != 0) {
            recount.add(l2 / CLUSTER, change);
            for word in self.read_l2(l2)? {
                let entry = L2Entry::decode(word, GEOMETRY).map_err(|e| self.format(e))?;
                host_clusters(entry, GEOMETRY).for_each(|c| recount.add(c, change));
            }
            if !after.contains_key(&l2) {
                freed.push(l2..l2 + CLUSTER);
            }
        }
        Ok(())
    }

    /// Writes counts for `next` and puts their places into it; returns the places left.
    fn write_counts(
        &mut self,
        next: &mut View,
        recount: Recount,
        old_table: &Range<u64>,
        taken: &mut Taken,
    ) -> Result<Vec<Range<u64>>, ReplicaError> {
        let counted =
            recount.write(&*self.file, &mut self.space, &next.refcount_blocks, old_table, &mut taken.0);
        let counted = counted.map_err(|e| match e {
            RecountError::Io(e) => self.io("writing reference counts", e),
            RecountError::DoNotAddUp => ReplicaError::Refcounts { path: self.path.clone() },
        })?;
        next.header.refcount_table_offset = counted.table_offset;
        next.header.refcount_table_clusters = u32::try_from(counted.table_clusters).unwrap_or(u32::MAX);
        next.refcount_blocks = counted.blocks;
        Ok(counted.freed)
    }

    /// Places of the data of a published point, by its tables.
    pub(super) fn data_of(&self, point: PointId) -> Result<Sectors, ReplicaError> {
        let mut out = Sectors::default();
        // What points outside of the file cannot be read by anyone, so it needs no protection.
        let end =
            self.file.size().map_err(|e| self.io("reading an image's size", e))?.next_multiple_of(CLUSTER);
        let l1 = self.view.find(point).map_or(&[][..], |p| &p.l1);
        for l2 in l1.iter().filter(|l2| **l2 != 0) {
            for word in self.read_l2(*l2)? {
                // Nor can what does not decode.
                let Ok(entry) = L2Entry::decode(word, GEOMETRY) else { continue };
                let clusters = host_clusters(entry, GEOMETRY);
                let bytes = clusters.start * CLUSTER..clusters.end * CLUSTER;
                if bytes.end <= end {
                    out.insert(bytes);
                }
            }
        }
        Ok(out)
    }

    /// Puts new tables in the place of those that are, which are damaged: they show nothing
    /// but those of `keep` whose own tables are sound, just as they are.
    pub(crate) fn rebuild(&mut self, keep: &[PointId]) -> Result<(), ReplicaError> {
        self.check_sure()?;
        let mut kept = Vec::new();
        let wanted = |p: &&Published| keep.contains(&p.point) && !bug::is(Bug::ForgetRescued);
        for published in self.view.published.iter().filter(wanted) {
            match self.is_sound(published)? {
                true => kept.push(published.clone()),
                false => tracing::error!(point = %published.point, image = %self.path.display(),
                    "the tables of a point that only they knew are damaged: it is lost"),
            }
        }
        let mut view = View::empty(self.view.header.size, self.view.header.backing.clone());
        view.published = kept;
        let stays: BTreeSet<u64> = view.metadata().into_iter().map(|r| r.start).collect();
        let left = self.view.metadata().into_iter().filter(|r| !stays.contains(&r.start)).collect();
        self.view = view;
        let points: Vec<PointId> = self.view.published.iter().map(|p| p.point).collect();
        let mut rescued = Sectors::default();
        for point in points {
            rescued.merge(&self.data_of(point)?);
        }
        self.rescued = rescued;
        self.write_first_tables(left).inspect_err(|_| self.state = Trust::Lost)
    }

    /// Whether all tables of a point decode and name places within the file.
    fn is_sound(&self, published: &Published) -> Result<bool, ReplicaError> {
        let end = self.extent();
        for l2 in published.l1.iter().filter(|l2| **l2 != 0) {
            if *l2 >= end {
                return Ok(false);
            }
            for word in self.read_l2(*l2)? {
                match L2Entry::decode(word, GEOMETRY) {
                    Ok(entry) if host_clusters(entry, GEOMETRY).end <= end.div_ceil(CLUSTER) => {}
                    _ => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    /// Tables of an image that shows only what is published in the view that is known, in
    /// free places, and a header over them; `left` are the places of the tables before.
    pub(super) fn write_first_tables(&mut self, left: Vec<Range<u64>>) -> Result<(), ReplicaError> {
        let mut view = self.view.clone();
        let (mut recount, mut taken) = (Recount::default(), Taken::default());
        recount.add(0, 1);
        let words = view.active.clone();
        view.header.l1_offset = self.place_words(&words, &mut taken)?;
        recount.add_range(&view.active_place(), 1);
        for published in &view.published {
            recount.add_range(&l1_range(published.snapshot.l1_offset, published.l1.len()), 1);
        }
        for (l2, users) in view.l2_references() {
            recount.add(l2 / CLUSTER, users);
            for word in self.read_l2(l2)? {
                let entry = L2Entry::decode(word, GEOMETRY).map_err(|e| self.format(e))?;
                host_clusters(entry, GEOMETRY).for_each(|c| recount.add(c, users));
            }
        }
        self.place_snapshot_table(&mut view, &mut recount, &mut Vec::new(), &mut taken)?;
        self.write_counts(&mut view, recount, &(0..0), &mut taken)?;
        // The backing file's name lies behind the header's sector and never changes: it is
        // durable before a header says that it is there.
        let header = view.header.encode().map_err(|e| self.format(e))?;
        let name = self.file.write_at(&header[HEADER_MAX..], HEADER_MAX as u64);
        name.map_err(|e| self.io("writing the backing file's name", e))?;
        self.sync_file("making tables durable")?;
        self.flip(view, left)
    }
}

/// The words of an L2 table; those of none, all of it unallocated, for place 0.
pub(super) fn read_l2(file: &dyn File, at: u64) -> std::io::Result<Vec<u64>> {
    let mut bytes = vec![0; usize::try_from(CLUSTER).unwrap_or(0)];
    if at != 0 {
        read_exact_at(file, &mut bytes, at)?;
    }
    Ok(bytes.as_chunks::<8>().0.iter().map(|w| u64::from_be_bytes(*w)).collect())
}

pub(super) fn l2_entry(place: Place) -> L2Entry {
    match place {
        Place::Zero => L2Entry::Zero,
        Place::Backing => L2Entry::Unallocated,
        Place::Raw(offset) => L2Entry::Raw { offset },
        Place::Compressed { offset, len } => L2Entry::Compressed { offset, len: len.into() },
    }
}
