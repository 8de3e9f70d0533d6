//! The contract over the model. This module must never hold the world's lock while it waits.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use farshore_types::{DiskKey, MachineId};
use tokio::sync::broadcast;

use super::{Operation, Simulated, export::SimulatedExport, world::World, wrong};
use crate::{
    Backup, BackupSpec, BlockJob, Change, Checkpoint, Deletion, Event, Export, GuestState, HostFacts,
    Hypervisor, JobState, Kind, Machine, PowerState, Problem, Result, Start, definition,
};

impl Simulated {
    /// One call: counted, held, failed or done as planned.
    async fn act<T>(
        &self,
        operation: Operation,
        verb: &'static str,
        work: impl FnOnce(&mut World, &'static str) -> Result<T>,
    ) -> Result<T> {
        let mut fate = self.faults().next(operation);
        fate.meet(verb).await?;
        let told = |kind| wrong(verb, kind, "the test wants it so");
        let witness = self.witness.as_deref();
        let seen = witness.map(|witness| witness.before(operation)).transpose().map_err(told)?;
        let result = work(&mut self.world(), verb);
        if let (Some(witness), Some(seen)) = (witness, seen) {
            witness.after(operation, seen).map_err(told)?;
        }
        fate.conclude(verb, result)
    }

    /// A call that changes a machine's power where `work` says so, and tells of it.
    async fn turn(
        &self,
        operation: Operation,
        verb: &'static str,
        id: MachineId,
        work: impl FnOnce(&mut World, &'static str) -> Result<Option<Change>>,
    ) -> Result<()> {
        let tell = |change: Option<Change>| {
            if let Some(change) = change {
                self.tell(id, change);
            }
        };
        self.act(operation, verb, |world, verb| work(world, verb).map(tell)).await
    }
}

#[async_trait]
impl Hypervisor for Simulated {
    async fn host_facts(&self) -> Result<HostFacts> {
        let facts = HostFacts {
            hypervisor: "simulated".to_owned(),
            libvirt_version: "0.0.0".to_owned(),
            qemu_version: None,
            uri: "simulated:///".to_owned(),
            arch: "x86_64".to_owned(),
            networks: Vec::new(),
        };
        self.act(Operation::HostFacts, "describe the host", |world, _| {
            let networks = world.networks.iter().chain(&world.giving).cloned().collect();
            Ok(HostFacts { networks, ..facts })
        })
        .await
    }

    async fn machines(&self) -> Result<Vec<Machine>> {
        self.act(Operation::Machines, "list the machines", |world, _| {
            let mut out: Vec<_> =
                world.machines.iter().map(|(id, model)| world.describe(*id, model)).collect();
            out.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(out)
        })
        .await
    }

    async fn machine(&self, id: MachineId) -> Result<Machine> {
        let describe = |world: &mut World, verb| Ok(world.describe(id, world.model(verb, id)?));
        self.act(Operation::Machine, "look at", describe).await
    }

    async fn find(&self, name_or_uuid: &str) -> Result<Machine> {
        self.act(Operation::Machine, "find", |world, verb| {
            let by_id = name_or_uuid.parse().ok().and_then(|id| Some((id, world.machines.get(&id)?)));
            let by_name =
                || world.machines.iter().find(|(_, m)| m.name() == name_or_uuid).map(|(id, m)| (*id, m));
            let missing = || wrong(verb, Kind::NoSuchMachine, "there is no such machine").of(name_or_uuid);
            by_id.or_else(by_name).map(|(id, model)| world.describe(id, model)).ok_or_else(missing)
        })
        .await
    }

    async fn define(&self, xml: &str) -> Result<MachineId> {
        self.act(Operation::Define, "define a machine", |world, verb| {
            let id = world.define(verb, xml)?;
            self.tell(id, Change::Defined);
            Ok(id)
        })
        .await
    }

    async fn undefine(&self, id: MachineId, _: GuestState) -> Result<()> {
        self.turn(Operation::Undefine, "undefine", id, |world, verb| {
            let model = world.model(verb, id)?;
            if !model.power.is_off() {
                return Err(model.error(verb, Kind::AlreadyRunning, "it is running"));
            }
            world.machines.remove(&id);
            Ok(Some(Change::Undefined))
        })
        .await
    }

    async fn start(&self, id: MachineId, how: Start) -> Result<()> {
        self.turn(Operation::Start, "start", id, |world, verb| {
            let model = world.machine_mut(verb, id)?;
            if !model.power.is_off() {
                return Err(model.error(verb, Kind::AlreadyRunning, "it is started already"));
            }
            // One that was saved goes on as it was.
            model.saved = false;
            model.has_run = how == Start::Running;
            model.unplugged = false;
            model.power = match how {
                Start::Running => PowerState::Running,
                Start::Paused => PowerState::Paused { io_error: false, reason: "by request".to_owned() },
            };
            Ok(Some(Change::Started))
        })
        .await
    }

    async fn resume(&self, id: MachineId) -> Result<()> {
        self.turn(Operation::Resume, "resume", id, |world, verb| {
            let model = world.started(verb, id)?;
            let was_paused = model.power.is_paused();
            model.power = PowerState::Running;
            model.has_run = true;
            Ok(was_paused.then_some(Change::Resumed))
        })
        .await
    }

    async fn suspend(&self, id: MachineId) -> Result<()> {
        self.turn(Operation::Suspend, "suspend", id, |world, verb| {
            let model = world.started(verb, id)?;
            if model.power.is_paused() {
                return Ok(None);
            }
            model.power = PowerState::Paused { io_error: false, reason: "by request".to_owned() };
            Ok(Some(Change::Suspended { io_error: false }))
        })
        .await
    }

    async fn shut_down(&self, id: MachineId, deadline: Duration) -> Result<()> {
        const VERB: &str = "shut down";
        let mut ignored = false;
        self.turn(Operation::ShutDown, VERB, id, |world, verb| {
            let model = world.model(verb, id)?;
            ignored = !model.power.is_off() && !model.heeds_shutdown;
            if model.power.is_off() || ignored {
                return Ok(None);
            }
            world.stop(verb, id, false)?;
            Ok(Some(Change::Stopped { crashed: false }))
        })
        .await?;
        if ignored {
            tokio::time::sleep(deadline).await;
            let detail = format!("the guest has not stopped within {} s", deadline.as_secs());
            return Err(wrong(VERB, Kind::Timeout, detail).of(id));
        }
        Ok(())
    }

    async fn destroy(&self, id: MachineId) -> Result<()> {
        self.turn(Operation::Destroy, "stop", id, |world, verb| {
            if world.model(verb, id)?.power.is_off() {
                return Ok(None);
            }
            world.stop(verb, id, false)?;
            Ok(Some(Change::Stopped { crashed: false }))
        })
        .await
    }

    async fn unplug(&self, id: MachineId) -> Result<()> {
        self.act(Operation::Unplug, "pull the cables of", |world, verb| {
            world.started(verb, id)?.unplugged = true;
            Ok(())
        })
        .await
    }

    async fn has_run(&self, id: MachineId) -> Result<bool> {
        let ask = |world: &mut World, verb| {
            let model = world.model(verb, id)?;
            Ok(!model.power.is_off() && model.has_run)
        };
        self.act(Operation::HasRun, "see whether it has run:", ask).await
    }

    async fn set_autostart(&self, id: MachineId, autostart: bool) -> Result<()> {
        self.act(Operation::SetAutostart, "set the autostart of", |world, verb| {
            world.machine_mut(verb, id)?.autostart = autostart;
            Ok(())
        })
        .await
    }

    async fn create_network(&self, name: &str) -> Result<()> {
        self.act(Operation::Networks, "create a network", |world, _| {
            world.networks.insert(name.to_owned());
            Ok(())
        })
        .await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.act(Operation::Networks, "remove a network", |world, _| {
            world.networks.remove(name);
            Ok(())
        })
        .await
    }

    async fn reserved_address(&self, network: &str, card: &str) -> Result<Option<IpAddr>> {
        self.act(Operation::Networks, "look for an address", |world, verb| {
            if !world.networks.contains(network) && !world.giving.contains(network) {
                let why = format!("the host has no network '{network}'");
                return Err(wrong(verb, Kind::NoSuchNetwork, why));
            }
            Ok(world.addresses.get(&(network.to_owned(), card.to_owned())).copied())
        })
        .await
    }

    async fn reserve_address(&self, network: &str, card: &str, address: IpAddr) -> Result<()> {
        self.act(Operation::Networks, "reserve an address", |world, verb| {
            world.reserve(verb, network, card, address)
        })
        .await
    }

    async fn release_address(&self, network: &str, card: &str) -> Result<()> {
        self.act(Operation::Networks, "release an address", |world, _| {
            world.addresses.remove(&(network.to_owned(), card.to_owned()));
            Ok(())
        })
        .await
    }

    async fn check_startable(&self, xml: &str) -> Result<Vec<Problem>> {
        self.act(Operation::CheckStartable, "check a machine's definition", |world, verb| {
            definition::machine(xml).map_err(|e| wrong(verb, Kind::Invalid, e.to_string()))?;
            Ok(world.start_problems.clone())
        })
        .await
    }

    async fn checkpoints(&self, id: MachineId) -> Result<Vec<Checkpoint>> {
        let list = |world: &mut World, verb| Ok(world.model(verb, id)?.checkpoints());
        self.act(Operation::Checkpoints, "list the checkpoints of", list).await
    }

    async fn delete_checkpoint(&self, id: MachineId, name: &str, how: Deletion) -> Result<()> {
        let delete = |world: &mut World, verb| world.delete_checkpoint(verb, id, name, how);
        self.act(Operation::DeleteCheckpoint, "delete a checkpoint of", delete).await
    }

    async fn begin_backup(&self, id: MachineId, spec: &BackupSpec) -> Result<Backup> {
        let begin = |world: &mut World, verb| world.begin_backup(verb, id, spec);
        self.act(Operation::BeginBackup, "begin a backup of", begin).await
    }

    async fn open_export(&self, backup: &Backup, disk: &DiskKey) -> Result<Box<dyn Export>> {
        self.act(Operation::OpenExport, "open a disk in the backup of", |world, verb| {
            let model = world.model(verb, backup.machine)?;
            let gone = || model.error(verb, Kind::Connection, "the backup has ended");
            let running = model.backup.as_ref().filter(|b| b.socket == backup.socket).ok_or_else(gone)?;
            let missing = || model.error(verb, Kind::Invalid, &format!("the backup has no disk '{disk}'"));
            let snapshot = running.disks.get(disk).map(Arc::clone).ok_or_else(missing)?;
            let ended = Arc::clone(&running.ended);
            Ok(Box::new(SimulatedExport { host: self.clone(), snapshot, ended }) as Box<dyn Export>)
        })
        .await
    }

    async fn end_backup(&self, id: MachineId) -> Result<()> {
        self.act(Operation::EndBackup, "end the backup of", |world, verb| {
            world.machine_mut(verb, id)?.backup = None;
            Ok(())
        })
        .await
    }

    async fn job(&self, id: MachineId) -> Result<JobState> {
        self.act(Operation::Job, "look at the job of", |world, verb| {
            Ok(match &world.model(verb, id)?.backup {
                None => JobState::None,
                Some(backup) => JobState::Backup {
                    socket: Some(backup.socket.clone()),
                    scratch_used: Some(0),
                    scratch_total: Some(backup.disks.values().map(|disk| disk.size).sum()),
                },
            })
        })
        .await
    }

    async fn block_jobs(&self, id: MachineId) -> Result<Vec<BlockJob>> {
        let list =
            |world: &mut World, verb| Ok(world.model(verb, id)?.block_job.clone().into_iter().collect());
        self.act(Operation::Job, "list the block jobs of", list).await
    }

    async fn begin_pull(&self, id: MachineId, disk: &DiskKey, _: u64) -> Result<()> {
        let begin = |world: &mut World, verb| world.begin_pull(verb, id, disk);
        self.act(Operation::BeginPull, "pull the layers below a disk of", begin).await
    }

    async fn end_pull(&self, id: MachineId, disk: &DiskKey) -> Result<()> {
        let end = |world: &mut World, verb| world.end_pull(verb, id, disk);
        self.act(Operation::EndPull, "end the pull on a disk of", end).await
    }

    async fn freeze(&self, id: MachineId, _: Duration) -> Result<u32> {
        // Comes also where nobody waits for it any more, as everything of a real host does.
        let host = self.clone();
        let freezing = tokio::spawn(async move {
            host.act(Operation::Freeze, "freeze", |world, verb| world.freeze(verb, id)).await
        });
        freezing.await.unwrap_or_else(|panic| Err(wrong("freeze", Kind::Other, panic.to_string())))
    }

    async fn thaw(&self, id: MachineId, _: Duration) -> Result<u32> {
        self.act(Operation::Thaw, "thaw", |world, verb| world.thaw(verb, id)).await
    }

    async fn is_frozen(&self, id: MachineId, _: Duration) -> Result<bool> {
        let ask = |world: &mut World, verb| Ok(world.agent(verb, id)?.is_frozen());
        self.act(Operation::IsFrozen, "see whether it is frozen:", ask).await
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
