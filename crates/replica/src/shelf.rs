//! Overlays of a machine that was brought up at one point and goes to another: kept, so that
//! it can come back to them as they were left. This module must never start or stop anything.

use std::path::PathBuf;

use farshore_types::PointId;

use crate::{Phase, Pin, Replica, ReplicaError, layout::OVERLAY_SUFFIX};

/// Who holds the points of kept overlays.
const HOLDER: &str = "kept overlays";

impl Replica {
    /// Puts the overlays of a brought-up machine aside, and takes cycles again. The machine
    /// must not run. Cut anywhere, it is repeated.
    ///
    /// # Errors
    /// As the system reports.
    pub fn shelve(&mut self) -> Result<(), ReplicaError> {
        self.check_record()?;
        let (Phase::BroughtUp { point } | Phase::BringingUp { point }) = self.state.phase else {
            return Ok(());
        };
        // What an earlier try put aside is not put aside again.
        self.pin(Pin { point, holder: HOLDER.to_owned() })?;
        self.rename_overlays(&active(), &kept(point))?;
        let mut next = self.state.clone();
        next.phase = Phase::Receiving;
        self.save(next)
    }

    /// Whether overlays of that point were put aside.
    ///
    /// # Errors
    /// As the system reports.
    pub fn is_shelved(&self, point: PointId) -> Result<bool, ReplicaError> {
        let names = self.files.list(self.layout.dir()).map_err(|e| self.io("looking for overlays", e))?;
        Ok(names.iter().any(|name| name.ends_with(&kept(point))))
    }

    /// Puts the overlays of the point that was just brought up in the place of the fresh ones.
    /// Nothing happens where none were put aside.
    ///
    /// # Errors
    /// [`ReplicaError::NotNow`] where another point, or none, was brought up; else as the
    /// system reports.
    pub fn unshelve(&mut self, point: PointId) -> Result<(), ReplicaError> {
        self.check_record()?;
        if self.state.phase != (Phase::BroughtUp { point }) {
            let why = format!("the machine was not brought up at {point}");
            return Err(ReplicaError::NotNow { what: "going back to overlays", why });
        }
        self.rename_overlays(&kept(point), &active())?;
        self.unpin(&Pin { point, holder: HOLDER.to_owned() })
    }

    /// Removes all overlays that were put aside, with what the machine wrote there.
    ///
    /// # Errors
    /// As the system reports.
    pub fn clear_shelf(&mut self) -> Result<(), ReplicaError> {
        let io = |e| self.io("removing kept overlays", e);
        for name in self.files.list(self.layout.dir()).map_err(io)? {
            if name.contains(KEPT) {
                self.files.remove(&self.layout.dir().join(name)).map_err(io)?;
            }
        }
        let pins: Vec<Pin> = self.state.pins.iter().filter(|pin| pin.holder == HOLDER).cloned().collect();
        pins.iter().try_for_each(|pin| self.unpin(pin))
    }

    fn rename_overlays(&self, from: &str, to: &str) -> Result<(), ReplicaError> {
        let io = |e| self.io("putting overlays aside", e);
        let dir: PathBuf = self.layout.dir().to_owned();
        for name in self.files.list(&dir).map_err(io)? {
            if let Some(disk) = name.strip_suffix(from) {
                self.files.rename(&dir.join(&name), &dir.join(format!("{disk}{to}"))).map_err(io)?;
            }
        }
        self.files.sync_dir(&dir).map_err(io)
    }
}

/// In the names of overlays that were put aside, between the disk's and the point's.
const KEPT: &str = ".kept-";

fn active() -> String {
    OVERLAY_SUFFIX.to_owned()
}

/// Not ending as an image's name does, so that nobody takes it for one.
fn kept(point: PointId) -> String {
    format!("{KEPT}{point}")
}
