//! Small writes against a target that holds plain bytes: whatever becomes of the file of
//! blocks' digests, of cycles and of acknowledgements, the target has what the guest has.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use farshore_env::{Files, OpenMode};
use farshore_sim::{MemoryFiles, driver::content};
use farshore_types::CLUSTER_SIZE;
use farshore_wire::Body;

use super::*;
use crate::{
    bug::plant,
    cluster::{Changes, How, compare},
};

const CLUSTERS: usize = 12;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

#[derive(Debug, Default)]
struct Seen {
    patches: usize,
    whole: usize,
    refused: usize,
}

/// A source and its target, in memory.
struct Story {
    dice: Dice,
    /// The guest's disk, what the target holds, and the digests of that.
    disk: Vec<u8>,
    held: Vec<u8>,
    map: Vec<Digest>,
    file: Arc<dyn File>,
    blocks: BlockFile,
    /// The file as it once was.
    old: Vec<u8>,
    /// A patch was refused: clusters are sent whole until a cycle is sealed.
    whole: bool,
    seen: Seen,
}

impl Story {
    fn new(seed: u64) -> Story {
        let files = MemoryFiles::new();
        files.create_dir_all(Path::new("/state")).unwrap();
        let file = files.open(Path::new("/state/vda.blocks"), OpenMode::Create).unwrap();
        let disk = vec![0; CLUSTERS * CLUSTER_SIZE - 512];
        Story {
            dice: Dice(seed),
            held: vec![0; CLUSTERS * CLUSTER_SIZE],
            disk,
            map: vec![Digest::ZERO; CLUSTERS],
            blocks: BlockFile::new(file.clone()),
            file,
            old: Vec::new(),
            whole: false,
            seen: Seen::default(),
        }
    }

    fn guest_writes(&mut self) {
        for _ in 0..=self.dice.roll(5) {
            let len = match self.dice.roll(6) {
                0 => self.dice.roll(200_000),
                1 => self.dice.roll(30_000),
                _ => self.dice.roll(5_000),
            };
            let at = self.dice.roll(self.disk.len());
            let len = len.min(self.disk.len() - at);
            let salt = self.dice.roll(9) as u64;
            self.disk[at..at + len].copy_from_slice(&content(salt, len));
        }
    }

    /// What may become of a file that nobody takes care of.
    fn harm(&mut self) {
        let len = usize::try_from(self.file.size().unwrap()).unwrap();
        match self.dice.roll(12) {
            0 => self.file.set_size(0).unwrap(),
            1 if len > 0 => {
                let at = self.dice.roll(len);
                let noise = content(4 * self.dice.roll(99) as u64 + 2, self.dice.roll(300));
                self.file.write_at(&noise, at as u64).unwrap();
            }
            2 => self.file.write_at(&self.old.clone(), 0).unwrap(),
            3 => {
                self.old = vec![0; len];
                read_exact_at(&*self.file, &mut self.old, 0).unwrap();
            }
            _ => {}
        }
    }

    /// The target's part: what it would hold, or none where a patch does not fit.
    fn taken(&self, changes: &Changes) -> Option<Vec<u8>> {
        let mut held = self.held.clone();
        for record in &changes.records {
            record.verify().unwrap();
            let at = usize::try_from(record.cluster).unwrap() * CLUSTER_SIZE;
            let cluster = &mut held[at..at + CLUSTER_SIZE];
            match &record.body {
                Body::Raw(bytes) => cluster.copy_from_slice(bytes),
                Body::Zstd(bytes) => {
                    cluster.copy_from_slice(&zstd::bulk::decompress(bytes, CLUSTER_SIZE).unwrap());
                }
                Body::Zero | Body::Discard => cluster.fill(0),
                Body::Patch(patch) => {
                    let plain = match patch.packed {
                        true => zstd::bulk::decompress(&patch.bytes, CLUSTER_SIZE).unwrap(),
                        false => patch.bytes.to_vec(),
                    };
                    let mut new = plain.chunks_exact(BLOCK_SIZE);
                    for (n, block) in cluster.chunks_exact_mut(BLOCK_SIZE).enumerate() {
                        if patch.blocks & (1 << n) != 0 {
                            block.copy_from_slice(new.next().unwrap());
                        }
                    }
                    assert!(new.next().is_none());
                }
            }
            if Digest::of(cluster) != record.digest {
                return None;
            }
        }
        Some(held)
    }

