//! Two hosts whose agents die at any instant, and a machine whose disks are files as well, so that
//! they become a replica as those of a real machine do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use farshore_agent::{
    Agent, AgentError, Config,
    control::{Export, Format, Observer, PointChoice, PointLine, Reply, Request},
};
use farshore_hypervisor::{Disk, Hypervisor, simulated::Simulated};
use farshore_types::{DiskKey, HostId, MachineId, PointId};
use tokio_util::sync::CancellationToken;

use super::{Host, Mortal, Pair, SIZE};
use crate::world::key;

/// The machine's disks.
const DISKS: [&str; 2] = ["vda", "vdb"];

/// All bytes of each disk.
pub(crate) type Bytes = Vec<Vec<u8>>;

/// Defines the machine at the first host.
pub(super) async fn machine(dir: &Path, hosts: &[Host; 2], disks: &[&str]) -> MachineId {
    let mut devices = String::new();
    for disk in disks {
        let path = dir.join(format!("{disk}.qcow2"));
        image_tool("qemu-img", &["create", "-q", "-f", "qcow2"], &path, &[&SIZE.to_string()]);
        devices += &format!(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
             <target dev='{disk}' bus='virtio'/></disk>",
            path.display()
        );
        hosts[0].hypervisor.add_image(&path, SIZE);
    }
    let xml = format!(
        "<domain type='qemu'><name>web1</name><os><type arch='x86_64'>hvm</type></os>\
         <devices>{devices}</devices></domain>"
    );
    let machine = hosts[0].hypervisor.define(&xml).await.unwrap();
    for host in hosts {
        for disk in disks {
            let dir = host.config.replica_dir.join(machine.to_string());
            host.hypervisor.add_image(&dir.join(format!("{disk}.active.qcow2")), SIZE);
        }
    }
    machine
}

/// Of the dead another one comes, or nobody who dies.
pub(super) fn succeed(host: &Host) {
    let mut life = host.life.lock().unwrap();
    if let Some(dead) = life.take_if(|life| life.is_dead()) {
        *life = dead.heir();
    }
}

fn image_tool(tool: &str, before: &[&str], path: &Path, after: &[&str]) {
    let done = Command::new("timeout").args(["60", tool]).args(before).arg(path).args(after).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{done:?}");
}

impl Pair {
    /// Agents that may die at any instant.
    pub(crate) async fn of_mortals(lives: [Arc<Mortal>; 2]) -> Pair {
        Pair::of_mortals_with(lives, |_| {}).await
    }

    /// Such agents, whose configurations `change` has changed.
    pub(crate) async fn of_mortals_with(lives: [Arc<Mortal>; 2], change: impl Fn(&mut Config)) -> Pair {
        Pair::built(&DISKS, change, lives.map(Some)).await
    }

    /// The target's agent begins a life that may end at any instant.
    pub(crate) fn start_target_of(&self, life: &Arc<Mortal>) {
        *self.hosts[1].life.lock().unwrap() = Some(Arc::clone(life));
        self.start(1);
    }

    /// Whether one has died and is not succeeded yet.
    pub(crate) fn has_died(&self, host: HostId) -> bool {
        let life = self.hosts[self.at(host)].life.lock().unwrap();
        life.as_ref().is_some_and(|life| life.is_dead())
    }

    /// An agent that has died is gone, and another one comes from what it left.
    pub(crate) async fn succeed_the_dead(&self) {
        for host in [self.source_id, self.target_id] {
            if self.has_died(host) {
                self.restart(self.at(host)).await;
            }
        }
    }

    fn at(&self, host: HostId) -> usize {
        self.hosts.iter().position(|one| one.id == host).unwrap()
    }

    fn agent_at(&self, host: HostId) -> Option<Arc<Agent>> {
        self.serving[self.at(host)].lock().unwrap().as_ref().map(|serving| Arc::clone(&serving.agent))
    }

    /// A host's hypervisor, as its people meet it.
    pub(crate) fn host(&self, host: HostId) -> &Simulated {
        &self.hosts[self.at(host)].hypervisor
    }

    /// What the machine's disks are at a host, where it is defined there.
    pub(crate) fn disks_at(&self, host: HostId) -> Option<Bytes> {
        let bytes = |disk| self.host(host).model_bytes(self.machine, &key(disk)).ok();
        DISKS.into_iter().map(bytes).collect()
    }

