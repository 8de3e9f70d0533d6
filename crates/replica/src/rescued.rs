//! Rescued points: a damaged chain has lost them, the images still show them to stock tools
//! by their names. Their space is kept until they are dropped, or older than anything that
//! retention keeps; so are elements that were set aside. This module must never touch a point of the chain.

use farshore_types::{DiskKey, PointId};

use crate::{
    Replica, ReplicaError, Retention,
    aside::Aside,
    image::{Active, Change},
    layout::file_name,
};

impl Replica {
    /// The points that only images still know, oldest first.
    #[must_use]
    pub fn rescued(&self) -> Vec<PointId> {
        self.rescued_at().into_iter().map(|(id, _)| id).collect()
    }

    /// With their instants, in seconds since the Unix epoch.
    fn rescued_at(&self) -> Vec<(PointId, u64)> {
        let published = self.images.values().flat_map(|image| &image.view().published);
        let lost = published.filter(|p| self.chain.position(p.point).is_none());
        let mut out: Vec<(PointId, u64)> = lost.map(|p| (p.point, p.snapshot.date_seconds.into())).collect();
        out.sort_unstable();
        out.dedup_by_key(|(id, _)| *id);
        out
    }

    /// Takes rescued points back from all images, durably, and frees what only they used. An
    /// open cycle is given up. Points of the chain are passed over.
    ///
    /// # Errors
    /// [`ReplicaError::NotNow`] while a point is read; [`ReplicaError::BroughtUp`]; else as
    /// the system reports. What was taken back before stays so.
    pub fn drop_rescued(&mut self, points: &[PointId]) -> Result<(), ReplicaError> {
        self.check_receiving()?;
        if self.readers.any() {
            let why = "a point of the replica is just being read; try again after that".to_owned();
            return Err(ReplicaError::NotNow { what: "dropping rescued points", why });
        }
        self.reopen_uncertain()?;
        let lost: Vec<PointId> = self.rescued().into_iter().filter(|p| points.contains(p)).collect();
        let disks: Vec<DiskKey> = self.images.keys().cloned().collect();
        for disk in disks {
            let Some(image) = self.images.get_mut(&disk) else { continue };
            let published = image.published();
            let remove: Vec<PointId> = lost.iter().copied().filter(|p| published.contains(p)).collect();
            if remove.is_empty() {
                continue;
            }
            let shown = image.active_point().is_some_and(|shown| remove.contains(&shown));
            let active = if shown { Active::Nothing } else { Active::Keep };
            image.apply(Change { add: None, remove, active })?;
            // What is free now is found as at an open: by what is still referred to.
            self.give_up_cycle();
            let size = self.images.remove(&disk).map_or(0, |image| image.view().header.size);
            self.ensure_image(&disk, size)?;
            if let Some(image) = self.images.get_mut(&disk) {
                image.quarantine_free()?;
            }
        }
        self.report.rescued.retain(|p| !lost.contains(p));
        tracing::info!(machine = %self.state.name, points = lost.len(), "rescued points dropped");
        Ok(())
    }

    /// The elements that were set aside, points and stages, oldest first: their data is kept,
    /// so that they can be taken back.
    #[must_use]
    pub fn set_aside(&self) -> Vec<PointId> {
        self.aside.ids()
    }

    /// Gives all elements that were set aside up, durably, and frees what only they used. An
    /// open cycle is given up.
    ///
    /// # Errors
    /// As [`Replica::drop_rescued`].
    pub fn drop_set_aside(&mut self) -> Result<(), ReplicaError> {
        self.check_receiving()?;
        let ids = self.aside.ids();
        if ids.is_empty() {
            return Ok(());
        }
        if self.readers.any() {
            let why = "a point of the replica is just being read; try again after that".to_owned();
            return Err(ReplicaError::NotNow { what: "dropping what was set aside", why });
        }
        for id in &ids {
            let path = self.layout.quarantine().join(file_name(&self.layout.delta(*id)));
            self.files.remove(&path).map_err(|e| self.io("dropping what was set aside", e))?;
        }
        let synced = self.files.sync_dir(&self.layout.quarantine());
        synced.map_err(|e| self.io("dropping what was set aside", e))?;
        self.aside = Aside::default();
        self.report.damaged.clear();
        self.give_up_cycle();
        let disks: Vec<DiskKey> = self.images.keys().cloned().collect();
        for disk in disks {
            // What is free now is found as at an open: by what is still referred to.
            let size = self.images.remove(&disk).map_or(0, |image| image.view().header.size);
            self.ensure_image(&disk, size)?;
            if let Some(image) = self.images.get_mut(&disk) {
                image.quarantine_free()?;
            }
        }
        tracing::info!(machine = %self.state.name, elements = ids.len(), "what was set aside is dropped");
        Ok(())
    }

    /// Drops those that are older than every point that retention keeps, when nobody is in
    /// the way; else the next time.
    pub(crate) fn expire_rescued(&mut self, retention: &Retention) -> Result<(), ReplicaError> {
        let Some(newest) = self.chain.points().next_back().map(|e| e.footer().steady_ms() / 1000) else {
            return Ok(());
        };
        let kept = retention.every_point_secs.max(retention.hourly_secs).max(retention.daily_secs);
        let gone: Vec<PointId> = self
            .rescued_at()
            .into_iter()
            .filter(|(_, at)| at.saturating_add(kept) < newest)
            .map(|(id, _)| id)
            .collect();
        if self.readers.any() || self.is_taking_cycle() {
            return Ok(());
        }
        if self.aside.newest_ms().is_some_and(|at| (at / 1000).saturating_add(kept) < newest) {
            self.drop_set_aside()?;
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.drop_rescued(&gone)
    }
}
