//! Patches: single clusters are found as the map has them, and what a patch makes is what
//! its digest says, or nothing.

use std::time::Instant;

use farshore_delta::{ElementKind, Entry, Place};
use farshore_replica::{
    BaseReader, CycleStart, Incoming, Patch, Patched, ReplicaError, SealRequest,
    bug::{self, Bug},
};
use farshore_sim::driver::content;
use farshore_types::{BLOCK_SIZE, CLUSTER_SIZE, Consistency, Digest, DiskKey, PointRef, clusters_in};

use crate::history::{CLUSTER, Noise, Run};

fn key(name: &str) -> DiskKey {
    name.parse().unwrap()
}

fn base(run: &Run, disk: &str) -> BaseReader {
    BaseReader::new(run.driver.replica.last_reader().unwrap(), &key(disk))
}

/// Every cluster of every disk, found one by one, is what the merged map says.
fn check_lookups(run: &Run) {
    let reader = run.driver.replica.last_reader().unwrap();
    for (disk, size) in run.driver.replica.disks() {
        let map: Vec<Entry> = reader.map(&disk).unwrap().map(Result::unwrap).collect();
        let base = base(run, &disk.to_string());
        for cluster in 0..clusters_in(size) + 40 {
            let want = map.iter().find(|e| e.cluster == cluster).copied();
            assert_eq!(base.entry(cluster).unwrap(), want, "disk {disk}, cluster {cluster}");
        }
    }
}

#[test]
fn single_clusters_are_found_as_the_map_has_them() {
    for seed in 0..12 {
        let mut noise = Noise(seed);
        let mut run = Run::start(&[40 * CLUSTER, 7 * CLUSTER + 512]);
        for _ in 0..60 {
            let disk = usize::try_from(noise.next(2)).unwrap();
            match noise.next(12) {
                0 => run.resize(0, 1 + noise.next(40)),
                1 => run.prune(1 + usize::try_from(noise.next(5)).unwrap()).unwrap(),
                2 => run.stage().unwrap(),
                3 => run.restart().unwrap(),
                _ => {
                    let at = noise.next(40) * CLUSTER;
                    let len = usize::try_from(1 + noise.next(150_000)).unwrap();
                    run.driver.write(&[(disk, at, len, noise.next(6))]);
                    run.point().unwrap();
                }
            }
            if run.driver.replica.last().is_some() {
                check_lookups(&run);
            }
        }
    }
}

/// One block of new content for a cluster, and the whole that it makes.
fn change(run: &Run, cluster: u64, block: usize, salt: u64) -> (Vec<u8>, Vec<u8>) {
    let new = content(salt, BLOCK_SIZE);
    let mut whole = run.driver.now[0].cluster(cluster);
    whole[block * BLOCK_SIZE..][..BLOCK_SIZE].copy_from_slice(&new);
    (new, whole)
}

#[test]
fn a_patch_makes_the_whole_cluster_and_keeps_its_kind() {
    let mut run = Run::start(&[4 * CLUSTER]);
    // Text, noise, and two that hold nothing.
    run.driver.write(&[(0, 0, CLUSTER_SIZE, 3), (0, CLUSTER, CLUSTER_SIZE, 2)]);
    run.point().unwrap();
    let base = base(&run, "vda");
    for (cluster, packed, compressed) in
        [(0, true, true), (1, true, false), (2, true, true), (3, false, false)]
    {
        let (new, whole) = change(&run, cluster, 5, 7);
        let bytes = if packed { zstd::bulk::compress(&new, 1).unwrap() } else { new };
        let patch = Patch { cluster, digest: Digest::of(&whole), blocks: 1 << 5, packed, bytes: &bytes };
        let made = base.apply(&patch).unwrap();
        assert_eq!(matches!(made, Patched::Compressed(_)), compressed, "cluster {cluster}");
        assert!(made.stored().holds(&Digest::of(&whole)), "cluster {cluster}");
    }
}

