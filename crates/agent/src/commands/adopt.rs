//! `adopt`: an old copy of a machine's disks becomes the base of its replica, so that only
//! what differs is sent. Everything that can be refused is refused before a file is moved.
//! This module must never write to a copy.

mod check;

use std::{io, path::PathBuf, sync::Arc};

use farshore_env::{File, OpenMode, read_exact_at};
use farshore_hypervisor::Kind;
use farshore_replica::AdoptedDisk;
use farshore_types::{CLUSTER_SIZE, Digest, DiskKey, MachineId, clusters_in};

use crate::{
    Agent, AgentError, OpenReplica,
    control::{Adopt, Adopted, AdoptedCopy, Observer},
    medium::{self, Chain},
    replicas::blocking,
};
use check::Copy;

/// Bytes read at once; a whole number of clusters.
const READ: usize = 16 * CLUSTER_SIZE;
/// Size of a digest in the file that keeps them between reading and adopting, in bytes.
const DIGEST: u64 = Digest::LEN as u64;

pub(crate) async fn adopt(
    agent: &Arc<Agent>,
    wanted: Adopt,
    observer: &Observer,
) -> Result<Adopted, AgentError> {
    let id = machine(agent, &wanted.machine).await?;
    if let Some(replica) = agent.replicas().get(id).await? {
        check_replica(&replica, &wanted).await?;
    }
    let copies = check::copies(agent, id, &wanted.disks, observer).await?;
    for copy in &copies {
        // What a cut adoption has moved was compared with its medium before that.
        medium::entry_of(&*agent.files, id, &copy.disk, &copy.path, copy.size)?;
    }
    let replica = agent.replicas().get_or_create(id).await?;
    let _alone = replica.alone().await;
    check_replica(&replica, &wanted).await?;
    let mut disks = Vec::new();
    for copy in copies {
        disks.push(take_over(agent, &replica, copy, observer).await?);
    }
    let machine = replica.run(|store| store.name().to_owned()).await;
    tracing::info!(machine = %id, disks = disks.len(), "adopted");
    Ok(Adopted { id, machine, disks })
}

/// Whether disks of a machine's own could be adopted, once it is withdrawn.
pub(crate) fn check_copies(
    agent: &Agent,
    machine: MachineId,
    disks: &[(DiskKey, PathBuf)],
) -> Result<(), AgentError> {
    check::files(agent, machine, disks).map(drop)
}

/// Reads one copy, and makes it the disk's base. Cut, it goes on.
pub(crate) async fn take_over_copy(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    disk: &DiskKey,
    path: &std::path::Path,
    observer: &Observer,
) -> Result<(), AgentError> {
    let wanted = [(disk.clone(), path.to_owned())];
    for copy in check::files(agent, replica.machine(), &wanted)? {
        take_over(agent, replica, copy, observer).await?;
    }
    Ok(())
}

/// Whose copy it is. The target may never have heard of the machine: then only its UUID
/// says which one is meant.
async fn machine(agent: &Arc<Agent>, wanted: &str) -> Result<MachineId, AgentError> {
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    match agent.replicas().find(wanted).await {
        Ok(replica) => return Ok(replica.machine()),
        Err(AgentError::UnknownMachine { .. }) => {}
        Err(error) => return Err(error),
    }
    let known = match agent.hypervisor().await {
        Ok(hypervisor) => hypervisor.find(wanted).await.map(|machine| machine.id).map_err(AgentError::from),
        Err(error) => Err(error),
    };
    known.map_err(|error| match error {
        AgentError::Hypervisor(error) if error.kind != Kind::NoSuchMachine => error.into(),
        _ => AgentError::Request {
            what: format!("neither a replica nor a machine of this host is named '{wanted}'"),
            advice: "give the machine's UUID: `virsh domuuid` on its own host says it".to_owned(),
        },
    })
}

