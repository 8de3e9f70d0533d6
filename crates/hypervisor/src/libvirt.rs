//! The libvirt driver: QEMU machines through `qemu:///system`, `qemu:///session`, or libvirt
//! inside this very process (`qemu:///embed?root=DIR`). This module must never decide when a
//! backup is due or what becomes of its data.
//!
//! Who QEMU is: under `qemu:///system` it runs as libvirt's own user (`libvirt-qemu` on
//! Debian), which must be able to write the directories of sockets and scratch files. Under
//! an embedded root that this driver sets up, it runs as this process's user.

mod agent_line;
mod backup;
mod checkpoints;
mod connection;
mod embed;
mod events;
mod export;
mod fault;
#[allow(unsafe_code, reason = "the one place that calls libvirt's C functions which `virt` does not wrap")]
mod ffi;
mod guest_agent;
mod huge_pages;
mod inventory;
mod lifecycle;
mod lookup;
mod networks;
mod pull;
mod startable;

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use farshore_types::{DiskKey, MachineId};
use tokio::sync::broadcast;

use crate::{
    Backup, BackupSpec, BlockJob, Checkpoint, Deletion, Event, Export, GuestState, HostFacts, Hypervisor,
    JobState, Kind, Machine, Problem, Result, Start,
};
use connection::Host;

/// Longest wait for a call that only asks or changes little. More than the 30 s that libvirt
/// itself waits for a machine's lock before it says so.
const CALL_DEADLINE: Duration = Duration::from_secs(45);
/// Longest wait for a start or a stop: QEMU opens all images and allocates memory.
const POWER_DEADLINE: Duration = Duration::from_secs(120);
/// Longest wait for a backup to begin: on a starved host this takes seconds per disk.
const BEGIN_DEADLINE: Duration = Duration::from_secs(90);
/// Longest wait for a backup to end, its cancellation included.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// How often a guest that shuts down is looked at.
const SHUTDOWN_POLL: Duration = Duration::from_millis(100);
/// Longest wait for what its agent promised before the power button is pressed.
const AGENT_PATIENCE: Duration = Duration::from_secs(30);
/// How often the power button is pressed.
const PRESS_EVERY: Duration = Duration::from_secs(15);

/// A host whose machines libvirt runs.
pub struct Libvirt {
    host: Host,
}

impl Libvirt {
    /// Connects to a hypervisor: `qemu:///system`, `qemu:///session`, or
    /// `qemu:///embed?root=DIR` with an absolute directory, which is made and set up where it
    /// does not exist. A connection that breaks later is opened again by the next call.
    ///
    /// # Errors
    /// [`Kind::Connection`]; [`Kind::Busy`] where another process holds the embedded root;
    /// [`Kind::Denied`].
    pub async fn open(uri: &str) -> Result<Libvirt> {
        Ok(Libvirt { host: Host::open(uri).await? })
    }
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn host_facts(&self) -> Result<HostFacts> {
        self.host.call("describe the host", None, CALL_DEADLINE, inventory::host_facts).await
    }

    async fn machines(&self) -> Result<Vec<Machine>> {
        self.host.call("list the machines", None, CALL_DEADLINE, inventory::machines).await
    }

    async fn machine(&self, id: MachineId) -> Result<Machine> {
        self.host.call("look at", Some(id), CALL_DEADLINE, move |c| inventory::machine(c, id)).await
    }

    async fn find(&self, name_or_uuid: &str) -> Result<Machine> {
        let wanted = name_or_uuid.to_owned();
        let found = self.host.call("find", None, CALL_DEADLINE, move |c| inventory::find(c, &wanted)).await;
        found.map_err(|error| error.of(name_or_uuid))
    }

    async fn define(&self, xml: &str) -> Result<MachineId> {
        let xml = xml.to_owned();
        self.host.call("define a machine", None, CALL_DEADLINE, move |c| lifecycle::define(c, &xml)).await
    }

