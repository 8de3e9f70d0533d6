//! Block pulls of the model: they stand still until a test lets them go on. This module must
//! never copy anything: a model image has all that it reads.

use farshore_types::{DiskKey, MachineId};

use super::{Simulated, world::World};
use crate::{BlockJob, Kind, Result};

/// What a pull is called among block jobs.
const PULL: &str = "pull";

impl World {
    pub(super) fn begin_pull(&mut self, verb: &'static str, id: MachineId, disk: &DiskKey) -> Result<()> {
        let model = self.started(verb, id)?;
        match &model.block_job {
            Some(job) if job.what == PULL && job.disk == *disk => return Ok(()),
            _ => model.check_free(verb)?,
        }
        let image = self.image_of(verb, id, disk)?;
        if !image.layered {
            return Ok(());
        }
        let job = BlockJob { disk: disk.clone(), what: PULL.to_owned(), done: 0, total: image.size };
        self.machine_mut(verb, id)?.block_job = Some(job);
        Ok(())
    }

    pub(super) fn end_pull(&mut self, verb: &'static str, id: MachineId, disk: &DiskKey) -> Result<()> {
        let model = self.machine_mut(verb, id)?;
        match &model.block_job {
            Some(job) if job.disk == *disk && job.what != PULL => {
                let why = format!("a block job ({}) runs on it", job.what);
                Err(model.error(verb, Kind::Busy, &why))
            }
            Some(job) if job.disk == *disk => {
                model.block_job = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Simulated {
    /// Says whether a disk's image stands on another one.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`], [`Kind::Invalid`].
    pub fn set_layered(&self, machine: MachineId, disk: &DiskKey, layered: bool) -> Result<()> {
        self.world().image_of("change", machine, disk)?.layered = layered;
        Ok(())
    }

    /// Lets a pull that was begun go on by so many bytes; at its end it goes, and the disk stands
    /// on nothing. Without one nothing happens.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn advance_pull(&self, machine: MachineId, bytes: u64) -> Result<()> {
        let mut world = self.world();
        let model = world.machine_mut("change", machine)?;
        let Some(job) = model.block_job.as_mut().filter(|job| job.what == PULL) else { return Ok(()) };
        job.done = job.done.saturating_add(bytes).min(job.total);
        if job.done < job.total {
            return Ok(());
        }
        let disk = job.disk.clone();
        model.block_job = None;
        world.image_of("change", machine, &disk)?.layered = false;
        Ok(())
    }
}
