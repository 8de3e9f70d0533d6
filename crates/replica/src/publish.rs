//! Publishing: a point's map as qcow2 tables, so that stock tools see it by its name.

use farshore_delta::Entry;
use farshore_types::{DiskKey, PointId};

use crate::{
    Replica, ReplicaError,
    bug::{self, Bug},
    chain::Element,
    image::{Active, Change, NewTable},
    read::map_of,
};

impl Replica {
    /// Publishes a point in all its disks' images. Nothing happens where it is already.
    ///
    /// # Errors
    /// [`ReplicaError::NoSuchPoint`], [`ReplicaError::BroughtUp`]; else as the system reports.
    pub fn publish(&mut self, id: PointId) -> Result<(), ReplicaError> {
        self.check_receiving()?;
        self.publish_with(id, &[], false)
    }

    /// Upkeep after a seal: publishes the newest point if it is time, takes back points
    /// whose time is over, and lets freed space be used again. Returns whether a point
    /// was published.
    ///
    /// # Errors
    /// As the system reports.
    pub fn publish_if_due(&mut self) -> Result<bool, ReplicaError> {
        if self.state.phase != crate::Phase::Receiving {
            return Ok(false);
        }
        let Some(newest) = self.chain.points().next_back() else { return Ok(false) };
        let (id, captured) = (newest.id(), newest.footer().steady_ms());
        let published = self.published_points();
        let due = published.last().is_none_or(|(last, at)| {
            *last != id && captured.saturating_sub(*at) >= millis(self.options.publish_every)
        });
        if due {
            let over = self.no_longer_published(&published, captured);
            self.publish_with(id, &over, true)?;
        }
        self.release_unread()?;
        Ok(due)
    }

    /// Lets freed places be used again where nobody reads. Returns the bytes freed.
    ///
    /// # Errors
    /// As the system reports.
    pub fn release_unread(&mut self) -> Result<u64, ReplicaError> {
        if self.readers.any() {
            return Ok(0);
        }
        self.images.values_mut().map(crate::image::Image::release_unread).sum()
    }

    /// Publishes `id` and takes `over` back, in one change per disk; the active tables
    /// follow where `follow` says so (or must, because what they show is taken back).
    /// Where tables turn out to be damaged, they are built anew from the chain first.
    pub(crate) fn publish_with(
        &mut self,
        id: PointId,
        over: &[PointId],
        follow: bool,
    ) -> Result<(), ReplicaError> {
        match self.publish_once(id, over, follow) {
            Err(e @ (ReplicaError::Refcounts { .. } | ReplicaError::Format { .. })) => {
                if self.mend_damaged_tables()?.is_empty() {
                    return Err(e);
                }
                self.publish_once(id, over, follow)
            }
            other => other,
        }
    }

    pub(crate) fn publish_once(
        &mut self,
        id: PointId,
        over: &[PointId],
        follow: bool,
    ) -> Result<(), ReplicaError> {
        self.reopen_uncertain()?;
        let at = self.chain.position(id);
        let Some(element) = at.map(|at| self.chain.elements[at].clone()) else {
            self.element(id)?;
            return Ok(());
        };
        for (disk, size) in crate::store::sizes(&element) {
            let Some(image) = self.images.get(&disk) else { continue };
            let present = image.view().find(id).is_some();
            let remove: Vec<PointId> =
                over.iter().copied().filter(|p| *p != id && image.view().find(*p).is_some()).collect();
            let shown = image.active_point();
            let follow =
                follow && shown != Some(id) || shown.is_none() || shown.is_some_and(|s| remove.contains(&s));
            if present && remove.is_empty() && !follow {
                continue;
            }
            let add = match present {
                true => None,
                false => Some(NewTable {
                    point: id,
                    size,
                    captured_ms: element.footer().captured_ms,
                    l1: self.build_l1(&disk, size, id)?,
                }),
            };
            let active = if follow { Active::Show(id) } else { Active::Keep };
            if let Some(image) = self.images.get_mut(&disk) {
                image.apply(Change { add, remove, active })?;
            }
        }
        self.take_back_of_others(&element, over)
    }

