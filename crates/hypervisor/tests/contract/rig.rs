//! What a scenario needs of a driver's surroundings: machines to try things on, and a hand
//! inside the guest.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use farshore_hypervisor::{Backup, BackupDisk, BackupMode, BackupSpec, Export, Hypervisor};
use farshore_types::{DiskKey, MachineId};

/// Size of every disk in the scenarios, in bytes.
pub(crate) const DISK: u64 = 16 * MIB;
pub(crate) const MIB: u64 = 1024 * 1024;
pub(crate) const CLUSTER: u64 = 64 * 1024;

#[async_trait]
pub(crate) trait Rig: Send + Sync {
    fn hypervisor(&self) -> &dyn Hypervisor;

    /// A new machine, off, whose disks have the given names and formats and are empty.
    async fn machine(&self, disks: &[(&str, &str)]) -> MachineId;

    /// A new machine, off, whose one disk (vda, qcow2) stands on another image: 8 MiB of fives,
    /// the rest empty.
    async fn layered_machine(&self) -> MachineId;

    /// Lets a slow pull of that disk go on for a while, or (`end`) to its end.
    async fn let_pull_go_on(&self, machine: MachineId, end: bool);

    /// Writes `len` bytes of `byte` as the guest would.
    async fn write(&self, machine: MachineId, disk: &str, offset: u64, len: u64, byte: u8);

    /// Discards as the guest would.
    async fn discard(&self, machine: MachineId, disk: &str, offset: u64, len: u64);

    /// Gives a disk of a started machine another size.
    async fn resize(&self, machine: MachineId, disk: &str, size: u64);

    /// Kills the machine's process and waits until the driver knows.
    async fn kill(&self, machine: MachineId);

    /// Deletes the bitmaps of a checkpoint behind the driver's back.
    async fn lose_bitmaps(&self, machine: MachineId, checkpoint: &str);

    /// Where sockets and scratch files go.
    fn directory(&self) -> PathBuf;
}

pub(crate) fn key(name: &str) -> DiskKey {
    name.parse().unwrap()
}

/// A number that no one else in this process gets.
pub(crate) fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A backup of some disks: all whole, or all since a checkpoint.
pub(crate) fn spec(
    rig: &dyn Rig,
    disks: &[&str],
    checkpoint: Option<&str>,
    since: Option<&str>,
) -> BackupSpec {
    let number = unique();
    let mode = since.map_or(BackupMode::Full, |since| BackupMode::Incremental { since: since.to_owned() });
    let disk = |name: &&str| BackupDisk {
        key: key(name),
        mode: mode.clone(),
        tracked: checkpoint.is_some(),
        scratch: rig.directory().join(format!("scratch-{number}-{name}")),
    };
    BackupSpec {
        checkpoint: checkpoint.map(str::to_owned),
        disks: disks.iter().map(disk).collect(),
        socket: rig.directory().join(format!("{number}.sock")),
    }
}

/// Makes a checkpoint and nothing else: a backup that is begun and ended.
pub(crate) async fn checkpoint(rig: &dyn Rig, machine: MachineId, disks: &[&str], name: &str) {
    let hypervisor = rig.hypervisor();
    hypervisor.begin_backup(machine, &spec(rig, disks, Some(name), None)).await.unwrap();
    hypervisor.end_backup(machine).await.unwrap();
}

/// The numbers of the clusters that changed since a checkpoint.
pub(crate) async fn changed(rig: &dyn Rig, machine: MachineId, disk: &str, since: &str) -> Vec<u64> {
    let spec = spec(rig, &[disk], None, Some(since));
    let backup = rig.hypervisor().begin_backup(machine, &spec).await.unwrap();
    let out = dirty_clusters(&*export(rig, &backup, disk).await).await;
    rig.hypervisor().end_backup(machine).await.unwrap();
    out
}

pub(crate) async fn export(rig: &dyn Rig, backup: &Backup, disk: &str) -> Box<dyn Export> {
    rig.hypervisor().open_export(backup, &key(disk)).await.unwrap()
}

pub(crate) async fn dirty_clusters(export: &dyn Export) -> Vec<u64> {
    let whole = farshore_extent::Run { start: 0, len: export.size() };
    let dirty = export.dirty(whole).await.unwrap().expect("an incremental backup");
    dirty.pieces(CLUSTER).map(|run| run.start / CLUSTER).collect()
}

/// The byte that a cluster is full of.
pub(crate) async fn byte_at(export: &dyn Export, offset: u64) -> u8 {
    let bytes = export.read(offset, u32::try_from(CLUSTER).unwrap()).await.unwrap();
    assert_eq!(bytes.len() as u64, CLUSTER);
    assert!(bytes.iter().all(|b| *b == bytes[0]), "one byte throughout");
    bytes[0]
}

/// Polls a future to its end; `false` where it panicked.
pub(crate) async fn catch_panic(future: impl Future<Output = ()>) -> bool {
    let mut future = Box::pin(future);
    std::future::poll_fn(move |context| {
        let poll = || Pin::new(&mut future).poll(context);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)) {
            Ok(poll) => poll.map(|()| true),
            Err(_) => std::task::Poll::Ready(false),
        }
    })
    .await
}
