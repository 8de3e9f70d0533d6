//! The agent of a guest in memory, and what a guest whose file systems stand still looks like.
//! It remembers of each backup whether the guest was frozen at its instant, so that a test can
//! hold that against what is said of the point. This module must never wait.

use farshore_types::MachineId;

use super::{Simulated, world::World};
use crate::{Kind, Result};

/// File systems that the guest has.
const FILE_SYSTEMS: u32 = 2;

/// The agent, and how the guest's file systems are.
#[derive(Default)]
pub(super) struct GuestAgent {
    present: bool,
    frozen: u32,
    instants: Vec<bool>,
}

impl GuestAgent {
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen > 0
    }

    /// The guest is gone, and its standstill with it.
    pub(super) fn stop(&mut self) {
        self.frozen = 0;
    }

    /// A backup's instant.
    pub(super) fn instant(&mut self) {
        self.instants.push(self.frozen == FILE_SYSTEMS);
    }
}

impl World {
    /// The agent of a started guest, where it answers.
    pub(super) fn agent(&mut self, verb: &'static str, id: MachineId) -> Result<&mut GuestAgent> {
        let model = self.started(verb, id)?;
        if !model.agent.present {
            return Err(model.error(verb, Kind::NoAgent, "its guest agent is not configured"));
        }
        if model.power.is_paused() {
            return Err(model.error(verb, Kind::Timeout, "its guest agent does not answer"));
        }
        Ok(&mut model.agent)
    }

    pub(super) fn freeze(&mut self, verb: &'static str, id: MachineId) -> Result<u32> {
        if self.agent(verb, id)?.is_frozen() {
            let model = self.model(verb, id)?;
            return Err(model.error(verb, Kind::Busy, "the agent is in frozen state"));
        }
        self.agent(verb, id)?.frozen = FILE_SYSTEMS;
        Ok(FILE_SYSTEMS)
    }

    pub(super) fn thaw(&mut self, verb: &'static str, id: MachineId) -> Result<u32> {
        Ok(std::mem::take(&mut self.agent(verb, id)?.frozen))
    }
}

impl Simulated {
    /// Whether the guest has an agent that can freeze file systems; at first it has none. What
    /// is frozen stays so when the agent goes.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn set_guest_agent(&self, machine: MachineId, present: bool) -> Result<()> {
        self.world().machine_mut("change", machine)?.agent.present = present;
        Ok(())
    }

    /// Freezes (`true`) or thaws one of the guest's file systems, as somebody in the guest would.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn freeze_one(&self, machine: MachineId, freeze: bool) -> Result<()> {
        let mut world = self.world();
        let agent = &mut world.machine_mut("change", machine)?.agent;
        agent.frozen = if freeze { agent.frozen + 1 } else { agent.frozen.saturating_sub(1) };
        Ok(())
    }

    /// Whether any of the guest's file systems stands still.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn stands_frozen(&self, machine: MachineId) -> Result<bool> {
        Ok(self.world().model("look at", machine)?.agent.is_frozen())
    }

    /// Of each backup that was begun: whether all of the guest's file systems were frozen at its
    /// instant.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn frozen_instants(&self, machine: MachineId) -> Result<Vec<bool>> {
        Ok(self.world().model("look at", machine)?.agent.instants.clone())
    }
}