    async fn undefine(&self, id: MachineId, state: GuestState) -> Result<()> {
        self.host.call("undefine", Some(id), CALL_DEADLINE, move |c| lifecycle::undefine(c, id, state)).await
    }

    async fn start(&self, id: MachineId, how: Start) -> Result<()> {
        self.host.call("start", Some(id), POWER_DEADLINE, move |c| lifecycle::start(c, id, how)).await
    }

    async fn resume(&self, id: MachineId) -> Result<()> {
        self.host.call("resume", Some(id), CALL_DEADLINE, move |c| lifecycle::resume(c, id)).await
    }

    async fn suspend(&self, id: MachineId) -> Result<()> {
        self.host.call("suspend", Some(id), CALL_DEADLINE, move |c| lifecycle::suspend(c, id)).await
    }

    async fn shut_down(&self, id: MachineId, deadline: Duration) -> Result<()> {
        const WHAT: &str = "shut down";
        let wait = async {
            let ask = move |c: &_| lifecycle::ask_agent_to_shut_down(c, id);
            let asked = self.host.call(WHAT, Some(id), CALL_DEADLINE, ask).await?;
            let patience = if asked { AGENT_PATIENCE.min(deadline / 2) } else { Duration::ZERO };
            let mut press_at = tokio::time::Instant::now() + patience;
            while !self.host.call(WHAT, Some(id), CALL_DEADLINE, move |c| lifecycle::is_off(c, id)).await? {
                if tokio::time::Instant::now() >= press_at {
                    // One that has just booted may have an agent by now, and no ear for the button yet.
                    self.host.call(WHAT, Some(id), CALL_DEADLINE, ask).await?;
                    let press = move |c: &_| lifecycle::press_power_button(c, id);
                    match self.host.call(WHAT, Some(id), CALL_DEADLINE, press).await {
                        // It has stopped in between.
                        Err(error) if error.kind == Kind::NotRunning => {}
                        done => done?,
                    }
                    press_at = tokio::time::Instant::now() + PRESS_EVERY;
                }
                tokio::time::sleep(SHUTDOWN_POLL).await;
            }
            Ok(())
        };
        match tokio::time::timeout(deadline, wait).await {
            Ok(done) => done,
            Err(_) => {
                let detail = format!("the guest has not stopped within {} s", deadline.as_secs());
                let error = self.host.error(WHAT, Some(id), Kind::Timeout, detail).await;
                Err(error.advise("look at the guest's console, or stop the machine hard"))
            }
        }
    }

    async fn destroy(&self, id: MachineId) -> Result<()> {
        self.host.call("stop", Some(id), POWER_DEADLINE, move |c| lifecycle::destroy(c, id)).await
    }

    async fn unplug(&self, id: MachineId) -> Result<()> {
        let unplug = move |c: &_| lifecycle::unplug(c, id);
        self.host.call("pull the cables of", Some(id), CALL_DEADLINE, unplug).await
    }

    async fn has_run(&self, id: MachineId) -> Result<bool> {
        let ask = move |c: &_| inventory::has_run(c, id);
        self.host.call("see whether it has run:", Some(id), CALL_DEADLINE, ask).await
    }

    async fn set_autostart(&self, id: MachineId, autostart: bool) -> Result<()> {
        let set = move |c: &_| lifecycle::set_autostart(c, id, autostart);
        self.host.call("set the autostart of", Some(id), CALL_DEADLINE, set).await
    }

    async fn create_network(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        let create = move |c: &_| networks::create(c, &name);
        self.host.call("create a network", None, CALL_DEADLINE, create).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        let remove = move |c: &_| networks::remove(c, &name);
        self.host.call("remove a network", None, CALL_DEADLINE, remove).await
    }

    async fn reserved_address(&self, network: &str, card: &str) -> Result<Option<IpAddr>> {
        let (network, card) = (network.to_owned(), card.to_owned());
        let reserved = move |c: &_| networks::reserved(c, &network, &card);
        self.host.call("look for an address", None, CALL_DEADLINE, reserved).await
    }

