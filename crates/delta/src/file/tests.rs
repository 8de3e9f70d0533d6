//! Delta files against plain sorted maps, and against damage to every byte.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use farshore_env::{File, Files, OpenMode, RealFiles};
use farshore_sim::MemoryFiles;
use farshore_types::{CLUSTER_BYTES, Digest};
use proptest::prelude::*;

use super::*;
use crate::{Entry, Merge, Place};

fn entry(cluster: u64, salt: u64) -> Entry {
    let place = match salt % 4 {
        0 => Place::Zero,
        1 => Place::Backing,
        2 => Place::Raw((salt + 1) * CLUSTER_BYTES),
        _ => Place::Compressed { offset: (salt + 1) * 512, len: 900 },
    };
    Entry { cluster, place, digest: Digest([u8::try_from(salt % 251).unwrap(); 16]) }
}

fn footer(number: u64) -> Footer {
    Footer {
        id: PointId { epoch: 1, number },
        parent: None,
        root: RootDigest([9; 32]),
        kind: ElementKind::Point(Consistency::Crash),
        captured_ms: 5,
        steady_ms: Some(5),
        sealed_ms: 6,
        received: 7,
        disks: vec![],
        definition: (0, 0),
        definition_crc: 0,
    }
}

fn key(name: &str) -> DiskKey {
    name.parse().unwrap()
}

fn write(path: &Path, disks: &[(&str, &BTreeMap<u64, u64>)]) -> Arc<dyn File> {
    let file = RealFiles.open(path, OpenMode::Truncate).unwrap();
    let mut writer = DeltaWriter::new(file.clone());
    for (name, entries) in disks {
        writer.begin_disk(key(name), 1 << 40, 1 << 40).unwrap();
        entries.iter().for_each(|(c, s)| writer.push(&entry(*c, *s)).unwrap());
    }
    writer.finish(footer(1), b"<domain/>").unwrap();
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read_back_and_looked_up(
        a in prop::collection::btree_map(0u64..5000, 0u64..9999, 0..600),
        b in prop::collection::btree_map(0u64..5000, 0u64..9999, 0..5),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let delta = DeltaFile::open(write(&dir.path().join("d"), &[("vda", &a), ("vdb", &b)])).unwrap();
        delta.check().unwrap();
        for (name, model) in [("vda", &a), ("vdb", &b)] {
            let got: Vec<Entry> = delta.cursor(&key(name)).map(Result::unwrap).collect();
            let want: Vec<Entry> = model.iter().map(|(c, s)| entry(*c, *s)).collect();
            prop_assert_eq!(got, want);
            for cluster in (0..5000).step_by(37) {
                let want = model.get(&cluster).map(|s| entry(cluster, *s));
                prop_assert_eq!(delta.lookup(&key(name), cluster).unwrap(), want);
            }
        }
        prop_assert_eq!(delta.definition().unwrap(), b"<domain/>");
    }

    #[test]
    fn a_merge_keeps_the_newest_and_hands_back_the_rest(
        maps in prop::collection::vec(prop::collection::btree_map(0u64..300, 0u64..9999, 0..200), 1..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let deltas: Vec<DeltaFile> = maps.iter().enumerate().map(|(i, m)| {
            DeltaFile::open(write(&dir.path().join(i.to_string()), &[("vda", m)])).unwrap()
        }).collect();
        let mut lost = 0;
        let mut note = |_: &Entry| lost += 1;
        let parts: Vec<&DeltaFile> = deltas.iter().collect();
        let merge = Merge::telling_losers(&parts, &key("vda"), &mut note).unwrap();
        let mut model = BTreeMap::new();
        let mut all = 0;
        for (i, m) in maps.iter().enumerate() {
            all += m.len();
            m.iter().for_each(|(c, s)| { model.insert(*c, (i, *s)); });
        }
        let got: Vec<_> = merge.map(|m| m.unwrap()).map(|m| (m.entry, m.from)).collect();
        let want: Vec<_> = model.iter().map(|(c, (i, s))| (entry(*c, *s), *i)).collect();
        prop_assert_eq!(lost, all - want.len());
        prop_assert_eq!(got, want);
    }
}

#[test]
fn clusters_must_ascend() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DeltaWriter::new(RealFiles.open(&dir.path().join("d"), OpenMode::Truncate).unwrap());
    writer.begin_disk(key("vda"), 0, 0).unwrap();
    writer.push(&entry(5, 0)).unwrap();
    assert!(matches!(writer.push(&entry(5, 0)), Err(DeltaError::Order { last: 5, next: 5 })));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    let model = (0..130).map(|c| (c * 3, c)).collect();
    write(&path, &[("vda", &model)]);
    let good = std::fs::read(&path).unwrap();
    let opens_whole = |bytes: &[u8]| {
        let file = MemoryFiles::new().open(&path, OpenMode::Create).unwrap();
        file.write_at(bytes, 0).unwrap();
        DeltaFile::open(file).and_then(|d| d.check()).is_ok()
    };
    assert!(opens_whole(&good));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(!opens_whole(&bad), "bit of byte {at}");
    }
    for len in (0..good.len()).step_by(61) {
        assert!(!opens_whole(&good[..len]), "cut to {len}");
    }
}
