//! A source's part played against a replica store, with the model beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use farshore_delta::{ElementKind, RootBuilder, SourceChange};
use farshore_env::{Clock, Files};
use farshore_replica::{CycleStart, Incoming, Options, Replica, ReplicaError, SealRequest, Stored};
use farshore_types::{
    CLUSTER_BYTES, Consistency, Digest, DiskKey, Epoch, MachineId, PointId, PointRef, RootDigest, clusters_in,
};

use crate::ModelDisk;

/// The machine that all drivers replicate.
pub const MACHINE: &str = "6f1de0b2-9a43-4d5c-8a0e-0123456789ab";

/// One guest write of a cycle: disk, byte offset, length, and a salt that decides the
/// bytes (0: zeros; odd: text that compresses; even: noise that does not).
pub type Write = (usize, u64, usize, u64);

/// Plays the source.
pub struct Driver {
    /// The store under test.
    pub replica: Replica,
    /// Names and sizes of the disks.
    pub disks: Vec<(DiskKey, u64)>,
    /// The disks as the guest sees them now.
    pub now: Vec<ModelDisk>,
    /// What each acknowledged point must equal: disks with their sizes.
    pub acknowledged: BTreeMap<PointId, Vec<(DiskKey, u64, ModelDisk)>>,
    dirty: Vec<BTreeSet<u64>>,
    number: u64,
    epoch: Epoch,
}

/// Opens the drivers' machine's store.
///
/// # Errors
/// As the store reports.
pub fn open(
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    dir: &Path,
    options: Options,
) -> Result<Replica, ReplicaError> {
    Replica::open(files, clock, dir, machine(), options)
}

/// The drivers' machine.
#[must_use]
pub fn machine() -> MachineId {
    MACHINE.parse().unwrap()
}

impl Driver {
    /// A machine with empty disks of these sizes (vda, vdb, …) before its first cycle.
    ///
    /// # Errors
    /// As the store reports.
    pub fn start(mut replica: Replica, sizes: &[u64]) -> Result<Driver, ReplicaError> {
        let epoch = Epoch { number: 1, token: 77 };
        replica.begin_session(&epoch, "web1")?;
        let disks: Vec<(DiskKey, u64)> = sizes
            .iter()
            .zip('a'..)
            .map(|(size, letter)| (format!("vd{letter}").parse().unwrap(), *size))
            .collect();
        Ok(Driver {
            now: vec![ModelDisk::default(); disks.len()],
            dirty: vec![BTreeSet::new(); disks.len()],
            number: replica.last().map_or(0, |l| l.id.number),
            acknowledged: BTreeMap::new(),
            replica,
            disks,
            epoch,
        })
    }

    /// Goes on with a machine whose disks are as in `now`, on a store that was opened anew:
    /// everything is dirty.
    ///
    /// # Errors
    /// As the store reports.
    pub fn resume(mut replica: Replica, now: Vec<(DiskKey, u64, ModelDisk)>) -> Result<Driver, ReplicaError> {
        let epoch = replica.epoch();
        let epoch = if epoch.number == 0 { Epoch { number: 1, token: 77 } } else { epoch };
        replica.begin_session(&epoch, "web1")?;
        let dirty = now.iter().map(|(_, size, _)| (0..clusters_in(*size)).collect()).collect();
        let number = replica.last().map_or(0, |l| l.id.number);
        let disks = now.iter().map(|(key, size, _)| (key.clone(), *size)).collect();
        let now = now.into_iter().map(|(_, _, disk)| disk).collect();
        Ok(Driver { replica, disks, now, acknowledged: BTreeMap::new(), dirty, number, epoch })
    }

    /// The name that the next element gets.
    #[must_use]
    pub fn next_id(&self) -> PointId {
        PointId { epoch: self.epoch.number, number: self.number + 1 }
    }

    /// Raises the epoch, as a new owner does.
    ///
    /// # Errors
    /// As the store reports.
    pub fn own(&mut self, epoch: Epoch) -> Result<(), ReplicaError> {
        self.epoch = epoch;
        self.replica.begin_session(&epoch, "web1").map(drop)
    }

    /// Lets the guest write.
    pub fn write(&mut self, writes: &[Write]) {
        for (disk, at, len, salt) in writes {
            let size = self.disks[*disk].1;
            let at = at % size;
            let len = (*len).min(usize::try_from(size - at).unwrap()).max(1);
            self.now[*disk].write(at, &content(*salt, len));
            let clusters = at / CLUSTER_BYTES..=(at + len as u64 - 1) / CLUSTER_BYTES;
            self.dirty[*disk].extend(clusters);
        }
    }

