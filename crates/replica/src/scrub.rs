//! Scrubbing tables: what stock tools are shown is compared with the chain, and built
//! anew from it where it differs. The chain is the truth; no data is touched.

use farshore_types::{DiskKey, PointId};

use crate::{Replica, ReplicaError, read::map_of, report::Dropped};

impl Replica {
    /// Compares every image's published tables and reference counts with the chain.
    /// Returns what is wrong, an image at most once; reads all tables that there are.
    ///
    /// # Errors
    /// Where a delta file is damaged; else as the system reports.
    pub fn check_tables(&self) -> Result<Vec<Dropped>, ReplicaError> {
        let faults = self.table_faults()?;
        Ok(faults.into_iter().map(|(_, fault)| fault).collect())
    }

    /// As [`Replica::check_tables`], and builds wrong tables anew, with the same points
    /// published. Returns what was wrong.
    ///
    /// # Errors
    /// As [`Replica::check_tables`]; [`ReplicaError::BroughtUp`];
    /// [`ReplicaError::NotNow`] where a damaged image is the only place of rescued points.
    pub fn mend_tables(&mut self) -> Result<Vec<Dropped>, ReplicaError> {
        self.check_receiving()?;
        self.mend_damaged_tables()
    }

    pub(crate) fn mend_damaged_tables(&mut self) -> Result<Vec<Dropped>, ReplicaError> {
        let faults = self.table_faults()?;
        for (disk, fault) in &faults {
            tracing::warn!(machine = %self.state.name, image = %fault.path.display(), why = %fault.why, "tables built anew");
            self.rebuild_tables(disk)?;
            self.report.rebuilt.push(fault.clone());
        }
        Ok(faults.into_iter().map(|(_, fault)| fault).collect())
    }

    fn rebuild_tables(&mut self, disk: &DiskKey) -> Result<(), ReplicaError> {
        let Some(image) = self.images.get_mut(disk) else { return Ok(()) };
        let (points, active) = (image.published(), image.active_point());
        if let Some(rescued) = points.iter().find(|p| self.chain.position(**p).is_none()) {
            let why = format!(
                "{} is damaged, and the only place of point {rescued}; copy it with `qemu-img convert -l {rescued}` \
                 and start the replica anew",
                image.path().display()
            );
            return Err(ReplicaError::NotNow { what: "building an image's tables anew", why });
        }
        image.rebuild()?;
        for point in points {
            self.publish_once(point, &[], false)?;
        }
        active.map_or(Ok(()), |active| self.publish_once(active, &[], true))
    }

    fn table_faults(&self) -> Result<Vec<(DiskKey, Dropped)>, ReplicaError> {
        let mut faults = Vec::new();
        for (disk, image) in &self.images {
            if let Some(why) = self.table_fault(disk, &image.published())? {
                faults.push((disk.clone(), Dropped { path: image.path().clone(), why }));
            }
        }
        Ok(faults)
    }

    fn table_fault(&self, disk: &DiskKey, published: &[PointId]) -> Result<Option<String>, ReplicaError> {
        let Some(image) = self.images.get(disk) else { return Ok(None) };
        for point in published {
            // A rescued point has nothing to be compared with.
            let Some(at) = self.chain.position(*point) else { continue };
            let fault = image.fault_of_point(*point, map_of(&self.chain.elements[..=at], disk)?)?;
            if fault.is_some() {
                return Ok(fault);
            }
        }
        image.fault_of_counts()
    }
}
