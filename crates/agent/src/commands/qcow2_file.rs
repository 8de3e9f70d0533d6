//! A point's disk as a fresh, flat qcow2 file, written in one pass from front to back:
//!
//! ```text
//! header │ L1 │ data … L2 │ data … L2 │ … │ refcount table │ refcount blocks
//! ```
//!
//! Every cluster in use is referred to once. This module must never know about recovery
//! points in one image: the file has none.

use farshore_delta::Place;
use farshore_env::File;
use farshore_qcow2::{COPIED, Geometry, Header};
use farshore_replica::{PointReader, ReplicaError};
use farshore_types::{CLUSTER_BYTES, DiskKey};

use crate::AgentError;

/// Geometry of the file; its clusters are those of the replica.
const GEOMETRY: Geometry = Geometry::DEFAULT;

/// Writes one disk and makes it durable. `advance` is told of bytes done.
///
/// # Errors
/// As [`PointReader::read`]; or as the file reports.
pub(super) fn write(
    reader: &PointReader,
    disk: &DiskKey,
    size: u64,
    to: &dyn File,
    advance: &mut dyn FnMut(u64),
) -> Result<(), AgentError> {
    let l1_entries = GEOMETRY.l1_entries(size);
    let mut image = Writer::new(to, l1_entries);
    to.set_size(0).map_err(|e| failed(disk, e))?;
    let mut buffer = Vec::new();
    for entry in reader.map(disk)? {
        let entry = entry?;
        if entry.place != Place::Zero {
            reader.read(disk, &entry, &mut buffer)?;
            image.put(entry.cluster, &buffer).map_err(|e| failed(disk, e))?;
        }
        advance(entry.cluster * CLUSTER_BYTES);
    }
    image.finish(size).map_err(|e| failed(disk, e))?;
    advance(size);
    Ok(())
}

fn failed(disk: &DiskKey, source: std::io::Error) -> AgentError {
    ReplicaError::Io { what: "writing an export", dir: disk.to_string().into(), source }.into()
}

struct Writer<'a> {
    file: &'a dyn File,
    l1: Vec<u64>,
    /// Which L2 table is being filled, and its entries.
    l2: Option<(usize, Vec<u64>)>,
    /// Host clusters in use so far.
    clusters: u64,
}

impl Writer<'_> {
    fn new(file: &dyn File, l1_entries: u64) -> Writer<'_> {
        let l1 = vec![0; usize::try_from(l1_entries).unwrap_or(usize::MAX)];
        Writer { file, l1, l2: None, clusters: 1 + table_clusters(l1_entries) }
    }

    /// Writes a cluster; they come in ascending order.
    fn put(&mut self, cluster: u64, bytes: &[u8]) -> std::io::Result<()> {
        let (table, entry) = (index(cluster / GEOMETRY.l2_entries()), index(cluster % GEOMETRY.l2_entries()));
        if self.l2.as_ref().is_none_or(|(open, _)| *open != table) {
            self.close_l2()?;
            self.l2 = Some((table, vec![0; index(GEOMETRY.l2_entries())]));
        }
        let place = self.append(bytes)?;
        if let Some((_, entries)) = &mut self.l2 {
            entries[entry] = place | COPIED;
        }
        Ok(())
    }

    fn close_l2(&mut self) -> std::io::Result<()> {
        if let Some((table, entries)) = self.l2.take() {
            self.l1[table] = self.append(&big_endian(&entries))? | COPIED;
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<u64> {
        let place = self.clusters * CLUSTER_BYTES;
        self.file.write_at(bytes, place)?;
        self.clusters += (bytes.len() as u64).div_ceil(CLUSTER_BYTES);
        Ok(place)
    }

    /// Tables and counts, then (once all else is durable) the header that names them.
    fn finish(mut self, size: u64) -> std::io::Result<()> {
        self.close_l2()?;
        let (table, blocks) = refcounts_for(self.clusters);
        let total = self.clusters + table + blocks;
        let refcount_table_offset = self.clusters * CLUSTER_BYTES;
        let first_block = refcount_table_offset + table * CLUSTER_BYTES;
        let places: Vec<u64> = (0..blocks).map(|block| first_block + block * CLUSTER_BYTES).collect();
        self.file.write_at(&big_endian(&places), refcount_table_offset)?;
        for (block, place) in (0u64..).zip(&places) {
            let counted = total - (block * GEOMETRY.refcounts_per_block()).min(total);
            let ones = index(counted.min(GEOMETRY.refcounts_per_block()));
            self.file.write_at(&1u32.to_be_bytes().repeat(ones), *place)?;
        }
        self.file.set_size(total * CLUSTER_BYTES)?;
        self.file.write_at(&big_endian(&self.l1), CLUSTER_BYTES)?;
        self.file.sync()?;
        let header = Header {
            geometry: GEOMETRY,
            size: size.next_multiple_of(farshore_qcow2::SECTOR),
            l1_offset: CLUSTER_BYTES,
            l1_entries: u32::try_from(self.l1.len()).unwrap_or(u32::MAX),
            refcount_table_offset,
            refcount_table_clusters: u32::try_from(table).unwrap_or(u32::MAX),
            snapshots_offset: 0,
            snapshots: 0,
            backing: None,
            extensions: Vec::new(),
        };
        let header = header.encode().map_err(std::io::Error::other)?;
        self.file.write_at(&header, 0)?;
        self.file.sync()
    }
}

/// Clusters of the refcount table and of its blocks, which count themselves too.
fn refcounts_for(used: u64) -> (u64, u64) {
    let (mut table, mut blocks) = (1, 1);
    loop {
        let need_blocks = (used + table + blocks).div_ceil(GEOMETRY.refcounts_per_block());
        let need_table = table_clusters(need_blocks);
        if (need_table, need_blocks) == (table, blocks) {
            return (table, blocks);
        }
        (table, blocks) = (need_table, need_blocks);
    }
}

/// Clusters that so many 8-byte entries fill; at least one.
fn table_clusters(entries: u64) -> u64 {
    (entries * 8).div_ceil(CLUSTER_BYTES).max(1)
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn big_endian(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}
