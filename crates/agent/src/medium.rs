//! What lies on a medium besides the disks: whose they are, how large, and a digest of each,
//! written when all are whole; before that, how far the export has come. This module must
//! never read a machine.

use std::{collections::BTreeMap, io, path::Path};

use farshore_env::{Files, OpenMode, read_exact_at};
use farshore_types::{CLUSTER_SIZE, Digest, DiskKey, MachineId};
use serde::{Deserialize, Serialize};

use crate::AgentError;

/// Name of the manifest of a whole medium.
const MANIFEST: &str = "medium.json";
/// Name of the one of a medium that is being written.
const UNFINISHED: &str = "medium.unfinished.json";
/// Version of both.
const FORMAT: u32 = 1;
/// Most bytes of one: a machine has few disks.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Clusters that are read at once.
const CLUSTERS: usize = 16;

/// What is known of a medium.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// Whose disks they are.
    pub(crate) machine: MachineId,
    /// Its name, for people.
    pub(crate) name: String,
    /// The disks that are whole.
    pub(crate) disks: BTreeMap<DiskKey, Entry>,
    /// The disk that is being written, and up to which byte it is durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) under_way: Option<(DiskKey, u64, u64)>,
}

/// One whole disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Name of its file.
    pub(crate) file: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Of its clusters' digests, in hexadecimal digits.
    pub(crate) digest: String,
}

/// A digest over the digests of a disk's clusters, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Chain(Digest);

impl Chain {
    pub(crate) fn new() -> Chain {
        Chain(Digest::ZERO)
    }

    pub(crate) fn add(&mut self, cluster: &Digest) {
        let mut both = [0; 2 * Digest::LEN + 1];
        both[..Digest::LEN].copy_from_slice(&self.0.0);
        both[Digest::LEN..2 * Digest::LEN].copy_from_slice(&cluster.0);
        // So that these are never all zeros, of which every number has the same digest.
        both[2 * Digest::LEN] = 1;
        self.0 = Digest::of(&both);
    }

    pub(crate) fn text(&self) -> String {
        self.0.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Manifest {
    /// Of a medium of which nothing is written yet.
    pub(crate) fn new(machine: MachineId, name: &str) -> Manifest {
        let (name, disks) = (name.to_owned(), BTreeMap::new());
        Manifest { format: FORMAT, machine, name, disks, under_way: None }
    }

    /// That of a whole medium in a directory, if there is one.
    ///
    /// # Errors
    /// [`AgentError::Request`]: it is damaged, or of a newer agent.
    pub(crate) fn whole(files: &dyn Files, dir: &Path) -> Result<Option<Manifest>, AgentError> {
        load(files, &dir.join(MANIFEST))
    }

    /// That of a medium that is being written, if there is one.
    ///
    /// # Errors
    /// As [`Manifest::whole`].
    pub(crate) fn unfinished(files: &dyn Files, dir: &Path) -> Result<Option<Manifest>, AgentError> {
        load(files, &dir.join(UNFINISHED))
    }

    /// Makes durable how far the export has come.
    pub(crate) fn save_unfinished(&self, files: &dyn Files, dir: &Path) -> io::Result<()> {
        self.save(files, dir, UNFINISHED)
    }

    /// Makes durable that the medium is whole.
    pub(crate) fn finish(&self, files: &dyn Files, dir: &Path) -> io::Result<()> {
        self.save(files, dir, MANIFEST)?;
        match files.remove(&dir.join(UNFINISHED)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => files.sync_dir(dir),
        }
    }

    fn save(&self, files: &dyn Files, dir: &Path, name: &str) -> io::Result<()> {
        let (path, new) = (dir.join(name), dir.join(format!("{name}.tmp")));
        let file = files.open(&new, OpenMode::Truncate)?;
        file.write_at(&serde_json::to_vec_pretty(self)?, 0)?;
        file.sync()?;
        files.rename(&new, &path)?;
        files.sync_dir(dir)
    }
}

fn load(files: &dyn Files, path: &Path) -> Result<Option<Manifest>, AgentError> {
    let wrong = |why: String| AgentError::Request {
        what: format!("the medium's manifest {} cannot be used: {why}", path.display()),
        advice: "have the medium written anew, into an empty directory".to_owned(),
    };
    let file = match files.open(path, OpenMode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(AgentError::io("read", path))?,
    };
    let size = file.size().map_err(AgentError::io("read", path))?;
    if size > MANIFEST_BYTES_MAX {
        return Err(wrong(format!("it has {size} bytes, at most {MANIFEST_BYTES_MAX} are read")));
    }
    let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
    read_exact_at(&*file, &mut text, 0).map_err(AgentError::io("read", path))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    match manifest.format {
        FORMAT => Ok(Some(manifest)),
        other => Err(wrong(format!("it has format {other}, this agent knows {FORMAT}"))),
    }
}

/// The digest of a raw disk as it lies in a file, read back.
pub(crate) fn digest_of(files: &dyn Files, path: &Path, size: u64) -> io::Result<String> {
    let file = files.open(path, OpenMode::Read)?;
    let (mut chain, mut at, mut buffer) = (Chain::new(), 0, vec![0; CLUSTERS * CLUSTER_SIZE]);
    while at < size {
        let len = usize::try_from(size - at).unwrap_or(buffer.len()).min(buffer.len());
        read_exact_at(&*file, &mut buffer[..len], at)?;
        // A cluster that is cut by the disk's end is whole in its digest.
        let whole = len.next_multiple_of(CLUSTER_SIZE);
        buffer[len..whole].fill(0);
        buffer[..whole].chunks(CLUSTER_SIZE).for_each(|cluster| chain.add(&Digest::of(cluster)));
        at += len as u64;
    }
    Ok(chain.text())
}

/// What the manifest beside a copy says of it; none: there is no manifest.
///
/// # Errors
/// [`AgentError::Request`]: the medium is another machine's, is not whole, or has no such disk.
pub(crate) fn entry_of(
    files: &dyn Files,
    machine: MachineId,
    disk: &DiskKey,
    path: &Path,
    size: u64,
) -> Result<Option<Entry>, AgentError> {
    let Some(dir) = path.parent() else { return Ok(None) };
    let refused = |why: String, advice: &str| AgentError::Request {
        what: format!("{} {why}", path.display()),
        advice: advice.to_owned(),
    };
    let Some(manifest) = Manifest::whole(files, dir)? else {
        return match Manifest::unfinished(files, dir)? {
            None => Ok(None),
            Some(_) => Err(refused(
                "lies on a medium that is not whole: its export was cut".to_owned(),
                "ask the source for the same medium again: it goes on where it was",
            )),
        };
    };
    if manifest.machine != machine {
        let why = format!("lies on a medium of machine '{}' ({})", manifest.name, manifest.machine);
        return Err(refused(why, "attach the medium of this machine"));
    }
    let named = path.file_name().and_then(|name| name.to_str());
    match manifest.disks.get(disk) {
        Some(entry) if Some(entry.file.as_str()) != named => {
            Err(refused(format!("is not disk {disk} of this medium"), &format!("that is {}", entry.file)))
        }
        Some(entry) if entry.size != size => {
            let why =
                format!("has {size} bytes, and {} were written to the medium: it is damaged", entry.size);
            Err(refused(why, DAMAGED))
        }
        Some(entry) => Ok(Some(entry.clone())),
        None => Err(refused(
            format!("lies on a medium that has no disk {disk}"),
            "have the medium written anew: the machine has got another disk since",
        )),
    }
}

/// What to do about a damaged medium.
pub(crate) const DAMAGED: &str = "copy the medium again from where it was written, or have it written anew";
