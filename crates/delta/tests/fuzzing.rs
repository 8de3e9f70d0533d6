//! A bounded, seeded run of the fuzz targets over damaged delta files and over nonsense.

#![allow(clippy::unwrap_used, reason = "a sample that cannot be made fails its test")]

use std::path::Path;

use farshore_delta::{DeltaWriter, ElementKind, Entry, Footer, Place, fuzz};
use farshore_env::{Files, OpenMode};
use farshore_sim::{MemoryFiles, mutate};
use farshore_types::{Consistency, Digest, PointId, RootDigest};

/// A file of two disks, one of several pages.
fn sample(clusters: u64) -> Vec<u8> {
    let (files, path) = (MemoryFiles::new(), Path::new("/d"));
    let mut writer = DeltaWriter::new(files.open(path, OpenMode::Create).unwrap());
    for (disk, count) in [("vda", clusters), ("vdb", 3)] {
        writer.begin_disk(disk.parse().unwrap(), 1 << 40, 1 << 40).unwrap();
        for cluster in 0..count {
            let place = match cluster % 4 {
                0 => Place::Zero,
                1 => Place::Backing,
                2 => Place::Raw(cluster << 16),
                _ => Place::Compressed { offset: cluster << 9, len: 900 },
            };
            writer.push(&Entry { cluster: 2 * cluster, place, digest: Digest([5; 16]) }).unwrap();
        }
    }
    let footer = Footer {
        id: PointId { epoch: 1, number: 2 },
        parent: Some(PointId { epoch: 1, number: 1 }),
        root: RootDigest([9; 32]),
        kind: ElementKind::Point(Consistency::Crash),
        captured_ms: 5,
        steady_ms: Some(5),
        sealed_ms: 6,
        received: 7,
        disks: vec![],
        definition: (0, 0),
        definition_crc: 0,
    };
    writer.finish(footer, b"<domain/>").unwrap();
    files.content(path).unwrap()
}

/// The same as footer and pages, as the target of these takes them.
fn parts(file: &[u8]) -> Vec<u8> {
    let trailer = file.len() - 32;
    let footer =
        usize::try_from(u64::from_le_bytes(file[trailer + 8..trailer + 16].try_into().unwrap())).unwrap();
    let len = u16::try_from(trailer - footer).unwrap();
    [&len.to_le_bytes()[..], &file[footer..trailer], &file[..footer]].concat()
}

#[test]
fn no_delta_file_harms_its_reader() {
    let files = [sample(3), sample(300), sample(0)];
    assert!(files.iter().all(|file| fuzz::file(file)), "the samples are whole");
    assert!(mutate::fuzz(&files, 10_000, fuzz::file) > 500);
}

#[test]
fn no_delta_file_with_right_checksums_harms_its_reader() {
    let files = [sample(3), sample(300), sample(0)].map(|file| parts(&file));
    assert!(files.iter().all(|file| fuzz::parts(file)), "the samples are whole");
    assert!(mutate::fuzz(&files, 20_000, fuzz::parts) > 500);
}
