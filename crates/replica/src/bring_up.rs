//! Setting the replica to a point, so that a machine can run on it: the point is
//! published, the active tables become its copy, and a fresh overlay goes on top.

use farshore_env::{OpenMode, read_exact_at};
use farshore_qcow2::{HEADER_READ, Header, Overlay};
use farshore_types::{DiskKey, Epoch, PointId};

use crate::{
    Phase, Replica, ReplicaError,
    bug::{self, Bug},
    image::{Image, encode_point},
    layout::{OVERLAY_SUFFIX, UNFINISHED_SUFFIX, unfinished},
};

/// A disk on which a brought-up machine runs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OverlayDisk {
    /// The disk.
    pub disk: DiskKey,
    /// Path of its overlay.
    pub path: std::path::PathBuf,
}

impl Replica {
    /// Sets every disk to the point and puts overlays over them. The new epoch is durable
    /// before anything else: from then on the old writer is refused. Repeating it for the
    /// same point keeps the overlays, with what the machine wrote.
    ///
    /// # Errors
    /// [`ReplicaError::NoSuchPoint`]; [`ReplicaError::BroughtUp`] at another point; else
    /// as the system reports, and the next open finishes what was begun.
    pub fn bring_up(&mut self, id: PointId, epoch: Epoch) -> Result<Vec<OverlayDisk>, ReplicaError> {
        if self.state.phase == (Phase::BroughtUp { point: id }) {
            self.check_overlays(id)?;
            return self.overlays(id);
        }
        if self.state.phase == (Phase::BringingUp { point: id }) {
            self.finish_bring_up()?;
            return self.overlays(id);
        }
        self.check_receiving()?;
        self.element(id)?;
        // By the epoch that is held: at another point, or by an owner who was heard of before.
        if epoch.number <= self.state.epoch.number && epoch != self.state.epoch {
            let why = format!("epoch {} is not above {}", epoch.number, self.state.epoch.number);
            return Err(ReplicaError::NotNow { what: "bringing the machine up", why });
        }
        self.give_up_cycle();
        let mut next = self.state.clone();
        (next.phase, next.epoch) = (Phase::BringingUp { point: id }, epoch);
        self.save(next)?;
        self.finish_bring_up()?;
        self.overlays(id)
    }

    /// Finishes a bring-up that was cut; nothing happens where none was. Where damage took
    /// its point, the store opens all the same: its other points can be read, and `discard`
    /// ends the bring-up.
    ///
    /// # Errors
    /// As [`Replica::bring_up`].
    pub fn resume_bring_up(&mut self) -> Result<(), ReplicaError> {
        match self.state.phase {
            Phase::BringingUp { point } if self.element(point).is_ok() && !bug::is(Bug::SkipRedo) => {
                self.finish_bring_up()
            }
            _ => Ok(()),
        }
    }

    /// Shows the point again on which a machine runs, where opening had to build an image's
    /// tables anew: started by whomever, that machine would find empty disks.
    pub(crate) fn show_again(&mut self) -> Result<(), ReplicaError> {
        let Phase::BroughtUp { point } = self.state.phase else { return Ok(()) };
        // Where damage took the point itself, what its image shows is all that is left of it.
        let Ok(element) = self.element(point) else { return Ok(()) };
        let hidden = |image: &Image| image.active_point() != Some(point);
        let disks = crate::store::sizes(element);
        if bug::is(Bug::SkipRedo) || !disks.iter().any(|(d, _)| self.images.get(d).is_some_and(hidden)) {
            return Ok(());
        }
        tracing::warn!(machine = %self.state.name, %point, "the tables of a machine that runs here are built anew");
        self.publish_with(point, &[], true)
    }

    /// Goes on where a bring-up was cut: the phase is the redo record of all disks.
    fn finish_bring_up(&mut self) -> Result<(), ReplicaError> {
        let Phase::BringingUp { point } = self.state.phase else { return Ok(()) };
        self.publish_with(point, &[], true)?;
        for overlay in self.overlays(point)? {
            self.write_overlay(&overlay, point)?;
        }
        self.files.sync_dir(self.layout.dir()).map_err(|e| self.io("creating overlays", e))?;
        let mut next = self.state.clone();
        next.phase = Phase::BroughtUp { point };
        self.save(next)
    }

