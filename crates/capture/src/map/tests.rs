//! The map killed anywhere, and what it then says of the target's last element.

use std::io::ErrorKind;

use farshore_sim::MemoryFiles;
use farshore_types::{CLUSTER_BYTES, PointId, RootDigest};

use super::*;

const CLUSTERS: u64 = 4;
const OLD: Digest = Digest([1; Digest::LEN]);
const NEW: Digest = Digest([2; Digest::LEN]);

fn key() -> DiskKey {
    "vda".parse().unwrap()
}

fn element(number: u64) -> Option<PointRef> {
    Some(PointRef { id: PointId { epoch: 1, number }, root: RootDigest::NONE })
}

fn record(number: u64) -> Record {
    Record { sealed: element(number), disks: vec![(key(), CLUSTERS * CLUSTER_BYTES)], ..Record::default() }
}

fn open(files: &MemoryFiles) -> DigestMap {
    DigestMap::open(Arc::new(files.clone()), Path::new("/state")).unwrap()
}

fn all(digest: Digest) -> Vec<SourceChange> {
    (0..CLUSTERS).map(|cluster| SourceChange { cluster, digest }).collect()
}

/// A map at element 1, with element 2 pending.
fn filled() -> MemoryFiles {
    let files = MemoryFiles::new();
    let mut map = open(&files);
    map.apply(Pending { record: record(1), changes: vec![all(OLD)] }).unwrap();
    map.set_pending(&Pending { record: record(2), changes: vec![all(NEW)[..1].to_vec()] }).unwrap();
    files
}

/// What a map in these files says is at a target whose last element is `last`; none where
/// it says nothing, and asks the target.
fn told(files: &MemoryFiles, last: Option<PointRef>) -> Option<Vec<Digest>> {
    let mut map = open(&files.copy());
    let known = !matches!(map.settle(last).unwrap(), Settled::Unknown);
    known.then(|| map.digests_of(&key()).unwrap().read(0, 4).unwrap())
}

fn check(files: &MemoryFiles, when: &str) {
    let is = |last, want: &[Digest]| {
        let told = told(files, last);
        assert!(told.as_deref().is_none_or(|told| told == want), "{when}, target at {last:?}: {told:?}");
    };
    is(None, &[Digest::ZERO; 4]);
    is(element(1), &[OLD; 4]);
    is(element(2), &[NEW, OLD, OLD, OLD]);
}

#[test]
fn a_map_killed_while_it_is_forgotten_never_says_what_the_target_does_not_hold() {
    for n in 0.. {
        let files = filled();
        let failing = files.failing(n, ErrorKind::Other, true);
        let done = open(&failing).reset().is_ok();
        check(&files, &format!("killed at operation {n} of forgetting"));
        if done {
            return assert!(n > 5, "it was cut in between");
        }
    }
}

#[test]
fn a_map_killed_while_it_is_rebuilt_says_nothing_of_a_target_that_lost_everything() {
    let files = filled();
    let mut map = open(&files);
    map.reset().unwrap();
    map.fill(&key(), CLUSTERS * CLUSTER_BYTES, &[(0, OLD), (1, OLD)]).unwrap();
    drop(map);
    check(&files, "killed while filling");
}

#[test]
fn the_lost_last_slice_of_a_scan_does_not_drop_the_scans_own_checkpoint() {
    let files = MemoryFiles::new();
    let mut map = open(&files);
    let name = Some("farshore-a".to_owned());
    let scan =
        Scan { why: ScanReason::Initial, checkpoint: name.clone(), done: BTreeMap::new(), since: None };
    map.apply(Pending { record: Record { scan: Some(scan), ..record(1) }, changes: vec![all(OLD)] }).unwrap();
    let last = Record { checkpoint: name, ..record(2) };
    map.set_pending(&Pending { record: last, changes: vec![all(NEW)] }).unwrap();
    assert_eq!(map.settle(element(1)).unwrap(), Settled::Same { dropped: vec![] });
    let other = Record { checkpoint: Some("farshore-b".into()), ..record(2) };
    map.set_pending(&Pending { record: other, changes: vec![all(NEW)] }).unwrap();
    assert_eq!(map.settle(element(1)).unwrap(), Settled::Same { dropped: vec!["farshore-b".into()] });
}
