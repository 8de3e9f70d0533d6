//! The rig around libvirt: an embedded host in a directory of its own, machines without a
//! system, and QEMU's monitor as the hand inside the guest.

use std::{path::PathBuf, process::Command, time::Duration};

use async_trait::async_trait;
use farshore_hypervisor::{GuestState, Hypervisor, libvirt::Libvirt};
use farshore_types::MachineId;
use tempfile::TempDir;
use virt::{connect::Connect, domain::Domain};

use crate::rig::{DISK, Rig, key, unique};

/// Flag of a monitor command: it is meant for people (`VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP`).
const FOR_PEOPLE: u32 = 1;

pub(crate) struct RealRig {
    pub(crate) libvirt: Libvirt,
    pub(crate) uri: String,
    /// A second connection in this process, for what the contract does not offer: drivers
    /// inside a process are shared, but libvirt opens them only some ten times.
    second: Connect,
    directory: TempDir,
}

impl RealRig {
    pub(crate) async fn new() -> RealRig {
        let directory = tempfile::Builder::new().prefix("farshore-hyp").tempdir().unwrap();
        let uri = format!("qemu:///embed?root={}", directory.path().join("root").display());
        let libvirt = Libvirt::open(&uri).await.unwrap();
        let second = Connect::open(Some(&uri)).unwrap();
        RealRig { libvirt, uri, second, directory }
    }

    /// Leaves no process and no file behind.
    pub(crate) async fn tear_down(mut self) {
        for machine in self.libvirt.machines().await.unwrap() {
            self.libvirt.destroy(machine.id).await.unwrap();
            self.libvirt.undefine(machine.id, GuestState::Remove).await.unwrap();
        }
        self.second.close().unwrap();
        self.directory.close().unwrap();
    }

    pub(crate) fn domain(&self, machine: MachineId) -> Domain {
        Domain::lookup_by_uuid_string(&self.second, &machine.to_string()).unwrap()
    }

    /// A command to QEMU's monitor.
    pub(crate) fn monitor(&self, machine: MachineId, command: &str, flags: u32) -> String {
        self.domain(machine).qemu_monitor_command(command, flags).unwrap()
    }

    /// `qemu-io` on the drive as the guest sees it, so that filters above the image see it too.
    fn io(&self, machine: MachineId, disk: &str, command: &str) {
        let number = disk.strip_prefix("vd").unwrap().bytes().next().unwrap() - b'a';
        let drive = format!("/machine/peripheral/virtio-disk{number}/virtio-backend");
        let said = self.monitor(machine, &format!("qemu-io -d {drive} \"{command}\""), FOR_PEOPLE);
        assert!(!said.contains("rror") && !said.contains("failed"), "{command}: {said}");
    }

    pub(crate) fn image(&self, machine: &str, disk: &str) -> PathBuf {
        self.directory.path().join(format!("{machine}-{disk}"))
    }

    pub(crate) fn process_of(&self, name: &str) -> i32 {
        let pid = self.directory.path().join(format!("root/run/qemu/{name}.pid"));
        std::fs::read_to_string(pid).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn xml(&self, name: &str, disks: &[(&str, &str)]) -> String {
        let disk = |(disk, format): &(&str, &str)| {
            let path = self.image(name, disk);
            format!(
                "<disk type='file' device='disk'><driver name='qemu' type='{format}' discard='unmap'/>\
                 <source file='{}'/><target dev='{disk}' bus='virtio'/></disk>",
                path.display()
            )
        };
        let disks: String = disks.iter().map(disk).collect();
        format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os>\
             <devices><controller type='usb' model='none'/><memballoon model='none'/>{disks}</devices></domain>"
        )
    }
}

pub(crate) fn create_image(path: &std::path::Path, format: &str, options: &[&str]) {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", format]).args(options).arg(path).arg(DISK.to_string());
    assert!(command.status().unwrap().success());
}

#[async_trait]
impl Rig for RealRig {
    fn hypervisor(&self) -> &dyn Hypervisor {
        &self.libvirt
    }

    async fn machine(&self, disks: &[(&str, &str)]) -> MachineId {
        let name = format!("m{}", unique());
        for (disk, format) in disks {
            create_image(&self.image(&name, disk), format, &[]);
        }
        self.libvirt.define(&self.xml(&name, disks)).await.unwrap()
    }

    async fn layered_machine(&self) -> MachineId {
        let name = format!("m{}", unique());
        let base = self.image(&name, "base");
        create_image(&base, "qcow2", &[]);
        let filled = Command::new("qemu-io").args(["-c", "write -P 5 0 8M"]).arg(&base).output().unwrap();
        assert!(filled.status.success());
        let backing = base.to_string_lossy().into_owned();
        create_image(&self.image(&name, "vda"), "qcow2", &["-b", &backing, "-F", "qcow2"]);
        self.libvirt.define(&self.xml(&name, &[("vda", "qcow2")])).await.unwrap()
    }

    async fn let_pull_go_on(&self, machine: MachineId, end: bool) {
        let begun = std::time::Instant::now();
        loop {
            let jobs = self.libvirt.block_jobs(machine).await.unwrap();
            if jobs.first().is_none_or(|job| !end && job.done > 0) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "the pull stands still: {jobs:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn write(&self, machine: MachineId, disk: &str, offset: u64, len: u64, byte: u8) {
        self.io(machine, disk, &format!("write -P {byte} {offset} {len}"));
    }

    async fn discard(&self, machine: MachineId, disk: &str, offset: u64, len: u64) {
        self.io(machine, disk, &format!("discard {offset} {len}"));
    }

    async fn resize(&self, machine: MachineId, disk: &str, size: u64) {
        let found = self.libvirt.machine(machine).await.unwrap();
        let path = found.disk(&key(disk)).unwrap().path.clone().unwrap();
        let node = self.node_of(machine, &path);
        let arguments = format!("{{\"node-name\":\"{node}\",\"size\":{size}}}");
        let said =
            self.monitor(machine, &format!("{{\"execute\":\"block_resize\",\"arguments\":{arguments}}}"), 0);
        assert!(!said.contains("error"), "{said}");
    }

    async fn kill(&self, machine: MachineId) {
        let name = self.libvirt.machine(machine).await.unwrap().name;
        let process = self.process_of(&name);
        assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
        while !self.libvirt.machine(machine).await.unwrap().power.is_off() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn lose_bitmaps(&self, machine: MachineId, checkpoint: &str) {
        let found = self.libvirt.machine(machine).await.unwrap();
        for disk in found.disks {
            let node = self.node_of(machine, disk.path.as_ref().unwrap());
            let arguments = format!("{{\"node\":\"{node}\",\"name\":\"{checkpoint}\"}}");
            let remove = format!("{{\"execute\":\"block-dirty-bitmap-remove\",\"arguments\":{arguments}}}");
            self.monitor(machine, &remove, 0);
        }
    }

    fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl RealRig {
    /// Name of the block node that holds an image's format.
    fn node_of(&self, machine: MachineId, image: &std::path::Path) -> String {
        let nodes = self.monitor(machine, "info block", FOR_PEOPLE);
        let line = nodes.lines().find(|line| line.contains(&*image.to_string_lossy()));
        line.and_then(|line| line.split(':').next()).expect("a node for the image").trim().to_owned()
    }
}
