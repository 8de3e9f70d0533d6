//! What must be so before a copy is taken over: it is a whole disk, it is nobody else's, and
//! nobody has it open. This module must never change anything.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use farshore_env::OpenMode;
use farshore_replica::AdoptedDisk;
use farshore_types::{DiskKey, MachineId};
use farshore_wire::limits::DISK_SIZE_MAX;

use crate::{
    Agent, AgentError,
    control::{Event, Observer},
};

/// Bytes that QEMU locks in an image that it has open: 100 to 108 for what it does, 200 to
/// 208 for what others must not.
const QEMU_LOCKS: [std::ops::RangeInclusive<u64>; 2] = [100..=108, 200..=208];
/// By this file a directory is known as a replica's.
const RECORD: &str = "replica.json";

/// A copy that can be taken over.
pub(super) struct Copy {
    pub(super) disk: DiskKey,
    pub(super) path: PathBuf,
    pub(super) format: String,
    pub(super) size: u64,
}

/// Checks all copies, and gives them with their real paths.
pub(super) async fn copies(
    agent: &Arc<Agent>,
    id: MachineId,
    wanted: &[(DiskKey, PathBuf)],
    observer: &Observer,
) -> Result<Vec<Copy>, AgentError> {
    let copies = files(agent, id, wanted)?;
    not_of_a_machine(agent, &copies, observer).await?;
    Ok(copies)
}

/// The same, whichever machine has them.
pub(super) fn files(
    agent: &Agent,
    id: MachineId,
    wanted: &[(DiskKey, PathBuf)],
) -> Result<Vec<Copy>, AgentError> {
    let (mut disks, mut paths) = (BTreeSet::new(), BTreeSet::new());
    let mut copies = Vec::new();
    for (disk, path) in wanted {
        let copy = copy(agent, id, disk, path)?;
        if !disks.insert(disk) || !paths.insert(copy.path.clone()) {
            return Err(refused(path, "is given twice", "give each disk once, with a file of its own"));
        }
        copies.push(copy);
    }
    Ok(copies)
}

fn refused(path: &Path, why: impl std::fmt::Display, advice: &str) -> AgentError {
    AgentError::Request { what: format!("{} {why}", path.display()), advice: advice.to_owned() }
}

fn copy(agent: &Agent, id: MachineId, disk: &DiskKey, given: &Path) -> Result<Copy, AgentError> {
    let inside = agent.replicas().dir_of(id).join(format!("{disk}.adopted"));
    // An adoption that was cut has moved the file already: it is finished from there.
    let cut = !given.exists() && inside.exists();
    let path = if cut { inside } else { given.canonicalize().map_err(AgentError::io("find", given))? };
    let about = path.metadata().map_err(AgentError::io("look at", &path))?;
    if !about.is_file() {
        let advice = "a device cannot be moved: copy it to a file first, with `qemu-img convert`";
        return Err(refused(&path, "is no plain file", advice));
    }
    if about.nlink() > 1 {
        let advice = "remove the other names (`find -samefile` lists them), or copy it";
        return Err(refused(&path, "has another name as well, by which it could be written", advice));
    }
    if let Some(dir) = path.parent().filter(|dir| !cut && dir.join(RECORD).exists()) {
        let why = format!("belongs to the replica in {}", dir.display());
        return Err(refused(&path, why, "give a copy that is no part of a replica"));
    }
    not_open(agent, &path, &about)?;
    same_file_system(agent, &path, &about)?;
    let found = AdoptedDisk::open(&*agent.files, &path)?;
    let size = found.size();
    if size == 0 || !size.is_multiple_of(512) || size > DISK_SIZE_MAX {
        let why = format!("holds {size} bytes, which is not a disk's size");
        return Err(refused(
            &path,
            why,
            "a disk is a whole number of sectors of 512 bytes: is the copy whole?",
        ));
    }
    Ok(Copy { disk: disk.clone(), path, format: found.format().to_owned(), size })
}

/// The file is moved, not copied: there need not be room for it twice.
fn same_file_system(agent: &Agent, path: &Path, about: &fs::Metadata) -> Result<(), AgentError> {
    let dir = &agent.config().replica_dir;
    agent.files.create_dir_all(dir).map_err(AgentError::io("create", dir))?;
    let there = dir.metadata().map_err(AgentError::io("look at", dir))?;
    if about.dev() == there.dev() {
        return Ok(());
    }
    let why = format!("is on another file system than the replicas in {}", dir.display());
    Err(refused(path, why, "move it there first"))
}

/// Locks say it over the network, too; the list of open files says it of programs that lock
/// nothing.
fn not_open(agent: &Agent, path: &Path, about: &fs::Metadata) -> Result<(), AgentError> {
    let used = |why: String| AgentError::InUse { path: path.to_owned(), why };
    let file = agent.files.open(path, OpenMode::Read).map_err(AgentError::io("open", path))?;
    for byte in QEMU_LOCKS.into_iter().flatten() {
        if file.others_lock(byte).map_err(AgentError::io("look for users of", path))? {
            return Err(used("is in use: another program holds QEMU's lock on it".to_owned()));
        }
    }
    drop(file);
    match holder(about) {
        Some(who) => Err(used(format!("is open in {who}"))),
        None => Ok(()),
    }
}

/// A process that has the file open.
fn holder(about: &fs::Metadata) -> Option<String> {
    let is_it = |fd: &Path| fs::metadata(fd).is_ok_and(|m| (m.dev(), m.ino()) == (about.dev(), about.ino()));
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let numbered = |name: &std::ffi::OsStr| name.to_string_lossy().parse::<u32>().is_ok();
    for process in processes.filter(|entry| numbered(&entry.file_name())) {
        // Gone meanwhile, or not ours to look into.
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        if files.flatten().any(|fd| is_it(&fd.path())) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let pid = process.file_name().to_string_lossy().into_owned();
            return Some(format!("process {pid} ({})", name.trim()));
        }
    }
    None
}

/// Where this host's hypervisor can be asked, no machine of it may name a copy.
async fn not_of_a_machine(agent: &Agent, copies: &[Copy], observer: &Observer) -> Result<(), AgentError> {
    let machines = match agent.hypervisor().await {
        Ok(hypervisor) => hypervisor.machines().await.map_err(AgentError::from),
        Err(error) => Err(error),
    };
    let machines = match machines {
        Ok(machines) => machines,
        Err(error) => {
            let why = error.fault().what;
            let note = format!("could not ask the hypervisor whether a machine has these disks: {why}");
            observer.tell(Event::Note(note));
            return Ok(());
        }
    };
    for machine in machines {
        let paths = machine.disks.iter().filter_map(|disk| disk.path.as_deref());
        let real: Vec<PathBuf> = paths.map(|p| p.canonicalize().unwrap_or_else(|_| p.to_owned())).collect();
        if let Some(copy) = copies.iter().find(|copy| real.contains(&copy.path)) {
            let why = format!("is a disk of machine '{}' of this host", machine.name);
            let advice = "stop that machine and withdraw its definition first: `virsh undefine --keep-nvram`";
            return Err(refused(&copy.path, why, advice));
        }
    }
    Ok(())
}