async fn check_replica(replica: &Arc<OpenReplica>, wanted: &Adopt) -> Result<(), AgentError> {
    let disks: Vec<DiskKey> = wanted.disks.iter().map(|(disk, _)| disk.clone()).collect();
    Ok(replica.run(move |store| disks.iter().try_for_each(|disk| store.check_adoptable(disk))).await?)
}

/// Reads a copy, and makes it the disk's base. The digests wait in a file: those of a large
/// disk are more than fits in memory, and the store must not be held while they are made.
async fn take_over(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    copy: Copy,
    observer: &Observer,
) -> Result<AdoptedCopy, AgentError> {
    let spill = agent.replicas().dir_of(replica.machine()).join(format!("{}.digests.tmp", copy.disk));
    let (reader, path) = (Digester { agent: Arc::clone(agent), spill: spill.clone() }, copy.path.clone());
    let told = observer.clone();
    let disk = copy.disk.clone();
    let entry = medium::entry_of(&*agent.files, replica.machine(), &copy.disk, &copy.path, copy.size)?;
    let read = blocking(move || reader.read(&disk, &path, &told)).await;
    let read = read.and_then(|(digests, found)| match entry {
        Some(entry) if entry.digest != found => Err(AgentError::Request {
            what: format!("{} is not what was written to the medium: it is damaged", copy.path.display()),
            advice: medium::DAMAGED.to_owned(),
        }),
        _ => Ok(digests),
    });
    let adopted = match read {
        Err(error) => Err(error),
        Ok(digests) => {
            let (disk, from) = (copy.disk.clone(), copy.path.clone());
            let adopted = replica.run(move |store| store.adopt(&disk, &from, digests)).await;
            adopted.map(drop).map_err(AgentError::from)
        }
    };
    // What went wrong before says more than one about the leftover would.
    drop(agent.files.remove(&spill));
    adopted?;
    let disk = copy.disk.clone();
    let path = replica.run(move |store| store.adopted_path(&disk)).await;
    Ok(AdoptedCopy { disk: copy.disk, from: copy.path, path, format: copy.format, size: copy.size })
}

struct Digester {
    agent: Arc<Agent>,
    spill: PathBuf,
}

impl Digester {
    fn read(
        &self,
        disk: &DiskKey,
        path: &std::path::Path,
        observer: &Observer,
    ) -> Result<(Digests, String), AgentError> {
        let copy = AdoptedDisk::open(&*self.agent.files, path)?;
        let failed = |what| AgentError::io(what, &self.spill);
        let file = self.agent.files.open(&self.spill, OpenMode::Truncate).map_err(failed("create"))?;
        let mut advance = observer.advance(format!("reading the copy of {disk}"));
        let (mut at, mut buf, mut packed) = (0, vec![0; READ], Vec::new());
        let mut chain = Chain::new();
        while at < copy.size() {
            if observer.stop.is_cancelled() {
                return Err(AgentError::Stopped);
            }
            copy.read_at(&mut buf, at)?;
            let left = usize::try_from(copy.size() - at).unwrap_or(READ).min(READ);
            packed.clear();
            for cluster in buf[..left.next_multiple_of(CLUSTER_SIZE)].chunks(CLUSTER_SIZE) {
                let digest = Digest::of(cluster);
                chain.add(&digest);
                packed.extend_from_slice(&digest.0);
            }
            file.write_at(&packed, at / CLUSTER_SIZE as u64 * DIGEST).map_err(failed("write"))?;
            at += left as u64;
            advance.at(at, copy.size());
        }
        Ok((Digests { file, next: 0, count: clusters_in(copy.size()) }, chain.text()))
    }
}

/// The digests of a disk's clusters, in order, from a file.
struct Digests {
    file: Arc<dyn File>,
    next: u64,
    count: u64,
}

impl Iterator for Digests {
    type Item = io::Result<Digest>;

    fn next(&mut self) -> Option<io::Result<Digest>> {
        let at = (self.next < self.count).then_some(self.next * DIGEST)?;
        self.next += 1;
        let mut digest = Digest::ZERO;
        Some(read_exact_at(&*self.file, &mut digest.0, at).map(|()| digest))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.count - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Digests {}
