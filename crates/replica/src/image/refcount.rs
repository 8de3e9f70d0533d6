//! Changing reference counts without ever writing over a block in use: changed blocks
//! and the table get new places, which count too, until nothing more changes.

use std::{collections::BTreeMap, ops::Range};

use farshore_env::{File, read_exact_at};

use super::{CLUSTER, GEOMETRY};
use crate::space::Space;

/// Changes to counts, gathered by block.
#[derive(Debug, Default)]
pub(crate) struct Recount {
    blocks: BTreeMap<u64, Vec<i64>>,
}

/// Where the counts are after a change.
#[derive(Debug)]
pub(crate) struct Recounted {
    pub(crate) table_offset: u64,
    pub(crate) table_clusters: u64,
    pub(crate) blocks: Vec<u64>,
    /// Places that are free once the new table is in force.
    pub(crate) freed: Vec<Range<u64>>,
}

/// A count would have fallen below zero or overflown: the old counts were wrong.
#[derive(Debug)]
pub(crate) enum RecountError {
    Io(std::io::Error),
    DoNotAddUp,
}

impl Recount {
    /// Changes the count of a host cluster, by its index.
    pub(crate) fn add(&mut self, cluster: u64, change: i64) {
        let per_block = GEOMETRY.refcounts_per_block();
        let block = self.blocks.entry(cluster / per_block).or_default();
        let at = usize::try_from(cluster % per_block).unwrap_or(0);
        if block.len() <= at {
            block.resize(at + 1, 0);
        }
        block[at] += change;
    }

    /// Changes the counts of all clusters of a byte range.
    pub(crate) fn add_range(&mut self, range: &Range<u64>, change: i64) {
        (range.start / CLUSTER..range.end.div_ceil(CLUSTER)).for_each(|c| self.add(c, change));
    }

    /// Lays out and writes the changed blocks and a new table. Places go to `taken` as
    /// soon as they are, so that a failure can give them back.
    pub(crate) fn write(
        mut self,
        file: &dyn File,
        space: &mut Space,
        old_blocks: &[u64],
        old_table: &Range<u64>,
        taken: &mut Vec<Range<u64>>,
    ) -> Result<Recounted, RecountError> {
        let mut freed = vec![old_table.clone()];
        self.add_range(old_table, -1);
        let (places, (table_offset, table_clusters)) = self.lay_out(space, old_blocks, taken, &mut freed);
        let mut blocks = old_blocks.to_vec();
        // All that is cut off here names no block.
        blocks.resize(usize::try_from(table_clusters * CLUSTER / 8).unwrap_or(0), 0);
        for (block, at) in &places {
            let index = usize::try_from(*block).unwrap_or(usize::MAX);
            let changes = self.blocks.get(block).map_or(&[][..], Vec::as_slice);
            write_block(file, blocks.get(index).copied().unwrap_or(0), *at, changes)?;
            blocks[index] = *at;
        }
        file.write_at(&super::view::words_to_bytes(&blocks), table_offset).map_err(RecountError::Io)?;
        Ok(Recounted { table_offset, table_clusters, blocks, freed })
    }

    /// Finds places for the changed blocks and the table. Each place found is a count
    /// changed, perhaps in a block that was not changed before: hence the loop.
    fn lay_out(
        &mut self,
        space: &mut Space,
        old_blocks: &[u64],
        taken: &mut Vec<Range<u64>>,
        freed: &mut Vec<Range<u64>>,
    ) -> (BTreeMap<u64, u64>, (u64, u64)) {
        // By the last block there is, not by the room for more: a table sized by its own
        // size would grow each time, until QEMU refuses it.
        let last = old_blocks.iter().rposition(|at| *at != 0).unwrap_or(0) as u64;
        let mut places = BTreeMap::new();
        let mut table: Option<(u64, u64)> = None;
        loop {
            let unplaced: Vec<u64> =
                self.blocks.keys().filter(|b| !places.contains_key(*b)).copied().collect();
            for block in &unplaced {
                let at = space.take(CLUSTER, CLUSTER);
                taken.push(at..at + CLUSTER);
                places.insert(*block, at);
                self.add(at / CLUSTER, 1);
                if let Some(old) =
                    old_blocks.get(usize::try_from(*block).unwrap_or(usize::MAX)).filter(|o| **o != 0)
                {
                    self.add(old / CLUSTER, -1);
                    freed.push(*old..old + CLUSTER);
                }
            }
            let highest = self.blocks.keys().next_back().copied().unwrap_or(0).max(last);
            let needed = ((highest + 1) * 8).div_ceil(CLUSTER);
            match table {
                Some((_, have)) if have >= needed && unplaced.is_empty() => {
                    return (places, table.unwrap_or_default());
                }
                Some((_, have)) if have >= needed => {}
                outgrown => {
                    // One cluster more the second time, so that its own place cannot outgrow it.
                    let len = needed + u64::from(outgrown.is_some());
                    let at = space.take(len * CLUSTER, CLUSTER);
                    taken.push(at..at + len * CLUSTER);
                    self.add_range(&(at..at + len * CLUSTER), 1);
                    if let Some((old, have)) = table.replace((at, len)) {
                        self.add_range(&(old..old + have * CLUSTER), -1);
                        freed.push(old..old + have * CLUSTER);
                    }
                }
            }
        }
    }
}

/// Writes a block at `to`: the old one's counts (none where `from` is 0), changed.
fn write_block(file: &dyn File, from: u64, to: u64, changes: &[i64]) -> Result<(), RecountError> {
    let mut bytes = vec![0; usize::try_from(CLUSTER).unwrap_or(0)];
    if from != 0 {
        read_exact_at(file, &mut bytes, from).map_err(RecountError::Io)?;
    }
    for (count, change) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(changes) {
        let new = i64::from(u32::from_be_bytes(*count)) + change;
        *count = u32::try_from(new).map_err(|_| RecountError::DoNotAddUp)?.to_be_bytes();
    }
    file.write_at(&bytes, to).map_err(RecountError::Io)
}
