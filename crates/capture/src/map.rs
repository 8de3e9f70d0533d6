//! The digest map: what the target holds, cluster by cluster, as of exactly one sealed
//! element. On disk, read in small pieces; never in memory as a whole.
//!
//! ```text
//! record.json     the element that the map belongs to, and the checkpoint taken with it
//! vda.digests     16 bytes per cluster; a hole means zeros
//! vda.blocks      128 bytes per cluster: what its 4 KiB blocks digest to; never trusted
//! pending         the next element's changes, durable before its seal is sent
//! ```
//! Neither "last sent" nor "last acknowledged" is right by itself: the target's word at
//! the start of a session decides whether what is pending is applied or dropped.

mod pending;
mod tops;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use farshore_delta::SourceChange;
use farshore_env::{File, Files, OpenMode, read_exact_at};
use farshore_extent::Runs;
use farshore_types::{CLUSTER_BYTES, Digest, DiskKey, PointRef, clusters_in};
use serde::{Deserialize, Serialize};
use tops::{CHUNK, Tops};

use crate::{
    CaptureError,
    cluster::{BlockFile, Known},
};

/// Longest record that is read, in bytes.
const RECORD_MAX: u64 = 1 << 20;

/// How the names of files of digests end.
const DIGESTS: &str = ".digests";

const DIGEST: u64 = Digest::LEN as u64;

/// Digests read at once where content is looked for.
const LOOK: u64 = 2048;

/// What the source knows of the target's last element.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The element that the map belongs to.
    pub(crate) sealed: Option<PointRef>,
    /// The checkpoint since which changes are recorded, if it can be trusted.
    pub(crate) checkpoint: Option<String>,
    /// Disks of the element, and their sizes in bytes.
    pub(crate) disks: Vec<(DiskKey, u64)>,
    /// The last recovery point among the elements.
    pub(crate) point: Option<PointRef>,
    /// The instant it shows, by this host's clock.
    pub(crate) captured_ms: Option<u64>,
    /// A reading of whole disks that is under way.
    pub(crate) scan: Option<Scan>,
    /// Number of the last resync asked for that has begun.
    #[serde(default)]
    pub(crate) resync: u64,
    /// The machine was off at the instant of the last point.
    #[serde(default)]
    pub(crate) off: bool,
    /// The disks' files after that, where the machine was off: it has run since where they
    /// differ.
    #[serde(default)]
    pub(crate) stamps: Vec<(DiskKey, Option<String>)>,
}

/// How far a reading of whole disks has come, in slices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scan {
    /// Why the disks are read.
    pub(crate) why: ScanReason,
    /// The checkpoint taken with the first slice: the cycle after the last slice brings
    /// everything since then. None where no disk has bitmaps.
    pub(crate) checkpoint: Option<String>,
    /// Clusters of each disk that are done.
    pub(crate) done: BTreeMap<DiskKey, u64>,
    /// The checkpoint since which changes are all that is left to read, where this is the
    /// rest of a cycle. Without it the disks are read whole.
    #[serde(default)]
    pub(crate) since: Option<String>,
}

impl Record {
    /// The checkpoints of ours that are still needed.
    pub(crate) fn checkpoints(&self) -> BTreeSet<&str> {
        let scan = self.scan.as_ref();
        let scans = scan.into_iter().flat_map(|s| s.checkpoint.iter().chain(&s.since));
        self.checkpoint.iter().chain(scans).map(String::as_str).collect()
    }

    /// The checkpoints that this record needs and `other` does not.
    pub(crate) fn checkpoints_beside(&self, other: &Record) -> Vec<String> {
        self.checkpoints().difference(&other.checkpoints()).map(|name| (*name).to_owned()).collect()
    }
}

/// Why whole disks are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ScanReason {
    /// Nothing is at the target.
    Initial,
    /// The record of changes was lost.
    Resync(String),
    /// A cycle was too large for one element.
    Rest,
}

/// The next element: what the record becomes, and what changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) record: Record,
    /// One list per disk of the record, ascending.
    pub(crate) changes: Vec<Vec<SourceChange>>,
}

