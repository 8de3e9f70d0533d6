//! Overlays that get everything they read from the replica, so that the machine on them reads at
//! full speed and its disks need nothing below. Who copies is QEMU; here is only what that takes.
//! This module must never write.

use farshore_delta::Place;
use farshore_types::{CLUSTER_BYTES, DiskKey};

use crate::{AdoptedDisk, Phase, Replica, ReplicaError};

impl Replica {
    /// Bytes that the overlays of a brought-up machine still take when everything is copied into
    /// them. While that goes on, it is what is left to copy, more or less.
    ///
    /// # Errors
    /// As the system reports, and for a damaged point or overlay.
    pub fn left_to_flatten(&self, disks: &[DiskKey]) -> Result<u64, ReplicaError> {
        let Phase::BroughtUp { point } = self.phase() else { return Ok(0) };
        let below = self.reader(point)?;
        let mut clusters = 0;
        for (disk, _) in below.disks().into_iter().filter(|(disk, _)| disks.contains(disk)) {
            let layer = AdoptedDisk::open_layer(&*self.files, &self.layout.overlay(&disk))?;
            if !layer.is_layered() {
                continue;
            }
            for entry in below.map(&disk)? {
                let entry = entry?;
                clusters += u64::from(entry.place != Place::Zero && !layer.has_own(entry.cluster)?);
            }
        }
        Ok(clusters * CLUSTER_BYTES)
    }

    /// Whether so many bytes more can be stored beside the replica, and what is kept free for
    /// bring-ups is left: a machine whose overlay cannot grow stands still.
    ///
    /// # Errors
    /// As the system reports.
    pub fn has_room_for(&self, bytes: u64) -> Result<bool, ReplicaError> {
        Ok(self.free_space()? >= bytes.saturating_add(self.options.reserve))
    }
}