    fn cycle(&mut self) {
        let how = How {
            compress: self.dice.roll(3) > 0,
            blocks: Some(&self.blocks).filter(|_| self.dice.roll(9) > 0),
            patch: !self.whole,
        };
        let changes = compare(0, &Bytes::from(self.disk.clone()), &self.map, how);
        let patches = changes.records.iter().filter(|r| r.is_patch()).count();
        let Some(held) = self.taken(&changes) else {
            self.seen.refused += 1;
            self.whole = true;
            return;
        };
        let fate = self.dice.roll(8);
        if fate == 0 {
            // The cycle fails: nothing has become of it on either side.
            return;
        }
        self.held = held;
        for change in &changes.changes {
            self.map[usize::try_from(change.cluster).unwrap()] = change.digest;
        }
        if fate > 1 {
            // Where the acknowledgement was lost, what was learned of blocks is, too.
            changes.blocks.iter().for_each(|known| self.blocks.note(known));
        }
        self.whole = false;
        self.seen.patches += patches;
        self.seen.whole += changes.records.len() - patches;
        assert!(self.held[..self.disk.len()] == self.disk[..], "the target has something else");
    }

    fn play(seed: u64) -> Seen {
        let mut story = Story::new(seed);
        for _ in 0..60 {
            story.guest_writes();
            story.harm();
            story.cycle();
        }
        story.seen
    }
}

/// One test, because the bug is the whole process's.
#[test]
fn a_file_of_blocks_that_is_lost_torn_or_old_costs_nothing_but_bytes() {
    let (mut patches, mut whole) = (0, 0);
    for seed in 0..8 {
        let seen = Story::play(seed);
        assert_eq!(seen.refused, 0, "seed {seed}: a patch was made of what was not known");
        (patches, whole) = (patches + seen.patches, whole + seen.whole);
    }
    println!("{patches} patches, {whole} whole clusters");
    assert!(patches > 300 && whole > 300);
    // Believing old entries makes patches that do not fit; the target's check finds them, and
    // whole clusters go on from there.
    let _planted = plant(crate::bug::Bug::BelieveBlocks);
    let refused: usize = (0..8).map(|seed| Story::play(seed).refused).sum();
    println!("believing old entries: {refused} patches did not fit");
    assert!(refused > 5);
}

#[test]
fn a_patch_is_used_up_to_half_of_the_blocks() {
    let mut story = Story::new(1);
    let len = story.disk.len();
    story.disk.copy_from_slice(&content(2, len));
    let how = How { compress: true, blocks: Some(&story.blocks), patch: true };
    let first = compare(0, &Bytes::from(story.disk.clone()), &story.map, how);
    assert!(first.records.iter().all(|r| !r.is_patch()) && first.blocks.len() == CLUSTERS);
    first.blocks.iter().for_each(|known| story.blocks.note(known));
    let known: Vec<Digest> = first.changes.iter().map(|c| c.digest).collect();
    for (cluster, blocks) in [(0, 1), (1, 8), (2, 9), (3, 16)] {
        for block in 0..blocks {
            story.disk[cluster * CLUSTER_SIZE + block * BLOCK_SIZE] ^= 1;
        }
    }
    let disk = Bytes::from(story.disk.clone());
    let second = compare(0, &disk, &known, How { blocks: Some(&story.blocks), ..how });
    let stored: Vec<(bool, usize)> =
        second.records.iter().map(|r| (r.is_patch(), r.stored().len())).collect();
    assert_eq!(stored, [(true, 4096), (true, 32768), (false, 65536), (false, 65536)]);
    let whole = compare(0, &disk, &known, How { patch: false, blocks: Some(&story.blocks), ..how });
    assert!(whole.records.iter().all(|r| !r.is_patch()) && whole.blocks == second.blocks);
}