    async fn reserve_address(&self, network: &str, card: &str, address: IpAddr) -> Result<()> {
        let (network, card) = (network.to_owned(), card.to_owned());
        let reserve = move |c: &_| networks::reserve(c, &network, &card, address);
        self.host.call("reserve an address", None, CALL_DEADLINE, reserve).await
    }

    async fn release_address(&self, network: &str, card: &str) -> Result<()> {
        let (network, card) = (network.to_owned(), card.to_owned());
        let release = move |c: &_| networks::release(c, &network, &card);
        self.host.call("release an address", None, CALL_DEADLINE, release).await
    }

    async fn check_startable(&self, xml: &str) -> Result<Vec<Problem>> {
        let xml = xml.to_owned();
        let check = move |c: &_| startable::check(c, &xml);
        self.host.call("check a machine's definition", None, CALL_DEADLINE, check).await
    }

    async fn checkpoints(&self, id: MachineId) -> Result<Vec<Checkpoint>> {
        let list = move |c: &_| checkpoints::list(c, id);
        self.host.call("list the checkpoints of", Some(id), CALL_DEADLINE, list).await
    }

    async fn delete_checkpoint(&self, id: MachineId, name: &str, how: Deletion) -> Result<()> {
        let name = name.to_owned();
        let delete = move |c: &_| checkpoints::delete(c, id, &name, how);
        self.host.call("delete a checkpoint of", Some(id), CALL_DEADLINE, delete).await
    }

    async fn begin_backup(&self, id: MachineId, spec: &BackupSpec) -> Result<Backup> {
        let spec = spec.clone();
        let begin = move |c: &_| backup::begin(c, id, &spec);
        self.host.call("begin a backup of", Some(id), BEGIN_DEADLINE, begin).await
    }

    async fn open_export(&self, backup: &Backup, disk: &DiskKey) -> Result<Box<dyn Export>> {
        export::open(backup, disk).await
    }

    async fn end_backup(&self, id: MachineId) -> Result<()> {
        self.host.call("end the backup of", Some(id), END_DEADLINE, move |c| backup::end(c, id)).await
    }

    async fn job(&self, id: MachineId) -> Result<JobState> {
        self.host.call("look at the job of", Some(id), CALL_DEADLINE, move |c| backup::job(c, id)).await
    }

    async fn block_jobs(&self, id: MachineId) -> Result<Vec<BlockJob>> {
        let list = move |c: &_| pull::block_jobs(c, id);
        self.host.call("list the block jobs of", Some(id), CALL_DEADLINE, list).await
    }

    async fn begin_pull(&self, id: MachineId, disk: &DiskKey, rate: u64) -> Result<()> {
        let disk = disk.clone();
        let begin = move |c: &_| pull::begin(c, id, &disk, rate);
        self.host.call("pull the layers below a disk of", Some(id), CALL_DEADLINE, begin).await
    }

    async fn end_pull(&self, id: MachineId, disk: &DiskKey) -> Result<()> {
        let disk = disk.clone();
        let end = move |c: &_| pull::end(c, id, &disk);
        self.host.call("end the pull on a disk of", Some(id), END_DEADLINE, end).await
    }

    async fn freeze(&self, id: MachineId, patience: Duration) -> Result<u32> {
        let freeze = move |c: &_| guest_agent::freeze(c, id, patience);
        self.host.call("freeze", Some(id), guest_agent::deadline(patience), freeze).await
    }

    async fn thaw(&self, id: MachineId, patience: Duration) -> Result<u32> {
        // Never turned away because an earlier call hangs: the guest stands still meanwhile.
        let thaw = move |c: &_| guest_agent::thaw(c, id, patience);
        self.host.call_regardless("thaw", id, guest_agent::deadline(patience), thaw).await
    }

    async fn is_frozen(&self, id: MachineId, patience: Duration) -> Result<bool> {
        let ask = move |c: &_| guest_agent::is_frozen(c, id, patience);
        let deadline = guest_agent::deadline(patience);
        self.host.call_regardless("see whether it is frozen:", id, deadline, ask).await
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.host.events()
    }
}
