//! Pruning: deltas of points that are no longer kept are merged into the next one's, and
//! the places that nothing refers to any more are freed. Metadata only; no data moves.
//!
//! The order is what keeps every crash harmless: unpublish (durable), write the merged
//! delta (durable), remove the merged files (durable), and only then free places.

use farshore_delta::{DeltaError, DeltaFile, DeltaWriter, Entry, Merge, lowest_floor};
use farshore_types::{DiskKey, PointId};

use crate::{
    Replica, ReplicaError, Retention,
    bug::{self, Bug},
    chain::{Element, Used},
    cycle::WriteFailed,
    retention::{Kept, plan},
    sectors::Sectors,
};

/// A stretch of the chain to be merged into its last element.
struct Stretch {
    first: usize,
    last: usize,
}

impl Replica {
    /// Prunes by a retention, merging where enough waits to be worth it (see
    /// [`Options::merge_ratio`](crate::Options)). Returns the points that are gone.
    ///
    /// # Errors
    /// As the system reports; what was merged before stays merged.
    pub fn prune(&mut self, retention: &Retention) -> Result<Vec<PointId>, ReplicaError> {
        self.prune_if(retention, Replica::is_worth)
    }

    /// Prunes by a retention, however little is gained.
    ///
    /// # Errors
    /// As [`Replica::prune`].
    pub fn prune_all(&mut self, retention: &Retention) -> Result<Vec<PointId>, ReplicaError> {
        self.prune_if(retention, |_, _| true)
    }

    fn prune_if(
        &mut self,
        retention: &Retention,
        worth: impl Fn(&Replica, &Stretch) -> bool,
    ) -> Result<Vec<PointId>, ReplicaError> {
        self.check_receiving()?;
        if !self.report.decayed.is_empty() {
            return Ok(Vec::new());
        }
        let kept: Vec<Kept> = self
            .chain
            .points()
            .map(|e| Kept { id: e.id(), steady_ms: e.footer().steady_ms(), pinned: self.is_pinned(e.id()) })
            .collect();
        let gone = plan(&kept, retention);
        let mut done = Vec::new();
        // From the newest back, so that positions of those still to do stay valid.
        for stretch in self.stretches(&gone).into_iter().rev() {
            if worth(self, &stretch) {
                done.extend(self.merge(&stretch)?);
            }
        }
        self.expire_rescued(retention)?;
        self.retire_images()?;
        Ok(done)
    }

    /// Maximal runs of elements that go, each with the kept point that they go into.
    /// Stages go with the point after them.
    fn stretches(&self, gone: &[PointId]) -> Vec<Stretch> {
        let mut out = Vec::new();
        let mut first = None;
        // What is older than what was set aside may be what that stands on.
        let lowest = self.aside.ids().first().copied();
        for (at, element) in self.chain.elements.iter().enumerate() {
            if lowest.is_some_and(|lowest| element.id() < lowest) {
                continue;
            }
            let goes = !element.is_point() || gone.binary_search(&element.id()).is_ok();
            match (goes, first) {
                (true, None) => first = Some(at),
                (false, Some(start)) => {
                    out.push(Stretch { first: start, last: at });
                    first = None;
                }
                _ => {}
            }
        }
        out
    }

    fn is_worth(&self, stretch: &Stretch) -> bool {
        let sizes: Vec<u64> =
            self.chain.elements[stretch.first..=stretch.last].iter().map(Element::entries).collect();
        let largest = sizes.iter().copied().max().unwrap_or(0);
        let rest = sizes.iter().sum::<u64>() - largest;
        // Many tiny deltas are worth merging for their number alone.
        rest * self.options.merge_ratio >= largest || sizes.len() > 64
    }