#[test]
fn a_patch_that_does_not_fit_is_refused() {
    let mut run = Run::start(&[4 * CLUSTER]);
    run.driver.write(&[(0, 0, CLUSTER_SIZE, 3)]);
    run.point().unwrap();
    let base = base(&run, "vda");
    let (new, whole) = change(&run, 0, 5, 7);
    let good = Patch { cluster: 0, digest: Digest::of(&whole), blocks: 1 << 5, packed: false, bytes: &new };
    base.apply(&good).unwrap();
    for wrong in [
        Patch { blocks: 1 << 6, ..good },
        Patch { cluster: 1, ..good },
        Patch { blocks: 3, ..good },
        Patch { packed: true, ..good },
        Patch { bytes: &new[1..], ..good },
        Patch { digest: Digest([1; 16]), ..good },
    ] {
        let refused = base.apply(&wrong);
        assert!(matches!(refused, Err(ReplicaError::Patch { .. })), "{wrong:?}: {refused:?}");
    }
}

/// What a source with outdated knowledge sends: a block for a cluster that is another here.
fn stale_patch() -> Result<(), ReplicaError> {
    let mut run = Run::start(&[4 * CLUSTER]);
    run.driver.write(&[(0, 0, CLUSTER_SIZE, 3)]);
    run.point()?;
    let (new, whole) = change(&run, 0, 5, 7);
    run.driver.write(&[(0, 9 * 4096, 10, 9)]);
    let before = run.driver.replica.last();
    run.point()?;
    assert_ne!(run.driver.replica.last(), before);
    let digest = Digest::of(&whole);
    let patch = Patch { cluster: 0, digest, blocks: 1 << 5, packed: false, bytes: &new };
    let made = base(&run, "vda").apply(&patch)?;
    let replica = &mut run.driver.replica;
    let (base, disks) = (replica.last(), replica.disks());
    let number = base.map_or(1, |b| b.id.number + 1);
    replica.begin_cycle(CycleStart { number, base, disks: disks.clone() })?;
    replica.append(0, &[Incoming { cluster: 0, digest, stored: made.stored() }])?;
    let id = farshore_types::PointId { epoch: 1, number };
    let mut root = farshore_delta::RootBuilder::new(base.unwrap().root, id);
    root.disk(&disks[0].0, disks[0].1, [farshore_delta::SourceChange { cluster: 0, digest }].into_iter());
    let kind = ElementKind::Point(Consistency::Crash);
    let request = SealRequest { kind, age_ms: 0, root: root.finish(), definition: Vec::new() };
    let PointRef { id, .. } = replica.seal(&request)?;
    replica.reader(id)?.verify(&mut |_, _| {}).map(drop)
}

#[test]
fn a_stale_patch_never_becomes_a_point_and_one_that_does_is_caught() {
    assert!(matches!(stale_patch(), Err(ReplicaError::Patch { .. })));
    let _planted = bug::plant(Bug::SkipPatchCheck);
    let caught = stale_patch();
    assert!(matches!(caught, Err(ReplicaError::Corrupt { .. })), "{caught:?}");
}

/// Says what a lookup costs; judges only that it is right.
#[test]
fn a_thousand_deltas_are_searched() {
    let mut run = Run::start(&[4096 * CLUSTER]);
    run.driver.write(&[(0, 0, 4096, 3)]);
    let mut noise = Noise(7);
    for _ in 0..1000 {
        let writes: Vec<_> =
            (0..20).map(|_| (0, noise.next(4096) * CLUSTER, 64, 1 + 2 * noise.next(9))).collect();
        run.driver.write(&writes);
        run.driver.point().unwrap();
    }
    let begun = Instant::now();
    let first = base(&run, "vda");
    let made = begun.elapsed();
    let begun = Instant::now();
    let base = base(&run, "vda");
    let made_again = begun.elapsed();
    let begun = Instant::now();
    let found: Vec<Option<Entry>> = (0..4096).map(|c| base.entry(c).unwrap()).collect();
    let took = begun.elapsed() / 4096;
    println!(
        "1,000 deltas: opened in {made:?} the first time, then in {made_again:?}; a lookup takes {took:?}"
    );
    let reader = run.driver.replica.last_reader().unwrap();
    let map: Vec<Entry> = reader.map(&key("vda")).unwrap().map(Result::unwrap).collect();
    assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), map);
    assert!(map.iter().any(|e| e.place != Place::Zero) && first.entry(0).unwrap().is_some());
}