    /// Sends everything dirty and seals. What stays dirty after a failure goes with the
    /// next cycle.
    ///
    /// # Errors
    /// As the store reports.
    pub fn cycle(&mut self, kind: ElementKind) -> Result<PointRef, ReplicaError> {
        self.number += 1;
        let base = self.replica.last();
        let id = PointId { epoch: self.epoch.number, number: self.number };
        let mut root = RootBuilder::new(base.map_or(RootDigest::NONE, |b| b.root), id);
        self.replica.begin_cycle(CycleStart { number: self.number, base, disks: self.disks.clone() })?;
        for (i, (key, size)) in self.disks.clone().into_iter().enumerate() {
            let within: Vec<u64> = self.dirty[i].iter().copied().filter(|c| *c < clusters_in(size)).collect();
            let clusters: Vec<(u64, Vec<u8>)> =
                within.iter().map(|c| (*c, self.now[i].cluster(*c))).collect();
            let packed: Vec<Vec<u8>> =
                clusters.iter().map(|(_, bytes)| zstd::bulk::compress(bytes, 1).unwrap()).collect();
            let records: Vec<Incoming<'_>> = clusters
                .iter()
                .zip(&packed)
                .map(|((c, bytes), packed)| incoming(*c, bytes, packed))
                .collect();
            for batch in records.chunks(3) {
                self.replica.append(i, batch)?;
            }
            let changes = records.iter().map(|r| SourceChange { cluster: r.cluster, digest: r.digest });
            root.disk(&key, size, changes);
        }
        let definition = format!("<domain id='{}'/>", self.number).into_bytes();
        let sealed = self.replica.seal(&SealRequest { kind, age_ms: 10, root: root.finish(), definition })?;
        self.dirty.iter_mut().for_each(BTreeSet::clear);
        if kind != ElementKind::Stage {
            self.acknowledged.insert(sealed.id, self.state());
        }
        Ok(sealed)
    }

    /// A crash-consistent point.
    ///
    /// # Errors
    /// As the store reports.
    pub fn point(&mut self) -> Result<PointRef, ReplicaError> {
        self.cycle(ElementKind::Point(Consistency::Crash))
    }

    /// Goes on with a store that was opened anew: everything dirty since the last
    /// element that it has is dirty again.
    pub fn resync(&mut self, replica: Replica) {
        self.replica = replica;
        if self.replica.epoch().number > self.epoch.number {
            self.epoch = self.replica.epoch();
        }
        self.replica.begin_session(&self.epoch, "web1").unwrap();
        self.number = self.number.max(self.replica.last().map_or(0, |l| l.id.number));
        for (dirty, (_, size)) in self.dirty.iter_mut().zip(&self.disks) {
            // What was cut off before stays dirty, for when the disk grows over it again.
            dirty.extend(0..clusters_in(*size));
        }
    }

    /// The disks as they are now.
    #[must_use]
    pub fn state(&self) -> Vec<(DiskKey, u64, ModelDisk)> {
        self.disks
            .iter()
            .zip(&self.now)
            .map(|((key, size), disk)| (key.clone(), *size, disk.clone()))
            .collect()
    }
}

/// Whether a point reads as the model says, byte for byte, by our own reader.
///
/// # Errors
/// What differs, or what the store reports.
pub fn check_point(replica: &Replica, id: PointId, want: &[(DiskKey, u64, ModelDisk)]) -> Result<(), String> {
    let reader = replica.reader(id).map_err(|e| e.to_string())?;
    let disks: Vec<(DiskKey, u64)> = want.iter().map(|(k, s, _)| (k.clone(), *s)).collect();
    if reader.disks() != disks {
        return Err(format!("point {id} has disks {:?}, not {disks:?}", reader.disks()));
    }
    reader.definition().map_err(|e| e.to_string())?;
    let mut buffer = Vec::new();
    for (disk, size, model) in want {
        let mut expected = 0;
        let zeros = |from: u64, to: u64| (from..to).find(|c| !model.is_zero(*c));
        for entry in reader.map(disk).map_err(|e| e.to_string())? {
            let entry = entry.map_err(|e| e.to_string())?;
            if let Some(lost) = zeros(expected, entry.cluster) {
                return Err(format!("point {id}, disk {disk}: cluster {lost} is missing"));
            }
            reader.read(disk, &entry, &mut buffer).map_err(|e| e.to_string())?;
            if buffer != model.cluster(entry.cluster) {
                return Err(format!("point {id}, disk {disk}: cluster {} differs", entry.cluster));
            }
            expected = entry.cluster + 1;
        }
        if let Some(lost) = zeros(expected, clusters_in(*size)) {
            return Err(format!("point {id}, disk {disk}: cluster {lost} is missing"));
        }
    }
    Ok(())
}

/// Bytes that a salt stands for.
#[must_use]
pub fn content(salt: u64, len: usize) -> Vec<u8> {
    match salt % 4 {
        0 => vec![0; len],
        1 | 3 => format!("record {salt} of the guest; ").into_bytes().into_iter().cycle().take(len).collect(),
        _ => {
            let mut x = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let next = move || {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                x
            };
            std::iter::repeat_with(next).flat_map(u64::to_le_bytes).take(len).collect()
        }
    }
}

fn incoming<'a>(cluster: u64, bytes: &'a [u8], packed: &'a [u8]) -> Incoming<'a> {
    let digest = Digest::of(bytes);
    let stored = match (digest.is_zero(), packed.len() < bytes.len()) {
        (true, _) => Stored::Zero,
        (false, true) => Stored::Compressed(packed),
        (false, false) => Stored::Raw(bytes),
    };
    Incoming { cluster, digest, stored }
}

/// The kinds of error that a full or failing disk gives.
pub const DISK_FAULTS: [io::ErrorKind; 2] = [io::ErrorKind::StorageFull, io::ErrorKind::Other];
