//! Reading a point: its map is the merge of all deltas up to it, its bytes come from the
//! images. A reader needs the store no more once it has been given out; what it reads is
//! not freed while it lives.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use farshore_delta::{DeltaFile, Entry, Merge, Place};
use farshore_env::{File, Files, read_exact_at};
use farshore_types::{CLUSTER_BYTES, CLUSTER_SIZE, Digest, DiskKey, PointId};

use crate::{Adopted, AdoptedDisk, Replica, ReplicaError, chain::Element};

/// The file behind [`Place::Backing`], opened when first needed: where it is missing, all
/// that does not lie in it can still be read.
struct Backing {
    files: Arc<dyn Files>,
    path: PathBuf,
    disk: OnceLock<AdoptedDisk>,
}

impl Backing {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), ReplicaError> {
        match self.disk.get() {
            Some(disk) => disk.read_at(buf, offset),
            None => {
                let opened = AdoptedDisk::open(&*self.files, &self.path)?;
                self.disk.get_or_init(|| opened).read_at(buf, offset)
            }
        }
    }
}

/// Told of a long operation's advance: bytes done, bytes in all.
pub type Progress<'a> = dyn FnMut(u64, u64) + Send + 'a;

/// What a verification read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Clusters whose bytes were read and matched their digest.
    pub clusters: u64,
    /// Clusters that are zeros by the map alone.
    pub zeros: u64,
    /// Bytes read from images.
    pub stored: u64,
}

/// Points that readers of this process are at, counted.
#[derive(Clone, Default)]
pub(crate) struct ReaderPins(Arc<Mutex<BTreeMap<PointId, usize>>>);

impl ReaderPins {
    pub(crate) fn holds(&self, point: PointId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&point)
    }

    /// Whether anyone reads at all.
    pub(crate) fn any(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn enter(&self, point: PointId) -> ReaderPin {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(point).or_insert(0) += 1;
        ReaderPin { pins: self.clone(), point }
    }
}

/// Holds back what a reader may be at, until dropped.
pub(crate) struct ReaderPin {
    pins: ReaderPins,
    point: PointId,
}

impl Drop for ReaderPin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock().unwrap_or_else(PoisonError::into_inner);
        match pins.get_mut(&self.point) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(pins.remove(&self.point)),
        }
    }
}

/// One point, open for reading.
pub struct PointReader {
    id: PointId,
    elements: Vec<Element>,
    images: BTreeMap<DiskKey, Arc<dyn File>>,
    backings: BTreeMap<DiskKey, Backing>,
    stop: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    _pin: ReaderPin,
}

impl Replica {
    /// Opens a point for reading.
    ///
    /// # Errors
    /// [`ReplicaError::NoSuchPoint`].
    pub fn reader(&self, id: PointId) -> Result<PointReader, ReplicaError> {
        self.element(id)?;
        Ok(self.reader_of(id))
    }

    /// Opens the last durable element, point or stage: what the source's digest map is
    /// rebuilt from. `None` where nothing was sealed yet.
    #[must_use]
    pub fn last_reader(&self) -> Option<PointReader> {
        self.chain.last().map(|e| self.reader_of(e.id()))
    }

    fn reader_of(&self, id: PointId) -> PointReader {
        let end = self.chain.position(id).map_or(0, |at| at + 1);
        PointReader {
            id,
            elements: self.chain.elements[..end].to_vec(),
            images: self.images.iter().map(|(d, i)| (d.clone(), i.file())).collect(),
            backings: self.backings(),
            stop: None,
            _pin: self.readers.enter(id),
        }
    }

    fn backings(&self) -> BTreeMap<DiskKey, Backing> {
        let backing = |adopted: &Adopted| Backing {
            files: Arc::clone(&self.files),
            path: self.layout.dir().join(&adopted.path),
            disk: OnceLock::new(),
        };
        self.adopted().map(|(disk, adopted)| (disk.clone(), backing(adopted))).collect()
    }
}

impl PointReader {
    /// The point.
    #[must_use]
    pub fn id(&self) -> PointId {
        self.id
    }

    /// Makes every reading of a cluster fail with [`ReplicaError::Stopped`] as soon as `stop`
    /// says so.
    #[must_use]
    pub fn stopping_when(mut self, stop: impl Fn() -> bool + Send + Sync + 'static) -> PointReader {
        self.stop = Some(Box::new(stop));
        self
    }

    pub(crate) fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// The point's disks and their sizes in bytes.
    #[must_use]
    pub fn disks(&self) -> Vec<(DiskKey, u64)> {
        self.elements.last().map_or(Vec::new(), crate::store::sizes)
    }

    /// The machine's definition at the point, as the source sent it.
    ///
    /// # Errors
    /// Where the delta file is damaged or cannot be read.
    pub fn definition(&self) -> Result<Vec<u8>, ReplicaError> {
        match self.elements.last() {
            Some(element) => element.delta.definition().map_err(|e| element.error(e)),
            None => Ok(Vec::new()),
        }
    }

