//! A hypervisor in memory, for tests: machines with model disks, dirty bitmaps that behave
//! like QEMU's, backups of one instant, and failures on demand. It keeps the same contract
//! as the real one, and the same tests hold it to that. This module must never touch a file
//! or start a process.

mod agent;
mod driver;
mod export;
mod faults;
mod image;
mod pull;
mod witness;
mod world;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use farshore_types::{DiskKey, MachineId};
use tokio::sync::broadcast;

use crate::{BlockJob, Change, Event, HypervisorError, Kind, PowerState, Problem, Result};
use faults::Faults;
pub use faults::{Gate, Operation};
use image::Image;
pub use witness::Witness;
use world::World;

/// Events kept for a receiver that lags.
const EVENT_QUEUE: usize = 1024;

/// A host in memory. Clones are the same host.
#[derive(Clone)]
pub struct Simulated {
    world: Arc<Mutex<World>>,
    faults: Arc<Mutex<Faults>>,
    events: broadcast::Sender<Event>,
    /// Who sees the calls that are made through this clone.
    witness: Option<Arc<dyn Witness>>,
}

impl Default for Simulated {
    fn default() -> Simulated {
        Simulated::new()
    }
}

impl Simulated {
    /// An empty host.
    #[must_use]
    pub fn new() -> Simulated {
        let events = broadcast::channel(EVENT_QUEUE).0;
        Simulated { world: Arc::default(), faults: Arc::default(), events, witness: None }
    }

    /// The same host for somebody all of whose calls `witness` sees.
    #[must_use]
    pub fn seen_by(&self, witness: Arc<dyn Witness>) -> Simulated {
        Simulated { witness: Some(witness), ..self.clone() }
    }

