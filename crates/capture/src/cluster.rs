//! Bytes of a disk become records: digest, comparison, compression, and of clusters that
//! changed in a few blocks only those. Pure but for looking blocks' digests up; runs on the
//! blocking pool.

mod blocks;

use bytes::Bytes;
use farshore_delta::SourceChange;
use farshore_types::{BLOCK_SIZE, BLOCKS, CLUSTER_SIZE, Digest};
use farshore_wire::{Body, Patch, Record};

pub(crate) use blocks::{BlockDigests, BlockFile, ENTRY_LEN, Known};

/// zstd level: the fastest that still finds what disks of files have to give.
const LEVEL: i32 = 1;

/// A cluster travels compressed only if that saves at least one part in this many.
const WORTH: usize = 16;

/// Most blocks of a patch: what is about as large as a cluster is better sent as one.
const PATCH_BLOCKS_MAX: usize = BLOCKS / 2;

/// Clusters that turned out to have changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) records: Vec<Record>,
    pub(crate) changes: Vec<SourceChange>,
    /// What the blocks of those clusters digest to, where that is kept.
    pub(crate) blocks: Vec<Known>,
}

/// How changed clusters are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How<'a> {
    /// Compressed, where that pays.
    pub(crate) compress: bool,
    /// What is known of blocks; where given, what is learned of them is told, too.
    pub(crate) blocks: Option<&'a BlockFile>,
    /// Whether a few blocks may be sent alone.
    pub(crate) patch: bool,
}

impl Changes {
    fn push(&mut self, cluster: u64, digest: Digest, body: Body) {
        self.changes.push(SourceChange { cluster, digest });
        self.records.push(Record { cluster, digest, body });
    }
}

/// Compares clusters read from a disk with what the target has. `first` is the index of
/// the first cluster in `bytes`; a last partial cluster is padded with zeros; `known` has
/// one digest per cluster.
pub(crate) fn compare(first: u64, bytes: &Bytes, known: &[Digest], how: How<'_>) -> Changes {
    let mut out = Changes::default();
    let mut packer = how.compress.then(Packer::new).flatten();
    for (index, known) in known.iter().enumerate() {
        let plain = cluster_of(bytes, index);
        let digest = Digest::of(&plain);
        if digest == *known {
            continue;
        }
        let cluster = first + index as u64;
        if digest.is_zero() {
            out.push(cluster, digest, Body::Zero);
            continue;
        }
        if let Some(file) = how.blocks {
            let blocks = BlockDigests::of(&plain);
            let before = if how.patch { file.read(cluster, known) } else { None };
            out.blocks.push(Known { cluster, digest, blocks });
            let differing = before.map_or(0, |before| before.differing(&blocks));
            if (1..=PATCH_BLOCKS_MAX).contains(&(differing.count_ones() as usize)) {
                out.push(cluster, digest, Body::Patch(patch(&plain, differing, packer.as_mut())));
                continue;
            }
        }
        let packed = packer.as_mut().and_then(|p| p.pack(&plain));
        out.push(cluster, digest, packed.map_or_else(|| Body::Raw(plain), Body::Zstd));
    }
    out
}

fn patch(plain: &[u8], blocks: u16, packer: Option<&mut Packer>) -> Patch {
    let chosen = plain.chunks_exact(BLOCK_SIZE).enumerate().filter(|(at, _)| blocks & (1 << at) != 0);
    let bytes: Bytes = chosen.flat_map(|(_, block)| block.iter().copied()).collect::<Vec<u8>>().into();
    match packer.and_then(|p| p.pack(&bytes)) {
        Some(packed) => Patch { blocks, packed: true, bytes: packed },
        None => Patch { blocks, packed: false, bytes },
    }
}

/// Clusters that the disk does not hold at all: they read as zeros without being read.
pub(crate) fn vanished(first: u64, known: &[Digest]) -> Changes {
    let mut out = Changes::default();
    for (index, _) in known.iter().enumerate().filter(|(_, d)| !d.is_zero()) {
        out.push(first + index as u64, Digest::ZERO, Body::Discard);
    }
    out
}

