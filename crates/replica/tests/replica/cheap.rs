//! Comparing a point with the model cheaply, tens of thousands of times: stored bytes that
//! were once decoded and found right for a digest need only be compared again.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

use farshore_delta::Entry;
use farshore_env::{Files, OpenMode, read_exact_at};
use farshore_replica::{PointReader, Replica};
use farshore_sim::MemoryFiles;
use farshore_types::{Digest, DiskKey, PointId, clusters_in};

use crate::history::{Disks, told};

thread_local! {
    /// Stored bytes that decode to content of a digest.
    static KNOWN: RefCell<HashMap<Digest, Vec<u8>>> = RefCell::default();
}

/// Digests of a model's clusters that are not zeros, disk by disk.
pub(crate) type Digests = Vec<BTreeMap<u64, Digest>>;

pub(crate) fn digests(disks: &Disks) -> Digests {
    let of = |(_, size, model): &(DiskKey, u64, farshore_sim::ModelDisk)| {
        let held = (0..clusters_in(*size)).filter(|c| !model.is_zero(*c));
        held.map(|c| (c, Digest::of(&model.cluster(c)))).collect()
    };
    disks.iter().map(of).collect()
}

/// Whether a point equals the model, byte for byte.
pub(crate) fn check(
    files: &MemoryFiles,
    replica: &Replica,
    id: PointId,
    disks: &Disks,
    digests: &Digests,
) -> Result<(), String> {
    let reader = replica.reader(id).map_err(|e| told(&e))?;
    reader.definition().map_err(|e| told(&e))?;
    let want: Vec<(DiskKey, u64)> = disks.iter().map(|(k, s, _)| (k.clone(), *s)).collect();
    if reader.disks() != want {
        return Err(format!("point {id} has disks {:?}, not {want:?}", reader.disks()));
    }
    for ((disk, _, model), digests) in disks.iter().zip(digests) {
        let entries: Result<Vec<Entry>, _> = reader.map(disk).map_err(|e| told(&e))?.collect();
        let entries = entries.map_err(|e| told(&e))?;
        let shown: BTreeMap<u64, Digest> =
            entries.iter().filter(|e| !e.digest.is_zero()).map(|e| (e.cluster, e.digest)).collect();
        if shown != *digests {
            return Err(format!("point {id}, disk {disk}: its digests are not the model's"));
        }
        for entry in &entries {
            if !is_known(files, replica, disk, entry) {
                decode(&reader, disk, entry, &model.cluster(entry.cluster))?;
                learn(files, replica, disk, entry);
            }
        }
    }
    Ok(())
}

fn stored(files: &MemoryFiles, replica: &Replica, disk: &DiskKey, entry: &Entry) -> Option<Vec<u8>> {
    let range = entry.place.range()?;
    let file = files.open(&replica.dir().join(format!("{disk}.qcow2")), OpenMode::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
    read_exact_at(&*file, &mut bytes, range.start).ok()?;
    Some(bytes)
}

fn is_known(files: &MemoryFiles, replica: &Replica, disk: &DiskKey, entry: &Entry) -> bool {
    let Some(bytes) = stored(files, replica, disk, entry) else { return false };
    KNOWN.with_borrow(|known| known.get(&entry.digest).is_some_and(|k| *k == bytes))
}

fn learn(files: &MemoryFiles, replica: &Replica, disk: &DiskKey, entry: &Entry) {
    if let Some(bytes) = stored(files, replica, disk, entry) {
        KNOWN.with_borrow_mut(|known| known.insert(entry.digest, bytes));
    }
}

fn decode(reader: &PointReader, disk: &DiskKey, entry: &Entry, want: &[u8]) -> Result<(), String> {
    let mut bytes = Vec::new();
    reader.read(disk, entry, &mut bytes).map_err(|e| told(&e))?;
    match bytes == want {
        true => Ok(()),
        false => Err(format!("point {}, disk {disk}: cluster {} differs", reader.id(), entry.cluster)),
    }
}