    /// Adds a machine, off, with empty disks of the given names and sizes in bytes, all qcow2.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a disk's name that cannot be, [`Kind::AlreadyExists`].
    pub async fn add_machine(&self, name: &str, disks: &[(&str, u64)]) -> Result<MachineId> {
        let mut devices = String::new();
        for (key, size) in disks {
            let path = PathBuf::from(format!("/images/{name}/{key}.qcow2"));
            devices += &format!(
                "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
                 <target dev='{key}' bus='virtio'/></disk>",
                path.display()
            );
            self.add_image(&path, *size);
        }
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><os><type arch='x86_64'>hvm</type></os>\
             <devices>{devices}</devices></domain>"
        );
        self.define(&xml).await
    }

    /// Adds an empty image that definitions may name as a disk's source; one of that path
    /// that is there already stays.
    pub fn add_image(&self, path: &Path, size: u64) {
        self.world().images.entry(path.to_owned()).or_insert_with(|| Image::new(size));
    }

    /// Writes as the guest would: recorded by the bitmaps that record now, unseen by backups
    /// that have begun. Works on machines that are off too, as an offline tool's write would.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`], [`Kind::Invalid`] past the disk's end.
    pub fn guest_write(&self, machine: MachineId, disk: &DiskKey, offset: u64, data: &[u8]) -> Result<()> {
        self.world().image_of("write to", machine, disk)?.write("write to", offset, data)
    }

    /// Discards as the guest would: recorded, and reads as zeros afterwards.
    ///
    /// # Errors
    /// As for [`guest_write`](Self::guest_write).
    pub fn guest_discard(&self, machine: MachineId, disk: &DiskKey, offset: u64, len: u64) -> Result<()> {
        self.world().image_of("discard on", machine, disk)?.discard("discard on", offset, len)
    }

    /// Gives a disk another size, also while the machine runs. No bitmap records it.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`], [`Kind::Invalid`].
    pub fn resize(&self, machine: MachineId, disk: &DiskKey, size: u64) -> Result<()> {
        self.world().image_of("resize", machine, disk)?.resize(size);
        Ok(())
    }

    /// All bytes of a disk as they are now.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`], [`Kind::Invalid`].
    pub fn model_bytes(&self, machine: MachineId, disk: &DiskKey) -> Result<Vec<u8>> {
        Ok(self.world().image_of("read", machine, disk)?.bytes())
    }

    /// Kills the machine's process: it is off, all its bitmaps are lost, its backup is gone.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn kill(&self, machine: MachineId) -> Result<()> {
        self.world().kill(machine)?;
        self.tell(machine, Change::Stopped { crashed: true });
        Ok(())
    }

    /// Loses the bitmaps of one checkpoint, as a tool that deletes them would.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn lose_bitmaps(&self, machine: MachineId, checkpoint: &str) -> Result<()> {
        self.world().lose_bitmaps(machine, checkpoint)
    }

    /// Pauses the machine as QEMU does when a write fails.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn pause_by_io_error(&self, machine: MachineId) -> Result<()> {
        let reason = "a write to its storage failed".to_owned();
        self.world().machine_mut("pause", machine)?.power = PowerState::Paused { io_error: true, reason };
        self.tell(machine, Change::Suspended { io_error: true });
        Ok(())
    }

    /// Puts a block job in the way of backups, or (`None`) takes it away.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn set_block_job(&self, machine: MachineId, job: Option<BlockJob>) -> Result<()> {
        self.world().machine_mut("change", machine)?.block_job = job;
        Ok(())
    }

    /// Whether a disk's image can be looked at; at first it can. The guest does not notice.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn set_unseen(&self, machine: MachineId, disk: &DiskKey, unseen: bool) -> Result<()> {
        let mut world = self.world();
        let path = world.model("change", machine)?.path_of(disk).cloned();
        match (path, unseen) {
            (Some(path), true) => drop(world.unseen.insert(path)),
            (Some(path), false) => drop(world.unseen.remove(&path)),
            (None, _) => {}
        }
        Ok(())
    }

    /// A network that gives addresses.
    pub fn add_network_with_addresses(&self, name: &str) {
        self.world().giving.insert(name.to_owned());
    }

    /// A person lets a network keep an address for a card.
    pub fn keep_address(&self, network: &str, card: &str, address: std::net::IpAddr) {
        self.world().addresses.insert((network.to_owned(), card.to_owned()), address);
    }

    /// The address that a network keeps for a card.
    #[must_use]
    pub fn address_of(&self, network: &str, card: &str) -> Option<std::net::IpAddr> {
        self.world().addresses.get(&(network.to_owned(), card.to_owned())).copied()
    }

    /// The networks that were made here and are there.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        self.world().networks.iter().cloned().collect()
    }

    /// Whether the cables of a machine's cards were pulled since it was started.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn is_unplugged(&self, machine: MachineId) -> Result<bool> {
        Ok(self.world().model("look at", machine)?.unplugged)
    }

    /// Whether the guest heeds a request to shut down; at first it does.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn set_heeds_shutdown(&self, machine: MachineId, heeds: bool) -> Result<()> {
        self.world().machine_mut("change", machine)?.heeds_shutdown = heeds;
        Ok(())
    }

    /// As `virsh managedsave`: its memory is kept in a file, and it is off.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn save(&self, machine: MachineId) -> Result<()> {
        let mut world = self.world();
        world.stop("save", machine, false)?;
        world.machine_mut("save", machine)?.saved = true;
        Ok(())
    }

    /// As `virsh managedsave-remove`: that file is gone.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn give_saved_up(&self, machine: MachineId) -> Result<()> {
        self.world().machine_mut("change", machine)?.saved = false;
        Ok(())
    }

    /// What `check_startable` answers from now on.
    pub fn set_start_problems(&self, problems: Vec<Problem>) {
        self.world().start_problems = problems;
    }

    /// Makes the `nth` call of `operation` from now on (1: the next) fail without effect.
    pub fn fail(&self, operation: Operation, nth: u32, kind: Kind) {
        self.faults().add(operation, nth, kind, false);
    }

    /// Makes the `nth` call of `operation` from now on take effect and *then* fail, as a
    /// timeout does whose call ends later.
    pub fn fail_after_effect(&self, operation: Operation, nth: u32, kind: Kind) {
        self.faults().add(operation, nth, kind, true);
    }

    /// Holds all calls of `operation` until the gate is dropped.
    #[must_use]
    pub fn hold(&self, operation: Operation) -> Gate {
        self.faults().hold(operation)
    }

    /// Number of calls of `operation` so far, failed ones included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.faults().calls(operation)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, machine: MachineId, change: Change) {
        // Nobody listening is fine.
        drop(self.events.send(Event::Machine { machine, change }));
    }

    async fn define(&self, xml: &str) -> Result<MachineId> {
        crate::Hypervisor::define(self, xml).await
    }
}

fn wrong(operation: &'static str, kind: Kind, detail: impl Into<String>) -> HypervisorError {
    HypervisorError::new(operation, kind, detail)
}

#[cfg(test)]
mod tests;