/// How the target's last element compares with what is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// As the record says; a pending element had not been sealed and was dropped, with
    /// the checkpoint that was taken for it.
    Same { dropped: Vec<String> },
    /// The pending element had been sealed: its acknowledgement was lost. The checkpoint
    /// before it is of no more use.
    Applied { superseded: Vec<String> },
    /// The target is somewhere else.
    Unknown,
}

pub(crate) struct DigestMap {
    files: Arc<dyn Files>,
    dir: PathBuf,
    record: Record,
    open: BTreeMap<DiskKey, Arc<dyn File>>,
    blocks: BTreeMap<DiskKey, BlockFile>,
    tops: BTreeMap<DiskKey, Tops>,
}

/// The digests of one disk.
#[derive(Clone)]
pub(crate) struct Digests {
    path: PathBuf,
    file: Arc<dyn File>,
    tops: Tops,
}

impl Digests {
    /// Digests of `count` clusters from `first` on.
    pub(crate) fn read(&self, first: u64, count: usize) -> Result<Vec<Digest>, CaptureError> {
        let read = || {
            let mut bytes = vec![0; count * Digest::LEN];
            let have = self.file.size()?.saturating_sub(first * DIGEST).min(bytes.len() as u64);
            read_exact_at(&*self.file, &mut bytes[..usize::try_from(have).unwrap_or(0)], first * DIGEST)?;
            Ok(bytes.as_chunks::<{ Digest::LEN }>().0.iter().map(|d| Digest(*d)).collect())
        };
        read().map_err(|source| CaptureError::State { what: "reading", path: self.path.clone(), source })
    }

    /// The highest of the first `clusters` that has content and is not in `beside` (bytes of
    /// the disk), with its digest.
    pub(crate) fn highest(
        &self,
        clusters: u64,
        beside: &Runs,
    ) -> Result<Option<(u64, Digest)>, CaptureError> {
        for chunk in self.tops.chunks(clusters).into_iter().rev() {
            let (chunk_start, chunk_end) = (chunk * CHUNK, clusters.min((chunk + 1) * CHUNK));
            let mut empty = true;
            // A little at a time: this runs on many threads, and each keeps what it once needed.
            for part in (0..(chunk_end - chunk_start).div_ceil(LOOK)).rev() {
                let first = chunk_start + part * LOOK;
                let count = (chunk_end - first).min(LOOK);
                let digests = self.read(first, usize::try_from(count).unwrap_or(0))?;
                for (cluster, digest) in (first..first + count).rev().zip(digests.iter().rev()) {
                    if digest.is_zero() {
                        continue;
                    }
                    empty = false;
                    if !beside.contains(cluster * CLUSTER_BYTES) {
                        return Ok(Some((cluster, *digest)));
                    }
                }
            }
            if empty && chunk_end - chunk_start == CHUNK {
                self.tops.is_empty(chunk);
            }
        }
        Ok(None)
    }
}