    /// Ends a bring-up: overlays are removed, with all that the machine wrote since, and
    /// the replica takes cycles again. The machine must not run any more. Repeating it
    /// removes what a crash in between left.
    ///
    /// # Errors
    /// As the system reports.
    pub fn discard(&mut self) -> Result<(), ReplicaError> {
        // The record first: a machine that is said to be brought up has all its overlays.
        if self.state.phase != Phase::Receiving || self.record_in_doubt {
            let mut next = self.state.clone();
            next.phase = Phase::Receiving;
            self.save(next)?;
        }
        self.remove_overlays().map_err(|e| self.io("removing overlays", e))
    }

    /// Whether a machine has written into any overlay since the bring-up.
    ///
    /// # Errors
    /// As the system reports.
    pub fn overlays_hold_data(&self) -> Result<bool, ReplicaError> {
        let io = |e| self.io("looking at overlays", e);
        for name in self.files.list(self.layout.dir()).map_err(io)? {
            if !name.ends_with(OVERLAY_SUFFIX) {
                continue;
            }
            let file = self.files.open(&self.layout.dir().join(name), OpenMode::Read).map_err(io)?;
            let mut head = vec![0; HEADER_READ];
            let read = file.read_at(&mut head, 0).map_err(io)?;
            // One that cannot be read may hold anything.
            let Ok(header) = Header::decode(&head[..read]) else { return Ok(true) };
            let mut l1 = vec![0; header.l1_entries as usize * 8];
            read_exact_at(&*file, &mut l1, header.l1_offset).map_err(io)?;
            if l1.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// By their names, so that it works even where damage took the point.
    fn remove_overlays(&self) -> std::io::Result<()> {
        for name in self.files.list(self.layout.dir())? {
            if name.strip_suffix(UNFINISHED_SUFFIX).unwrap_or(&name).ends_with(OVERLAY_SUFFIX) {
                self.files.remove(&self.layout.dir().join(name))?;
            }
        }
        self.files.sync_dir(self.layout.dir())
    }

    fn overlays(&self, id: PointId) -> Result<Vec<OverlayDisk>, ReplicaError> {
        let disks = crate::store::sizes(self.element(id)?);
        Ok(disks
            .into_iter()
            .map(|(disk, _)| OverlayDisk { path: self.layout.overlay(&disk), disk })
            .collect())
    }

    fn write_overlay(&self, overlay: &OverlayDisk, point: PointId) -> Result<(), ReplicaError> {
        let Some(image) = self.images.get(&overlay.disk) else { return Ok(()) };
        let format = |source| ReplicaError::Format { path: overlay.path.clone(), source };
        let layout = Overlay {
            size: image.view().header.size,
            backing: image.path().display().to_string(),
            backing_format: "qcow2".to_owned(),
            extensions: vec![encode_point(point)],
        };
        debug_assert_eq!(image.active_point(), Some(point));
        let file = layout.image().map_err(format)?;
        let new = unfinished(&overlay.path);
        let write = || {
            let out = self.files.open(&new, OpenMode::Truncate)?;
            out.write_at(&file.bytes, 0)?;
            out.set_size(file.file_size)?;
            out.sync()?;
            self.files.rename(&new, &overlay.path)
        };
        write().map_err(|e| self.io("creating an overlay", e))
    }

    /// Whether each overlay stands on the point that its image shows: an overlay opened
    /// over other tables would silently read another point's bytes.
    ///
    /// # Errors
    /// [`ReplicaError::NotNow`] where one does not, or is missing.
    pub fn check_overlays(&self, point: PointId) -> Result<(), ReplicaError> {
        for overlay in self.overlays(point)? {
            let shown = self.images.get(&overlay.disk).and_then(Image::active_point);
            let stands_on = self.overlay_point(&overlay)?;
            if shown != Some(point) || stands_on != Some(point) {
                let name = |p: Option<PointId>| p.map_or("none".to_owned(), |p| p.to_string());
                let why = format!(
                    "overlay {} stands on point {}, its image shows {}; discard it and bring the machine up anew",
                    overlay.path.display(),
                    name(stands_on),
                    name(shown)
                );
                return Err(ReplicaError::NotNow { what: "starting the machine", why });
            }
        }
        Ok(())
    }

    fn overlay_point(&self, overlay: &OverlayDisk) -> Result<Option<PointId>, ReplicaError> {
        let read = || {
            let file = self.files.open(&overlay.path, OpenMode::Read)?;
            let mut head = vec![0; HEADER_READ];
            read_exact_at(&*file, &mut head, 0)?;
            Ok(head)
        };
        let head: Vec<u8> = read().map_err(|e| self.io("reading an overlay", e))?;
        let header = Header::decode(&head)
            .map_err(|source| ReplicaError::Format { path: overlay.path.clone(), source })?;
        Ok(crate::image::point_of(&header))
    }
}