    /// The guest fills its disks.
    pub(crate) fn fill_disks(&self, host: HostId, with: &Bytes) {
        for (disk, bytes) in DISKS.into_iter().zip(with) {
            self.host(host).guest_write(self.machine, &key(disk), 0, bytes).unwrap();
        }
    }

    /// What the simulated disks have gets into the files that they are.
    pub(crate) async fn keep_as_files(&self, host: HostId) {
        let machine = self.host(host).machine(self.machine).await.unwrap();
        let bytes = self.disks_at(host).unwrap();
        for (disk, bytes) in machine.disks.iter().zip(bytes) {
            let content = self.dir.path().join("content.raw");
            fs::write(&content, &bytes).unwrap();
            let write = format!("write -s {} 0 {}", content.display(), bytes.len());
            image_tool("qemu-io", &["-c", &write], disk.path.as_deref().unwrap(), &[]);
        }
    }

    /// What the files that are the machine's disks at a host show.
    pub(crate) async fn files_at(&self, host: HostId) -> Bytes {
        let machine = self.host(host).machine(self.machine).await.unwrap();
        let shown = |disk: &Disk| {
            let to = self.dir.path().join("shown.raw");
            let convert = ["convert", "-U", "-f", "qcow2", "-O", "raw"];
            let path = disk.path.as_deref().unwrap();
            image_tool("qemu-img", &convert, path, &[to.to_str().unwrap()]);
            fs::read(to).unwrap()
        };
        machine.disks.iter().map(shown).collect()
    }

    /// The disks at the newest point at a host, where its agent says them now.
    pub(crate) async fn newest_at(&self, host: HostId) -> Option<Bytes> {
        self.exported(&self.agent_at(host)?, PointChoice::Latest).await
    }

    /// The disks at each of the points that are kept because nobody else has what they show.
    pub(crate) async fn own_writes_at(&self, host: HostId) -> Option<Vec<Bytes>> {
        let agent = self.agent_at(host)?;
        let mut kept = Vec::new();
        for point in self.points_at(host).await? {
            if point.pinned_by.iter().any(|holder| holder == "own writes of before") {
                kept.push(self.exported(&agent, PointChoice::At(point.id)).await?);
            }
        }
        Some(kept)
    }

    /// Whether one of a host's points shows that.
    pub(crate) async fn has_point_of(&self, host: HostId, bytes: &Bytes) -> bool {
        let (Some(agent), Some(points)) = (self.agent_at(host), self.points_at(host).await) else {
            return false;
        };
        for point in points.iter().rev() {
            if self.exported(&agent, PointChoice::At(point.id)).await.as_ref() == Some(bytes) {
                return true;
            }
        }
        false
    }

    /// The points that a host has of the machine.
    pub(crate) async fn points_at(&self, host: HostId) -> Option<Vec<PointLine>> {
        let agent = self.agent_at(host)?;
        let (observer, _events) = Observer::new(CancellationToken::new());
        let asked = agent.handle(Request::Points { machine: None }, &observer).await;
        let Ok(Reply::Points(replicas)) = asked else { return None };
        let of = replicas.into_iter().find(|replica| replica.id == self.machine);
        of.map(|replica| replica.points)
    }

    async fn exported(&self, agent: &Arc<Agent>, point: PointChoice) -> Option<Bytes> {
        let mut disks = Vec::new();
        for disk in DISKS {
            let to = self.dir.path().join("exported.raw");
            self.export(agent, point, &key(disk), to.clone()).await.ok()?;
            disks.push(fs::read(to).ok()?);
        }
        Some(disks)
    }

    pub(super) async fn export(
        &self,
        agent: &Arc<Agent>,
        point: PointChoice,
        disk: &DiskKey,
        to: PathBuf,
    ) -> Result<Reply, AgentError> {
        let export = Export {
            machine: self.machine.to_string(),
            point,
            disk: Some(disk.clone()),
            to,
            format: Format::Raw,
            force: true,
        };
        let (observer, _events) = Observer::new(CancellationToken::new());
        agent.handle(Request::Export(export), &observer).await
    }

    /// The newest of a host's points that is older than one.
    pub(crate) async fn point_before(&self, host: HostId, at: PointId) -> Option<PointId> {
        self.points_at(host).await?.into_iter().map(|point| point.id).filter(|point| *point < at).max()
    }
}
