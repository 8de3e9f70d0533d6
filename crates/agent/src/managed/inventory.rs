//! What the host is and what is on it. This module must never change anything.

use std::{
    collections::BTreeSet,
    os::unix::fs::{FileExt, MetadataExt},
};

use farshore_control::report::{
    ALLOCATED_STEP, DiskFacts, HostFacts, Inventory, MachineFacts, Space, StorageClass,
};
use farshore_hypervisor::{Disk, Machine, NicSource, definition};
use farshore_types::Digest;

use crate::{Agent, AgentError, commands};

/// Name of the one storage class that every host has.
const DEFAULT_CLASS: &str = "default";
/// Where the system tells its memory.
const MEMINFO: &str = "/proc/meminfo";

/// Everything.
///
/// # Errors
/// Where the hypervisor does not answer.
pub(super) async fn look(agent: &Agent) -> Result<Inventory, AgentError> {
    let hypervisor = agent.hypervisor().await?;
    let facts = hypervisor.host_facts().await?;
    let mut machines = Vec::new();
    let copies = agent.managed().map(|managed| managed.drill_copies()).unwrap_or_default();
    for machine in hypervisor.machines().await?.into_iter().filter(|machine| !copies.contains(&machine.id)) {
        let replica = agent.replicas().get(machine.id).await.ok().flatten();
        let brought_up_at = match replica {
            Some(replica) => commands::brought_up_at(replica.run(|store| store.phase()).await),
            None => None,
        };
        machines.push(machine_facts(agent, machine, brought_up_at));
    }
    let host = HostFacts {
        hypervisor: facts.hypervisor,
        hypervisor_version: facts.qemu_version.unwrap_or_default(),
        libvirt_version: facts.libvirt_version,
        arch: facts.arch,
        cpus: std::thread::available_parallelism().map_or(0, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory: memory(),
    };
    let networks = networks(agent, &machines, facts.networks);
    let path = agent.config().replica_dir.display().to_string();
    let storage = vec![StorageClass { name: DEFAULT_CLASS.to_owned(), path, default: true }];
    Ok(Inventory { host, machines, networks, storage })
}

/// A short name of an inventory's content.
pub(super) fn digest(inventory: &Inventory) -> String {
    let text = serde_json::to_vec(inventory).unwrap_or_default();
    Digest::of(&text).0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn machine_facts(
    agent: &Agent,
    machine: Machine,
    brought_up_at: Option<farshore_types::PointId>,
) -> MachineFacts {
    let replica_dir = &agent.config().replica_dir;
    let disk = |disk: Disk| {
        let kept = disk.path.as_ref().is_some_and(|path| path.starts_with(replica_dir));
        let allocated = allocated(&disk);
        let line = commands::disk_line(disk);
        DiskFacts {
            allocated,
            key: line.disk,
            size: line.size,
            format: line.format,
            storage: kept.then(|| DEFAULT_CLASS.to_owned()),
            tracking: line.tracking,
            why: line.why,
        }
    };
    let tpm = definition::machine(&machine.definition).is_ok_and(|text| text.tpm);
    MachineFacts {
        tpm,
        id: machine.id,
        power: commands::power(&machine.power),
        networks: machine.nics.iter().map(|nic| network(&nic.source)).collect(),
        cards: machine.nics.iter().filter_map(|nic| nic.mac.clone()).collect(),
        disks: machine.disks.into_iter().map(disk).collect(),
        name: machine.name,
        brought_up_at,
    }
}

/// What a disk takes here. Of a part of its content in another file, nobody knows how much of
/// that is covered; what is no file takes all of it.
fn allocated(disk: &Disk) -> Option<u64> {
    let path = disk.path.as_ref()?;
    let file = std::fs::File::open(path).ok()?;
    let facts = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    if disk.format == "qcow2" {
        // Bytes 8 to 15 of the header: where the backing file's name is.
        let mut head = [0; 16];
        file.read_exact_at(&mut head, 0).ok()?;
        if head[8..] != [0; 8] {
            return None;
        }
    }
    let steps = (facts.blocks() * 512).div_ceil(ALLOCATED_STEP).max(1);
    Some(steps.saturating_mul(ALLOCATED_STEP).min(disk.size))
}

/// What a mapping can name.
fn network(source: &NicSource) -> Option<String> {
    match source {
        NicSource::Network(name) | NicSource::Bridge(name) | NicSource::Direct(name) => Some(name.clone()),
        NicSource::User | NicSource::None | NicSource::Other(_) => None,
    }
}

/// Those of the hypervisor that no test failover made for itself, those that machines here use,
/// and those that the configuration names as being here.
fn networks(agent: &Agent, machines: &[MachineFacts], started: Vec<String>) -> Vec<String> {
    let made = agent.managed().map(|managed| managed.drill_networks()).unwrap_or_default();
    let started = started.into_iter().filter(|name| !made.contains(name));
    let used = machines.iter().flat_map(|machine| machine.networks.iter().flatten());
    let named = agent.config().networks.values().filter(|name| !name.is_empty());
    used.chain(named).cloned().chain(started).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Bytes of memory; 0 where the system does not say.
fn memory() -> u64 {
    meminfo("MemTotal:").unwrap_or(0).saturating_mul(1024)
}

/// A number that the system tells of its memory.
pub(super) fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(MEMINFO).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Room where replicas and scratch files are kept.
pub(crate) fn space(agent: &Agent) -> Vec<Space> {
    let config = agent.config();
    let mut places = vec![(config.replica_dir.clone(), "replicas"), (config.runtime_dir.clone(), "scratch")];
    if let Some(managed) = agent.managed() {
        let more: BTreeSet<_> = managed.places().into_iter().map(|(_, place)| place).collect();
        places.extend(more.into_iter().map(|place| (place, "replicas")));
    }
    let room = |(path, of): (std::path::PathBuf, &str)| {
        let free = agent.free_space(&path).ok()?;
        let total = nix::sys::statvfs::statvfs(&path)
            .map_or(0, |vfs| vfs.blocks().saturating_mul(vfs.fragment_size()));
        Some(Space { path: path.display().to_string(), of: of.to_owned(), free, total })
    };
    places.into_iter().filter_map(room).collect()
}