fn cluster_of(bytes: &Bytes, index: usize) -> Bytes {
    let start = index * CLUSTER_SIZE;
    let end = (start + CLUSTER_SIZE).min(bytes.len());
    if end - start == CLUSTER_SIZE {
        return bytes.slice(start..end);
    }
    let mut padded = vec![0; CLUSTER_SIZE];
    padded[..end - start].copy_from_slice(&bytes[start..end]);
    padded.into()
}

/// Compresses cluster after cluster in the same memory.
struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Packer {
    fn new() -> Option<Packer> {
        let zstd = zstd::bulk::Compressor::new(LEVEL).ok()?;
        Some(Packer { zstd, out: vec![0; CLUSTER_SIZE - CLUSTER_SIZE / WORTH] })
    }

    /// `None` where it is not worth it.
    fn pack(&mut self, plain: &[u8]) -> Option<Bytes> {
        let room = self.out.len().min(plain.len() - plain.len() / WORTH);
        // No room for the result means that it is not worth it.
        let len = self.zstd.compress_to_buffer(plain, &mut self.out[..room]).ok()?;
        Some(Bytes::copy_from_slice(&self.out[..len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKED: How<'static> = How { compress: true, blocks: None, patch: false };

    fn disk() -> Bytes {
        let mut bytes = vec![0; 3 * CLUSTER_SIZE + 512];
        bytes[CLUSTER_SIZE..2 * CLUSTER_SIZE].fill(7);
        let mut x = 1u64;
        for b in &mut bytes[2 * CLUSTER_SIZE..] {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *b = x.to_le_bytes()[6];
        }
        bytes.into()
    }

    #[test]
    fn only_what_differs_becomes_a_record() {
        let bytes = disk();
        let all = compare(10, &bytes, &[Digest::ZERO; 4], PACKED);
        let indexes: Vec<u64> = all.changes.iter().map(|c| c.cluster).collect();
        assert_eq!(indexes, [11, 12, 13], "the first is zeros and known as such");
        let known: Vec<Digest> =
            [Digest::ZERO].into_iter().chain(all.changes.iter().map(|c| c.digest)).collect();
        assert!(compare(10, &bytes, &known, PACKED).records.is_empty());
    }

    #[test]
    fn text_shrinks_noise_travels_raw_and_zeros_as_zeros() {
        let known = [Digest([1; 16]); 4];
        let out = compare(0, &disk(), &known, PACKED);
        assert!(matches!(out.records[0].body, Body::Zero));
        assert!(matches!(&out.records[1].body, Body::Zstd(b) if b.len() < 100));
        assert!(matches!(&out.records[2].body, Body::Raw(b) if b.len() == CLUSTER_SIZE));
        assert!(out.records.iter().all(|r| r.verify().is_ok()));
        assert!(
            compare(0, &disk(), &known, How::default())
                .records
                .iter()
                .all(|r| !matches!(r.body, Body::Zstd(_)))
        );
    }

    #[test]
    fn a_last_partial_cluster_is_padded() {
        let out = compare(0, &disk(), &[Digest([1; 16]); 4], PACKED);
        let tail = &out.records[3];
        assert!(tail.verify().is_ok());
        let bytes = disk();
        let mut padded = bytes[3 * CLUSTER_SIZE..].to_vec();
        padded.resize(CLUSTER_SIZE, 0);
        assert_eq!(tail.digest, Digest::of(&padded));
    }

    #[test]
    fn what_vanished_is_discarded_once() {
        let out = vanished(5, &[Digest::ZERO, Digest([1; 16])]);
        assert_eq!(out.changes, [SourceChange { cluster: 6, digest: Digest::ZERO }]);
        assert!(matches!(out.records[0].body, Body::Discard));
    }
}