    /// The disk's map: one entry per cluster that was ever written, ascending; what it
    /// does not name reads as zeros.
    ///
    /// # Errors
    /// [`ReplicaError::NoSuchDisk`]; else where a delta file is damaged.
    pub fn map(
        &self,
        disk: &DiskKey,
    ) -> Result<impl Iterator<Item = Result<Entry, ReplicaError>> + use<'_>, ReplicaError> {
        self.size_of(disk)?;
        map_of(&self.elements, disk)
    }

    fn size_of(&self, disk: &DiskKey) -> Result<u64, ReplicaError> {
        let disks = self.disks();
        disks.iter().find(|(d, _)| d == disk).map(|(_, size)| *size).ok_or_else(|| ReplicaError::NoSuchDisk {
            id: self.id,
            disk: disk.clone(),
            has: disks.iter().map(|(d, _)| d.to_string()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Reads one cluster's plain bytes and checks them against its digest. Returns the
    /// bytes that were read from the image.
    ///
    /// # Errors
    /// [`ReplicaError::Corrupt`], [`ReplicaError::Stopped`]; else as the system reports.
    pub fn read(&self, disk: &DiskKey, entry: &Entry, out: &mut Vec<u8>) -> Result<u64, ReplicaError> {
        if self.stop.as_ref().is_some_and(|stop| stop()) {
            return Err(ReplicaError::Stopped);
        }
        let stored = self.read_unchecked(disk, entry, out)?;
        let same = match entry.place {
            Place::Zero => entry.digest.is_zero(),
            _ => Digest::of(out) == entry.digest,
        };
        match same {
            true => Ok(stored),
            false => Err(self.corrupt(disk, entry, "its bytes do not have the digest they were sealed with")),
        }
    }

    fn read_unchecked(&self, disk: &DiskKey, entry: &Entry, out: &mut Vec<u8>) -> Result<u64, ReplicaError> {
        let io = |source| ReplicaError::Io { what: "reading a point", dir: disk.to_string().into(), source };
        out.clear();
        out.resize(CLUSTER_SIZE, 0);
        let image = || {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            self.images.get(disk).ok_or_else(|| io(missing))
        };
        match entry.place {
            Place::Zero => Ok(0),
            Place::Raw(offset) => {
                read_exact_at(&**image()?, out, offset).map_err(io)?;
                Ok(CLUSTER_BYTES)
            }
            Place::Compressed { offset, len } => {
                let mut packed = vec![0; len as usize];
                read_exact_at(&**image()?, &mut packed, offset).map_err(io)?;
                match zstd::bulk::decompress_to_buffer(&packed, &mut out[..]) {
                    Ok(CLUSTER_SIZE) => Ok(len.into()),
                    _ => Err(self.corrupt(disk, entry, "its bytes do not decompress to a cluster")),
                }
            }
            Place::Backing => match self.backings.get(disk) {
                Some(backing) => {
                    backing.read_at(out, entry.cluster * CLUSTER_BYTES)?;
                    Ok(CLUSTER_BYTES)
                }
                None => Err(self.corrupt(
                    disk,
                    entry,
                    "it lies in an adopted disk, and the replica's record names none",
                )),
            },
        }
    }

    fn corrupt(&self, disk: &DiskKey, entry: &Entry, why: &'static str) -> ReplicaError {
        ReplicaError::Corrupt { id: self.id, disk: disk.clone(), cluster: entry.cluster, why }
    }

    /// Reads every byte of the point and checks every digest.
    ///
    /// # Errors
    /// The first [`ReplicaError::Corrupt`]; else as the system reports.
    pub fn verify(&self, progress: &mut Progress<'_>) -> Result<Verified, ReplicaError> {
        let mut seen = Verified::default();
        let total = self.disks().iter().map(|(_, size)| size).sum();
        let (mut done, mut buffer) = (0, Vec::new());
        for (disk, size) in self.disks() {
            for entry in self.map(&disk)? {
                let entry = entry?;
                if entry.place == Place::Zero {
                    seen.zeros += 1;
                } else {
                    seen.stored += self.read(&disk, &entry, &mut buffer)?;
                    seen.clusters += 1;
                }
                progress(done + entry.cluster * CLUSTER_BYTES, total);
            }
            done += size;
        }
        progress(total, total);
        Ok(seen)
    }

    /// Writes one disk of the point to a file, sparse, each cluster checked on the way,
    /// and makes it durable.
    ///
    /// # Errors
    /// As [`PointReader::read`]; or as the file reports.
    pub fn export_raw(
        &self,
        disk: &DiskKey,
        to: &dyn File,
        progress: &mut Progress<'_>,
    ) -> Result<(), ReplicaError> {
        let size = self.size_of(disk)?;
        let io =
            |source| ReplicaError::Io { what: "writing an export", dir: disk.to_string().into(), source };
        to.set_size(0).and_then(|()| to.set_size(size)).map_err(io)?;
        let mut buffer = Vec::new();
        for entry in self.map(disk)? {
            let entry = entry?;
            if entry.place != Place::Zero {
                self.read(disk, &entry, &mut buffer)?;
                let at = entry.cluster * CLUSTER_BYTES;
                let len = usize::try_from(size - at).unwrap_or(CLUSTER_SIZE).min(CLUSTER_SIZE);
                to.write_at(&buffer[..len], at).map_err(io)?;
            }
            progress(entry.cluster * CLUSTER_BYTES, size);
        }
        to.sync().map_err(io)?;
        progress(size, size);
        Ok(())
    }
}

/// The map of the last of `elements`.
pub(crate) fn map_of<'a>(
    elements: &'a [Element],
    disk: &DiskKey,
) -> Result<impl Iterator<Item = Result<Entry, ReplicaError>> + use<'a>, ReplicaError> {
    let last = elements.last();
    let nothing = || ReplicaError::State { path: "chain".into(), why: "it is empty".into() };
    let error = move |e| last.map_or_else(nothing, |l| l.error(e));
    let deltas: Vec<&DeltaFile> = elements.iter().map(|e| &e.delta).collect();
    let merge = Merge::new(&deltas, disk).map_err(error)?;
    Ok(merge.map(move |m| m.map(|m| m.entry).map_err(error)))
}
