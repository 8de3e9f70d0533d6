//! A machine's disks as raw files in a directory, to be carried to the target. They need not
//! be of one instant: once the target has adopted them, the first cycle compares everything,
//! and sends what differs. So each backup is short, as for a first copy over the network, and
//! no guest's scratch file grows for hours. A cut export goes on where it was, and a manifest
//! says at the end whose disks they are, with a digest of each. This module must never write into a machine's own
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

use crate::{
    Agent, AgentError,
    control::Observer,
    medium::{Entry, Manifest, digest_of},
    replicas::blocking,
};

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
    to: PathBuf,
    manifest: Manifest,
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
    let Some(manifest) = resumed(agent, &found, &to)? else { return Ok(()) };
    let (agent, done) = (Arc::clone(agent), 0);
    let mut medium = Medium { agent, hypervisor, machine: found, runtime, to, manifest, done, total };
    for (disk, size) in &disks {
        medium.disk(disk, *size, observer).await?;
    }
    // A disk that was taken out since an earlier try is none of the machine's.
    medium.manifest.disks.retain(|key, _| disks.iter().any(|(disk, _)| disk == key));
    let finished = medium.manifest.finish(&*medium.agent.files, &medium.to);
    finished.map_err(AgentError::io("write", medium.to))
}

/// What an earlier, cut export has left in the directory, or a fresh manifest; none: it is
/// whole already.
fn resumed(agent: &Agent, machine: &Machine, to: &Path) -> Result<Option<Manifest>, AgentError> {
    let files = &*agent.files;
    let whole = Manifest::whole(files, to)?;
    let unfinished = Manifest::unfinished(files, to)?;
    let held = whole.as_ref().or(unfinished.as_ref());
    if let Some(other) = held.filter(|held| held.machine != machine.id) {
        return Err(AgentError::Request {
            what: format!("{} holds a medium of machine '{}' ({})", to.display(), other.name, other.machine),
            advice: "name another directory".to_owned(),
        });
    }
    match (whole, unfinished) {
        (Some(_), _) => Ok(None),
        (None, Some(unfinished)) => Ok(Some(unfinished)),
        (None, None) => Ok(Some(Manifest::new(machine.id, &machine.name))),
    }
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
    async fn disk(&mut self, disk: &DiskKey, size: u64, observer: &Observer) -> Result<(), AgentError> {
        let mut advance = observer.advance(format!("copying {disk}"));
        if self.manifest.disks.get(disk).is_some_and(|whole| whole.size == size) {
            self.done += size;
            advance.at(self.done, self.total);
            return Ok(());
        }
        let new = self.to.join(format!("{disk}.unfinished"));
        let (file, mut at) = self.begun(disk, size, &new)?;
        self.done += at;
        while at < size {
            if observer.stop.is_cancelled() {
                return Err(AgentError::Stopped);
            }
            let free = self.agent.free_space(&self.to)?;
            if free < RESERVE {
                return Err(AgentError::NoSpace { path: self.to.clone(), need: RESERVE, free });
            }
            let before = at;
            at = self.slice(disk, size, at, &file, &new).await?;
            self.manifest.under_way = Some((disk.clone(), size, at));
            self.durable(&file).await?;
            self.done += at - before;
            advance.at(self.done, self.total);
        }
        self.whole(disk, size, &new).await
    }

    /// A disk's file, and up to which byte an earlier try has written it.
    fn begun(&self, disk: &DiskKey, size: u64, new: &Path) -> Result<(Arc<dyn File>, u64), AgentError> {
        let files = &self.agent.files;
        let held = self.manifest.under_way.as_ref().filter(|(of, len, _)| of == disk && *len == size);
        if let Some((_, _, at)) = held
            && let Ok(file) = files.open(new, OpenMode::Write)
            && file.size().is_ok_and(|held| held == size)
        {
            // What was written after that is of no known instant, and may be torn.
            let cut = file.set_size(*at).and_then(|()| file.set_size(size));
            cut.map_err(AgentError::io("cut", new))?;
            tracing::info!(%disk, at, "the export of a medium goes on");
            return Ok((file, *at));
        }
        let file = files.open(new, OpenMode::Truncate).map_err(AgentError::io("create", new))?;
        file.set_size(size).map_err(AgentError::io("grow", new))?;
        Ok((file, 0))
    }

    /// What was written, and that it was.
    async fn durable(&self, file: &Arc<dyn File>) -> Result<(), AgentError> {
        let (file, files, to) = (Arc::clone(file), Arc::clone(&self.agent.files), self.to.clone());
        let manifest = self.manifest.clone();
        let save = move || {
            file.sync()?;
            manifest.save_unfinished(&*files, &to)
        };
        blocking(save).await.map_err(AgentError::io("write", &self.to))
    }

    /// A disk is whole: it is read back, and gets its name.
    async fn whole(&mut self, disk: &DiskKey, size: u64, new: &Path) -> Result<(), AgentError> {
        let name = format!("{disk}.raw");
        let (files, to, new) = (Arc::clone(&self.agent.files), self.to.clone(), new.to_owned());
        let (mut manifest, key) = (self.manifest.clone(), disk.clone());
        let finish = move || {
            let digest = digest_of(&*files, &new, size)?;
            files.rename(&new, &to.join(&name))?;
            manifest.disks.insert(key, Entry { file: name, size, digest });
            manifest.under_way = None;
            manifest.save_unfinished(&*files, &to)?;
            Ok(manifest)
        };
        self.manifest = blocking(finish).await.map_err(AgentError::io("write", &self.to))?;
        Ok(())
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
