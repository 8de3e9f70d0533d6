//! A machine's disks as raw files in a directory, to be carried to the target. They need not
//! be of one instant: once the target has adopted them, the first cycle compares everything,
//! and sends what differs. So each backup is short, as for a first copy over the network, and
//! no guest's scratch file grows for hours. This module must never write into a machine's own
//! files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use farshore_env::{File, OpenMode};
use farshore_extent::Run;
use farshore_hypervisor::{BackupDisk, BackupMode, BackupSpec, Hypervisor, Machine};
use farshore_types::{DiskKey, MachineId};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Agent, AgentError, control::Observer, replicas::blocking};

/// Longest time that one backup is kept open.
const SLICE: Duration = Duration::from_secs(10);
/// Bytes of disk of which the map of what holds data is asked at once.
const PIECE: u64 = 64 << 20;
/// A copy is given up when less than this would be left where it is written, in bytes.
const RESERVE: u64 = 256 << 20;

struct Medium {
    agent: Arc<Agent>,
    hypervisor: Arc<dyn Hypervisor>,
    machine: Machine,
    runtime: PathBuf,
    done: u64,
    total: u64,
}

pub(super) async fn export(
    agent: &Arc<Agent>,
    machine: MachineId,
    to: PathBuf,
    observer: &Observer,
) -> Result<(), AgentError> {
    let hypervisor = agent.hypervisor().await?;
    let found = hypervisor.machine(machine).await?;
    check(agent, &found, &to)?;
    let runtime = agent.config().runtime_dir.join(machine.to_string());
    for dir in [&runtime, &to] {
        agent.files.create_dir_all(dir).map_err(AgentError::io("create", dir))?;
    }
    let disks: Vec<(DiskKey, u64)> = replicated(&found).collect();
    let total = disks.iter().map(|(_, size)| size).sum();
    let mut medium = Medium { agent: Arc::clone(agent), hypervisor, machine: found, runtime, done: 0, total };
    for (disk, size) in disks {
        medium.disk(&disk, size, &to, observer).await?;
    }
    agent.files.sync_dir(&to).map_err(AgentError::io("sync", &to))
}

fn replicated(machine: &Machine) -> impl Iterator<Item = (DiskKey, u64)> + '_ {
    machine.disks.iter().filter(|disk| disk.tracking.replicates()).map(|disk| (disk.key.clone(), disk.size))
}

fn check(agent: &Agent, machine: &Machine, to: &Path) -> Result<(), AgentError> {
    let refused = |what: String, advice: &str| Err(AgentError::Request { what, advice: advice.to_owned() });
    if !to.is_absolute() {
        return refused(
            format!("{} is not an absolute path", to.display()),
            "name a directory of the source",
        );
    }
    if machine.power.is_off() {
        return refused(
            format!("machine '{}' is off", machine.name),
            "start it; or copy its disks' files by yourself, and have the target adopt them",
        );
    }
    if agent.sources().of(machine.id).is_some() {
        return refused(
            format!("machine '{}' is being replicated", machine.name),
            "choose offline media as its initial copy, or pause it first",
        );
    }
    Ok(())
}

impl Medium {
    async fn disk(
        &mut self,
        disk: &DiskKey,
        size: u64,
        to: &Path,
        observer: &Observer,
    ) -> Result<(), AgentError> {
        let path = to.join(format!("{disk}.raw"));
        let new = to.join(format!("{disk}.unfinished"));
        let file = self.agent.files.open(&new, OpenMode::Truncate).map_err(AgentError::io("create", &new))?;
        file.set_size(size).map_err(AgentError::io("grow", &new))?;
        let mut advance = observer.advance(format!("copying {disk}"));
        let mut at = 0;
        while at < size {
            if observer.stop.is_cancelled() {
                return Err(AgentError::Stopped);
            }
            let free = self.agent.free_space(to)?;
            if free < RESERVE {
                return Err(AgentError::NoSpace { path: to.to_owned(), need: RESERVE, free });
            }
            let before = at;
            at = self.slice(disk, size, at, &file, &new).await?;
            self.done += at - before;
            advance.at(self.done, self.total);
        }
        let (files, dir) = (Arc::clone(&self.agent.files), to.to_owned());
        let finish = move || {
            file.sync()?;
            files.rename(&new, &path)?;
            files.sync_dir(&dir)
        };
        blocking(finish).await.map_err(AgentError::io("write", to))
    }

    /// One short backup; how far it came.
    async fn slice(
        &self,
        disk: &DiskKey,
        size: u64,
        from: u64,
        file: &Arc<dyn File>,
        path: &Path,
    ) -> Result<u64, AgentError> {
        let spec = BackupSpec {
            checkpoint: None,
            disks: vec![BackupDisk {
                key: disk.clone(),
                mode: BackupMode::Full,
                tracked: false,
                scratch: self.runtime.join(format!("scratch-{disk}-{}", Uuid::new_v4().simple())),
            }],
            socket: self.runtime.join("backup.sock"),
        };
        let backup = self.hypervisor.begin_backup(self.machine.id, &spec).await?;
        let until = Instant::now() + SLICE;
        let copied = async {
            let export = self.hypervisor.open_export(&backup, disk).await?;
            let mut at = from;
            while at < size && Instant::now() < until {
                let len = PIECE.min(size - at);
                let data = export.allocated(Run { start: at, len }).await?;
                for run in data.pieces(u64::from(export.max_read())) {
                    let bytes = export.read(run.start, u32::try_from(run.len).unwrap_or(u32::MAX)).await?;
                    let file = Arc::clone(file);
                    let write = move || file.write_at(&bytes, run.start);
                    blocking(write).await.map_err(AgentError::io("write", path))?;
                }
                at += len;
            }
            Ok::<_, AgentError>(at)
        };
        let copied = copied.await;
        self.hypervisor.end_backup(self.machine.id).await?;
        copied
    }
}