    /// Takes points back from the images of disks that an element does not have: of those,
    /// nothing else reminds.
    fn take_back_of_others(&mut self, element: &Element, over: &[PointId]) -> Result<(), ReplicaError> {
        if bug::is(Bug::KeepGoneDisks) {
            return Ok(());
        }
        for (_, image) in self.images.iter_mut().filter(|(disk, _)| element.delta.disk(disk).is_none()) {
            let published = image.published();
            let remove: Vec<PointId> = over.iter().copied().filter(|p| published.contains(p)).collect();
            if remove.is_empty() {
                continue;
            }
            let shown = image.active_point().is_some_and(|shown| remove.contains(&shown));
            let active = if shown { Active::Nothing } else { Active::Keep };
            image.apply(Change { add: None, remove, active })?;
        }
        Ok(())
    }

    /// Opens images again that a failed write left in an unknown state. A cycle that was
    /// open has lost what it had stored there.
    pub(crate) fn reopen_uncertain(&mut self) -> Result<(), ReplicaError> {
        let uncertain = self.images.iter().filter(|(_, image)| image.is_uncertain());
        let size = |image: &crate::image::Image| image.view().header.size;
        let again: Vec<(DiskKey, u64)> = uncertain.map(|(disk, image)| (disk.clone(), size(image))).collect();
        if !again.is_empty() {
            self.give_up_cycle();
        }
        again.iter().try_for_each(|(disk, size)| self.ensure_image(disk, *size))
    }

    /// Tables of a point: the nearest older published point of the same chain gives all
    /// tables that no delta since has touched.
    fn build_l1(&mut self, disk: &DiskKey, size: u64, id: PointId) -> Result<Vec<u64>, ReplicaError> {
        let Some(at) = self.chain.position(id) else { return Ok(Vec::new()) };
        let Some(image) = self.images.get_mut(disk) else { return Ok(Vec::new()) };
        // Only across deltas over which the disk was never smaller, not even in between: a
        // smaller size has cut entries off that the older tables still name.
        let steady = |e: &&Element| e.delta.disk(disk).is_some_and(|d| d.size == size && d.floor >= size);
        let first = at - self.chain.elements[1..=at].iter().rev().take_while(steady).count();
        let usable = |e: &Element| {
            e.is_point()
                && image.view().find(e.id()).is_some()
                && e.delta.disk(disk).is_some_and(|d| d.size == size)
        };
        let anchor = self.chain.elements[first..at].iter().rposition(usable).map(|a| a + first);
        let since = anchor.map_or(0, |a| a + 1);
        let anchor = anchor.map(|a| self.chain.elements[a].id());
        let entries: Box<dyn Iterator<Item = Result<Entry, ReplicaError>>> =
            Box::new(map_of(&self.chain.elements[since..=at], disk)?);
        image.build_l1(size, anchor, entries)
    }

    /// Published points and their instants, oldest first.
    pub(crate) fn published_points(&self) -> Vec<(PointId, u64)> {
        let is = |e: &&Element| self.images.values().any(|i| i.view().find(e.id()).is_some());
        self.chain.points().filter(is).map(|e| (e.id(), e.footer().steady_ms())).collect()
    }

    /// Of the published points, those that neither a pin nor the hourly rule keeps once a
    /// point of the instant `next` is published, too.
    fn no_longer_published(&self, published: &[(PointId, u64)], next: u64) -> Vec<PointId> {
        let slot = |at: u64| at / millis(self.options.keep_published_every).max(1);
        let mut over = Vec::new();
        for (i, (id, at)) in published.iter().enumerate() {
            let after = published.get(i + 1).map_or(next, |(_, after)| *after);
            let last_of_its_hour = slot(after) != slot(*at);
            if !last_of_its_hour && !self.is_pinned(*id) {
                over.push(*id);
            }
        }
        over
    }

    pub(crate) fn is_pinned(&self, id: PointId) -> bool {
        self.readers.holds(id) || self.state.pins.iter().any(|p| p.point == id)
    }
}

fn millis(d: std::time::Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