    fn merge(&mut self, stretch: &Stretch) -> Result<Vec<PointId>, ReplicaError> {
        let parts: Vec<Element> = self.chain.elements[stretch.first..=stretch.last].to_vec();
        let Some((into, gone)) = parts.split_last() else { return Ok(Vec::new()) };
        let ids: Vec<PointId> = gone.iter().filter(|e| e.is_point()).map(Element::id).collect();
        if bug::is(Bug::KeepPruned) {
            return Ok(ids);
        }
        parts.iter().try_for_each(Element::hold)?;
        self.unpublish(&gone.iter().map(Element::id).collect::<Vec<_>>())?;
        let mut losers = Used::new();
        let mut footer = into.footer().clone();
        footer.parent = stretch.first.checked_sub(1).map(|at| self.chain.elements[at].id());
        footer.received = parts.iter().map(|e| e.footer().received).sum();
        if bug::is(Bug::FreeBeforeDurable) {
            self.free_at_once(&parts)?;
        }
        let definition = into.delta.definition().map_err(|e| into.error(e))?;
        let merged = self.write_element(footer, &definition, |writer, _| {
            let deltas: Vec<&DeltaFile> = parts.iter().map(|e| &e.delta).collect();
            for disk in &into.footer().disks {
                let floor = lowest_floor(&deltas, &disk.key);
                writer.begin_disk(disk.key.clone(), disk.size, floor).map_err(|e| into.error(e))?;
                let lost = merge_disk(writer, &deltas, &disk.key).map_err(|e| into.error(e))?;
                losers.insert(disk.key.clone(), lost);
            }
            Ok(())
        });
        add_places_of_gone_disks(&mut losers, gone, into)?;
        // From the moment that the merged delta may have its name, a crash shows it and not
        // what went into it: so must this process, or a point would be pinned, or brought
        // up, that is gone. Places are freed only if nothing failed; the next open finds them.
        let (merged, named) = match merged {
            Ok(merged) => (merged, Ok(())),
            Err(WriteFailed { error, perhaps_named: Some(merged) }) => (*merged, Err(error)),
            Err(WriteFailed { error, .. }) => return Err(error),
        };
        self.chain.elements.splice(stretch.first..=stretch.last, [merged]);
        named?;
        for element in gone {
            self.files.remove(&element.path).map_err(|e| self.io("removing a merged delta", e))?;
        }
        self.files.sync_dir(&self.layout.chain()).map_err(|e| self.io("removing merged deltas", e))?;
        if bug::is(Bug::FreeBeforeDurable) {
            return Ok(ids);
        }
        for (disk, places) in losers {
            if let Some(image) = self.images.get_mut(&disk) {
                image.free(places);
            }
        }
        Ok(ids)
    }

    /// A deliberate bug: frees what a merge will free before the merge is durable.
    fn free_at_once(&mut self, parts: &[Element]) -> Result<(), ReplicaError> {
        let deltas: Vec<&DeltaFile> = parts.iter().map(|e| &e.delta).collect();
        for (disk, image) in &mut self.images {
            let error =
                |source| ReplicaError::Delta { id: parts[0].id(), path: parts[0].path.clone(), source };
            let mut lost = Sectors::default();
            let mut note = |entry: &Entry| lost.insert_place(entry.place);
            Merge::telling_losers(&deltas, disk, &mut note).map_err(error)?.for_each(drop);
            image.free(lost);
            image.release_unread()?;
        }
        Ok(())
    }

    /// Takes points back from the images, durably, before anything of them is freed.
    fn unpublish(&mut self, gone: &[PointId]) -> Result<(), ReplicaError> {
        let over: Vec<PointId> =
            self.published_points().into_iter().map(|(id, _)| id).filter(|id| gone.contains(id)).collect();
        if over.is_empty() {
            return Ok(());
        }
        // What the active tables show must not go; the newest point is always kept.
        let newest = self.chain.points().next_back().map(Element::id);
        match newest {
            Some(newest) => self.publish_with(newest, &over, true),
            None => Ok(()),
        }
    }
}

/// Adds places of the disks that the last element of a stretch no longer has: nothing of them
/// is left in it.
fn add_places_of_gone_disks(losers: &mut Used, gone: &[Element], into: &Element) -> Result<(), ReplicaError> {
    for element in gone.iter().filter(|_| !bug::is(Bug::KeepGoneDisks)) {
        for disk in element.footer().disks.iter().filter(|d| into.delta.disk(&d.key).is_none()) {
            let places = losers.entry(disk.key.clone()).or_default();
            for entry in element.delta.cursor(&disk.key) {
                places.insert_place(entry.map_err(|e| element.error(e))?.place);
            }
        }
    }
    Ok(())
}

/// Merges one disk; returns the places of the entries that no longer count.
fn merge_disk(
    writer: &mut DeltaWriter,
    deltas: &[&DeltaFile],
    disk: &DiskKey,
) -> Result<Sectors, DeltaError> {
    let mut lost = Sectors::default();
    let mut note = |entry: &Entry| lost.insert_place(entry.place);
    for merged in Merge::telling_losers(deltas, disk, &mut note)? {
        writer.push(&merged?.entry)?;
    }
    Ok(lost)
}
