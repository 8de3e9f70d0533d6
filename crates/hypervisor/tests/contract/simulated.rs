//! The rig around the simulated driver.

use std::path::PathBuf;

use async_trait::async_trait;
use farshore_hypervisor::{Hypervisor, simulated::Simulated};
use farshore_types::MachineId;

use crate::rig::{DISK, Rig, key, unique};

pub(crate) struct SimulatedRig(Simulated);

impl SimulatedRig {
    pub(crate) fn new() -> SimulatedRig {
        SimulatedRig(Simulated::new())
    }
}

#[async_trait]
impl Rig for SimulatedRig {
    fn hypervisor(&self) -> &dyn Hypervisor {
        &self.0
    }

    async fn machine(&self, disks: &[(&str, &str)]) -> MachineId {
        let name = format!("m{}", unique());
        let mut devices = String::new();
        for (disk, format) in disks {
            let path = PathBuf::from(format!("/images/{name}/{disk}"));
            self.0.add_image(&path, DISK);
            devices += &format!(
                "<disk type='file'><driver type='{format}'/><source file='{}'/><target dev='{disk}'/></disk>",
                path.display()
            );
        }
        let xml = format!("<domain type='qemu'><name>{name}</name><devices>{devices}</devices></domain>");
        self.0.define(&xml).await.unwrap()
    }

    async fn layered_machine(&self) -> MachineId {
        let id = self.machine(&[("vda", "qcow2")]).await;
        self.0.guest_write(id, &key("vda"), 0, &vec![5; 8 << 20]).unwrap();
        self.0.set_layered(id, &key("vda"), true).unwrap();
        id
    }

    async fn let_pull_go_on(&self, machine: MachineId, end: bool) {
        self.0.advance_pull(machine, if end { DISK } else { DISK / 4 }).unwrap();
    }

    async fn write(&self, machine: MachineId, disk: &str, offset: u64, len: u64, byte: u8) {
        let data = vec![byte; usize::try_from(len).unwrap()];
        self.0.guest_write(machine, &key(disk), offset, &data).unwrap();
    }

    async fn discard(&self, machine: MachineId, disk: &str, offset: u64, len: u64) {
        self.0.guest_discard(machine, &key(disk), offset, len).unwrap();
    }

    async fn resize(&self, machine: MachineId, disk: &str, size: u64) {
        self.0.resize(machine, &key(disk), size).unwrap();
    }

    async fn kill(&self, machine: MachineId) {
        self.0.kill(machine).unwrap();
    }

    async fn lose_bitmaps(&self, machine: MachineId, checkpoint: &str) {
        self.0.lose_bitmaps(machine, checkpoint).unwrap();
    }

    fn directory(&self) -> PathBuf {
        PathBuf::from("/run/model")
    }
}
