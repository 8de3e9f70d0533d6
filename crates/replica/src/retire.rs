//! Retiring images: a disk that no element has any more needs none. This module must never
//! touch an adopted file: it was somebody's before, and that it is there says nothing about
//! why.

use farshore_types::DiskKey;

use crate::{Replica, ReplicaError, layout::IMAGE_SUFFIX};

impl Replica {
    /// Removes the images of disks that neither the chain nor an open cycle has, once nobody
    /// reads them; those that a crash left there, too.
    pub(crate) fn retire_images(&mut self) -> Result<(), ReplicaError> {
        // With damaged deltas beside it, an image may be put together again by hand.
        let quarantine = self.files.list(&self.layout.quarantine());
        if self.readers.any() || quarantine.is_ok_and(|names| !names.is_empty()) {
            return Ok(());
        }
        let known = self.chain.disks();
        for disk in self.images_there()? {
            let needed = known.contains(&disk)
                || self.is_receiving(&disk)
                || self.doubtful.contains_key(&disk)
                || self.state.adopted.contains_key(&disk);
            if needed {
                continue;
            }
            self.ensure_image(&disk, 0)?;
            let Some(image) = self.images.get(&disk) else { continue };
            if !image.is_bare() || image.read_by_others()? {
                continue;
            }
            let path = image.path().clone();
            self.images.remove(&disk);
            let removed = self.files.remove(&path).and_then(|()| self.files.sync_dir(self.layout.dir()));
            removed.map_err(|e| self.io("removing the image of a disk that is gone", e))?;
            tracing::info!(machine = %self.state.name, %disk, "the disk's last point is gone, and its image");
        }
        Ok(())
    }

    /// Disks that have an image in the directory. Overlays are named otherwise.
    fn images_there(&self) -> Result<Vec<DiskKey>, ReplicaError> {
        let names = self.files.list(self.layout.dir()).map_err(|e| self.io("looking for disk images", e))?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(IMAGE_SUFFIX)?.parse().ok()).collect())
    }
}
