//! A bounded, seeded run of every fuzz target over damaged valid structures and nonsense.

#![allow(clippy::unwrap_used, reason = "a sample that cannot be made fails its test")]

use farshore_qcow2::{Extension, Geometry, Header, L2Entry, Overlay, Snapshot, encode_table, fuzz};

const ROUNDS: u64 = 20_000;

fn header() -> Header {
    Header {
        geometry: Geometry::DEFAULT,
        size: 10 << 30,
        l1_offset: 0x30000,
        l1_entries: 20,
        refcount_table_offset: 0x10000,
        refcount_table_clusters: 1,
        snapshots_offset: 0x50000,
        snapshots: 3,
        backing: Some(("/srv/old disk.raw".into(), "raw".into())),
        extensions: vec![Extension { kind: 0x4641_5253, data: b"hello".to_vec() }],
    }
}

fn snapshot(number: u32) -> Snapshot {
    Snapshot {
        id: number.to_string(),
        name: format!("1-{number}"),
        l1_offset: u64::from(number) << 16,
        l1_entries: number,
        size: 1 << 30,
        date_seconds: 1_700_000_000,
        date_nanos: 5,
    }
}

#[test]
fn no_header_harms_its_decoder() {
    let plain = Header { backing: None, extensions: Vec::new(), ..header() };
    let samples = [header().encode().unwrap(), plain.encode().unwrap()];
    assert!(farshore_sim::mutate::fuzz(&samples, ROUNDS, fuzz::header) > 500);
}

#[test]
fn no_l2_table_harms_its_decoder() {
    let g = Geometry::DEFAULT;
    let entries = [
        L2Entry::Unallocated,
        L2Entry::Zero,
        L2Entry::Raw { offset: g.cluster() * 7 },
        L2Entry::Compressed { offset: 1000, len: 600 },
    ];
    let table: Vec<u8> = entries.iter().flat_map(|entry| entry.encode(g).to_be_bytes()).collect();
    let samples: Vec<Vec<u8>> = (0..13).map(|bits| [&[bits][..], &table].concat()).collect();
    assert!(farshore_sim::mutate::fuzz(&samples, ROUNDS, fuzz::entries) > 500);
}

#[test]
fn no_snapshot_table_harms_its_decoder() {
    let table = |count: u32| {
        let snapshots: Vec<Snapshot> = (0..count).map(snapshot).collect();
        [&count.to_be_bytes()[..], &encode_table(&snapshots)].concat()
    };
    assert!(farshore_sim::mutate::fuzz(&[table(1), table(4), table(0)], ROUNDS, fuzz::snapshots) > 500);
}

#[test]
fn an_overlays_header_is_readable_whatever_its_size_and_its_backing_files_name() {
    let named = |size: u64, name: &str| [&size.to_be_bytes()[..], name.as_bytes()].concat();
    let samples = [named(1 << 40, "/a/b.qcow2"), named(512, "x"), named(1 << 30, &"é".repeat(600))];
    assert!(farshore_sim::mutate::fuzz(&samples, ROUNDS, fuzz::overlay) > 500);
    let overlay =
        Overlay { size: 512, backing: "x".into(), backing_format: "raw".into(), extensions: Vec::new() };
    assert!(overlay.image().is_ok());
}
