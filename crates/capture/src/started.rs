//! Machines that are started, paused, for one cycle only: a mark on disk says so before they
//! are, so that whoever comes after a killed agent stops them again. This module must never
//! stop a guest that has run.

use std::path::{Path, PathBuf};

use farshore_env::{Files, OpenMode};
use farshore_hypervisor::{Hypervisor, Kind, Machine};
use farshore_types::MachineId;

use crate::CaptureError;

/// Name of the mark in the machine's state directory.
const MARK: &str = "started-for-a-cycle";

/// Why one that is saved is not started for a cycle.
pub(crate) const SAVED: &str = "the machine's memory is saved in a file, and to read its disks would end that: \
    they are read when it has been started (`virsh start`), or that state given up (`virsh managedsave-remove`)";

fn mark(state: &Path) -> PathBuf {
    state.join(MARK)
}

/// Whether the mark is there: the machine may stand still for a cycle of ours, and run for
/// nobody. `state` is where the machine's replication keeps its state.
#[must_use]
pub fn was_started_for_a_cycle(files: &dyn Files, state: &Path) -> bool {
    files.open(&mark(state), OpenMode::Read).is_ok()
}

/// Notes, durably, that a machine which is off is about to be started for a cycle.
pub(crate) fn note(files: &dyn Files, state: &Path) -> Result<(), CaptureError> {
    let path = mark(state);
    let write = || {
        files.open(&path, OpenMode::Create)?.sync()?;
        files.sync_dir(state)
    };
    write().map_err(|source| CaptureError::State { what: "writing", path: path.clone(), source })
}

/// Stops a machine that was started for a cycle only, and takes the mark away. A guest that
/// somebody has set going since is left alone, also where it stands still again. `state` is
/// where the machine's replication keeps its state. Returns whether a machine was stopped.
///
/// # Errors
/// [`CaptureError`]; the mark stays, and whoever comes next tries again.
pub async fn put_back(
    hypervisor: &dyn Hypervisor,
    files: &dyn Files,
    state: &Path,
    id: MachineId,
) -> Result<bool, CaptureError> {
    let path = mark(state);
    match files.open(&path, OpenMode::Read) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(CaptureError::State { what: "reading", path, source }),
        Ok(_) => {}
    }
    let stopped = match hypervisor.machine(id).await {
        Ok(machine) => stop_unless_run(hypervisor, &machine).await?,
        Err(e) if e.kind == Kind::NoSuchMachine => false,
        Err(e) => return Err(e.into()),
    };
    let clear = || {
        files.remove(&path)?;
        files.sync_dir(state)
    };
    clear().map_err(|source| CaptureError::State { what: "removing", path: path.clone(), source })?;
    Ok(stopped)
}

async fn stop_unless_run(hypervisor: &dyn Hypervisor, machine: &Machine) -> Result<bool, CaptureError> {
    if !machine.power.is_paused() {
        return Ok(false);
    }
    match hypervisor.has_run(machine.id).await {
        Ok(false) => {}
        Ok(true) => {
            tracing::info!(
                machine = machine.name,
                "it was set going since it was started for a cycle: left alone"
            );
            return Ok(false);
        }
        Err(e) => return Err(e.into()),
    }
    hypervisor.destroy(machine.id).await?;
    Ok(true)
}
