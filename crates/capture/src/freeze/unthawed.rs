//! A freeze of ours after which the guest may stand frozen, or which may still come: libvirt keeps
//! one waiting while another call has the guest's agent, and carries it out also where whoever
//! asked for it has gone. So a guest that says that it is thawed is believed only when nothing
//! can come after that any more. This module must never freeze a guest.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use farshore_env::Files;
use farshore_hypervisor::{Hypervisor, HypervisorError, Kind};
use farshore_types::MachineId;

use super::mark;
use crate::{
    CaptureError,
    bug::{self, Bug},
};

/// How long an answer to "are you frozen?" is waited for.
const LOOK: Duration = Duration::from_secs(5);

/// Longest that a freeze of which nobody is left to know takes until it has come or failed: what
/// the guest is given for it, and the 40 s that libvirt may take besides.
const COMES_WITHIN: Duration = Duration::from_secs(60);

/// A freeze that has left its mark, and the guest that may stand frozen by it.
#[derive(Debug)]
pub struct Unthawed {
    machine: MachineId,
    state: PathBuf,
    mark: Vec<u8>,
    found: Instant,
    /// Whether it has come, or never will.
    over: bool,
}

impl Unthawed {
    /// Marks that a guest is about to be frozen, durably.
    pub(super) fn begin(
        files: &dyn Files,
        state: &Path,
        machine: MachineId,
    ) -> Result<Unthawed, CaptureError> {
        Ok(Unthawed::of(machine, state, mark::write(files, state)?))
    }

    /// What a cycle may have left, by its mark; none where there is no mark. `state` is where the
    /// machine's replication keeps its state.
    #[must_use]
    pub fn find(files: &dyn Files, state: &Path, machine: MachineId) -> Option<Unthawed> {
        Some(Unthawed::of(machine, state, mark::read(files, state).ok()??))
    }

    fn of(machine: MachineId, state: &Path, mark: Vec<u8>) -> Unthawed {
        Unthawed { machine, state: state.to_owned(), mark, found: Instant::now(), over: false }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> MachineId {
        self.machine
    }

    /// Whether it is the same freeze.
    #[must_use]
    pub fn is(&self, other: &Unthawed) -> bool {
        (self.machine, &self.mark) == (other.machine, &other.mark)
    }

    /// Whether the guest stood frozen when it was looked at.
    #[must_use]
    pub fn stood(&self) -> bool {
        self.over
    }

    /// What the freeze came to: it does not come any more, but where the connection broke by which
    /// it had been sent.
    pub(super) fn hear(&mut self, answer: &Result<u32, HypervisorError>) {
        self.over |= !matches!(answer, Err(error) if error.kind == Kind::Connection);
    }

    /// Looks at the guest once and thaws it where it is frozen. Whether it is certain now that it
    /// is thawed and stays so: then the mark is gone. False: it says that it is thawed, and a
    /// freeze may still be on its way.
    ///
    /// # Errors
    /// [`CaptureError`]; the mark stays, and it is to be looked at again.
    pub async fn thaw(
        &mut self,
        hypervisor: &dyn Hypervisor,
        files: &dyn Files,
    ) -> Result<bool, CaptureError> {
        if bug::is(Bug::ForgetsFrozen) {
            return Ok(true);
        }
        // Whoever took it away was certain.
        if mark::read(files, &self.state)?.as_ref() != Some(&self.mark) {
            return Ok(true);
        }
        // Thawed, and then asked again: an answer may have been lost, and an earlier request be
        // done only now.
        for _ in 0..2 {
            match hypervisor.is_frozen(self.machine, LOOK).await {
                Ok(true) => {
                    self.over = true;
                    drop(hypervisor.thaw(self.machine, LOOK).await);
                }
                Ok(false) if bug::is(Bug::ForgetsLateFreeze) => return self.clear(files),
                Ok(false) if self.over || self.found.elapsed() >= COMES_WITHIN => return self.clear(files),
                Ok(false) => return Ok(false),
                // What stood still is gone with the guest.
                Err(e) if matches!(e.kind, Kind::NotRunning | Kind::NoSuchMachine) => {
                    return self.clear(files);
                }
                Err(e) => return Err(self.unknown(e.to_string())),
            }
        }
        Err(self.unknown("it says that it is still frozen".to_owned()))
    }

    /// Takes the mark away: the guest is thawed for certain.
    pub(super) fn clear(&self, files: &dyn Files) -> Result<bool, CaptureError> {
        mark::clear(files, &self.state, &self.mark).map(|()| true)
    }

    fn unknown(&self, why: String) -> CaptureError {
        CaptureError::Frozen { machine: self.machine, why }
    }
}