impl DigestMap {
    /// Opens, or begins, the map in `dir`.
    pub(crate) fn open(files: Arc<dyn Files>, dir: &Path) -> Result<DigestMap, CaptureError> {
        let mut map = DigestMap {
            files,
            dir: dir.to_owned(),
            record: Record::default(),
            open: BTreeMap::new(),
            blocks: BTreeMap::new(),
            tops: BTreeMap::new(),
        };
        let io = |source| CaptureError::State { what: "opening", path: dir.to_owned(), source };
        map.files.create_dir_all(dir).map_err(io)?;
        // A record that cannot be read is no record: the target's word rebuilds it.
        if let Some(bytes) = map.read_whole("record.json", RECORD_MAX).map_err(io)? {
            map.record = serde_json::from_slice(&bytes).unwrap_or_default();
        }
        Ok(map)
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// A disk's digests, to be read from many tasks.
    pub(crate) fn digests_of(&mut self, disk: &DiskKey) -> Result<Digests, CaptureError> {
        let tops = self.tops.entry(disk.clone()).or_default().clone();
        Ok(Digests { path: self.dir.join(digests_name(disk)), file: self.digests(disk)?, tops })
    }

    /// What is known of the blocks of a disk's clusters; none where it cannot be kept.
    pub(crate) fn blocks_of(&mut self, disk: &DiskKey) -> Option<BlockFile> {
        if let Some(file) = self.blocks.get(disk) {
            return Some(file.clone());
        }
        let path = self.dir.join(format!("{disk}.blocks"));
        match self.files.open(&path, OpenMode::Create) {
            Ok(file) => Some(self.blocks.entry(disk.clone()).or_insert(BlockFile::new(file)).clone()),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "small writes are sent as whole clusters");
                None
            }
        }
    }

    /// Notes what a cluster's blocks are, now that the target has it.
    pub(crate) fn note(&self, disk: &DiskKey, known: &Known) {
        if let Some(file) = self.blocks.get(disk) {
            file.note(known);
        }
    }

    /// Makes the next element's changes durable, before its seal is sent.
    pub(crate) fn set_pending(&mut self, pending: &Pending) -> Result<(), CaptureError> {
        self.write_whole("pending", &pending.encode())
    }

    /// Compares with the target's last element and brings the map to it where it can.
    pub(crate) fn settle(&mut self, last: Option<PointRef>) -> Result<Settled, CaptureError> {
        if self.record.sealed.is_none() {
            // What is there is of a map that was being forgotten, or filled, when we were
            // killed: the first copy compared with it would leave clusters out.
            self.empty_digests()?;
        }
        let pending = self.pending()?;
        if last == self.record.sealed {
            if pending.is_some() {
                self.remove_pending()?;
            }
            // The last slice of a scan names the scan's own checkpoint, which the repeated
            // slice needs: what the record holds is never dropped.
            let dropped = pending.map_or_else(Vec::new, |p| p.record.checkpoints_beside(&self.record));
            return Ok(Settled::Same { dropped });
        }
        match pending {
            Some(pending) if pending.record.sealed == last => {
                let superseded = self.record.checkpoints_beside(&pending.record);
                self.apply(pending)?;
                Ok(Settled::Applied { superseded })
            }
            _ => Ok(Settled::Unknown),
        }
    }

    /// The pending element is sealed, says the target: the map moves on to it.
    pub(crate) fn apply(&mut self, pending: Pending) -> Result<(), CaptureError> {
        let mut record = pending.record;
        for ((disk, size), changes) in record.disks.clone().iter().zip(&pending.changes) {
            self.write_digests(disk, *size, changes.iter().copied())?;
        }
        // A disk that went away is unknown when it comes back.
        let gone: Vec<DiskKey> = self
            .record
            .disks
            .iter()
            .map(|(d, _)| d)
            .filter(|d| record.disks.iter().all(|(k, _)| k != *d))
            .cloned()
            .collect();
        for disk in gone {
            self.write_digests(&disk, 0, std::iter::empty())?;
        }
        std::mem::swap(&mut self.record, &mut record);
        self.save()?;
        self.remove_pending()
    }

    /// Forgets everything: the map is to be filled from the target.
    pub(crate) fn reset(&mut self) -> Result<(), CaptureError> {
        // In this order, killed anywhere: with the old record the digests are whole, and
        // without it `settle` empties them. A pending element must never meet emptied ones.
        self.remove_pending()?;
        self.files.sync_dir(&self.dir).map_err(|e| self.error("removing", "pending", e))?;
        self.record = Record::default();
        self.save()?;
        self.empty_digests()
    }

    /// Cuts the digests of every disk that ever had some to nothing.
    fn empty_digests(&self) -> Result<(), CaptureError> {
        let all = self.files.list(&self.dir).map_err(|e| self.error("listing", "", e))?;
        for name in all.iter().filter(|name| name.ends_with(DIGESTS)) {
            let empty = || {
                let file = self.files.open(&self.dir.join(name), OpenMode::Write)?;
                if file.size()? == 0 {
                    return Ok(());
                }
                file.set_size(0)?;
                file.sync()
            };
            empty().map_err(|e| self.error("emptying", name, e))?;
        }
        Ok(())
    }

    /// Takes digests that the target has told.
    pub(crate) fn fill(
        &mut self,
        disk: &DiskKey,
        size: u64,
        entries: &[(u64, Digest)],
    ) -> Result<(), CaptureError> {
        let changes =
            entries.iter().map(|(cluster, digest)| SourceChange { cluster: *cluster, digest: *digest });
        self.write_digests(disk, size, changes)
    }

    /// Replaces the record, durably.
    pub(crate) fn set_record(&mut self, record: Record) -> Result<(), CaptureError> {
        self.record = record;
        self.save()
    }

    /// The element that is pending, if one is.
    pub(crate) fn pending_point(&self) -> Result<Option<PointRef>, CaptureError> {
        Ok(self.pending()?.and_then(|pending| pending.record.sealed))
    }

    fn pending(&self) -> Result<Option<Pending>, CaptureError> {
        let bytes = self.read_whole("pending", u64::MAX).map_err(|e| self.error("reading", "pending", e))?;
        // A damaged one is as good as none: the target's word then rebuilds the map.
        Ok(bytes.and_then(|b| Pending::decode(&b)))
    }

    fn remove_pending(&self) -> Result<(), CaptureError> {
        match self.files.remove(&self.dir.join("pending")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.error("removing", "pending", e)),
            _ => Ok(()),
        }
    }

    fn write_digests(
        &mut self,
        disk: &DiskKey,
        size: u64,
        changes: impl Iterator<Item = SourceChange>,
    ) -> Result<(), CaptureError> {
        let file = self.digests(disk)?;
        let tops = self.tops.entry(disk.clone()).or_default().clone();
        let end = clusters_in(size) * DIGEST;
        let write = || {
            let mut dirty = file.size()? > end;
            if dirty {
                // Cut, so that what grows back is zeros.
                file.set_size(end)?;
                if let Some(blocks) = self.blocks.get(disk) {
                    blocks.cut(clusters_in(size));
                }
            }
            let (mut at, mut run) = (0, Vec::new());
            for change in changes {
                if at + run.len() as u64 != change.cluster * DIGEST {
                    write_run(&*file, &mut run, at)?;
                    at = change.cluster * DIGEST;
                }
                run.extend_from_slice(&change.digest.0);
                tops.note(change.cluster, &change.digest);
                dirty = true;
            }
            write_run(&*file, &mut run, at)?;
            if dirty { file.sync() } else { Ok(()) }
        };
        write().map_err(|e| self.error("writing", &digests_name(disk), e))
    }

    fn digests(&mut self, disk: &DiskKey) -> Result<Arc<dyn File>, CaptureError> {
        if let Some(file) = self.open.get(disk) {
            return Ok(file.clone());
        }
        let name = digests_name(disk);
        let file = self
            .files
            .open(&self.dir.join(&name), OpenMode::Create)
            .map_err(|e| self.error("opening", &name, e))?;
        self.open.insert(disk.clone(), file.clone());
        Ok(file)
    }

    fn save(&self) -> Result<(), CaptureError> {
        let json = serde_json::to_vec_pretty(&self.record)
            .map_err(|e| self.error("writing", "record.json", e.into()))?;
        self.write_whole("record.json", &json)
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> Result<(), CaptureError> {
        let (path, new) = (self.dir.join(name), self.dir.join(format!("{name}.tmp")));
        let write = || {
            let file = self.files.open(&new, OpenMode::Truncate)?;
            file.write_at(bytes, 0)?;
            file.sync()?;
            self.files.rename(&new, &path)?;
            self.files.sync_dir(&self.dir)
        };
        write().map_err(|e| self.error("writing", name, e))
    }

    fn read_whole(&self, name: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        match self.files.open(&self.dir.join(name), OpenMode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
            Ok(file) => {
                let size = file.size()?.min(max);
                let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
                read_exact_at(&*file, &mut bytes, 0)?;
                Ok(Some(bytes))
            }
        }
    }

    fn error(&self, what: &'static str, name: &str, source: io::Error) -> CaptureError {
        CaptureError::State { what, path: self.dir.join(name), source }
    }
}

fn write_run(file: &dyn File, run: &mut Vec<u8>, at: u64) -> io::Result<()> {
    if !run.is_empty() {
        file.write_at(run, at)?;
        run.clear();
    }
    Ok(())
}

pub(crate) fn digests_name(disk: &DiskKey) -> String {
    format!("{disk}{DIGESTS}")
}

#[cfg(test)]
mod tests;
