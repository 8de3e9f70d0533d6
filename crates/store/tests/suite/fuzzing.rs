//! A bounded, seeded run of the fuzz targets over damaged backups and over nonsense.

use farshore_sim::mutate;
use farshore_store::{BackupLabel, Changes, Expect, RowId, Sample, fuzz};

use crate::place::Place;

/// A real backup with a few pieces of every kind.
async fn sample(pieces: u64) -> Vec<u8> {
    let place = Place::sqlite();
    let (store, _) = place.open().await;
    for n in 0..pieces {
        let changes = Changes::new().put(RowId::new("k", n.to_string()), Expect::Absent, "body");
        store.commit(changes.event("t", "s", n, "e")).await.unwrap();
        store.note(Sample { series: "s".into(), subject: "m".into(), at_ms: n, body: "x".into() }).unwrap();
    }
    let path = place.file("a.backup");
    store.backup(&path, BackupLabel { term: 1, at_ms: 2 }).await.unwrap();
    std::fs::read(path).unwrap()
}

/// The same as its counts and pieces, as the target of these takes them.
fn parts(backup: &[u8], pieces: u8) -> Vec<u8> {
    let end = backup.len() - (1 + 4 + 3 * 8 + 32);
    [&[pieces; 3][..], &backup[12..end]].concat()
}

#[tokio::test]
async fn no_backup_harms_its_reader() {
    let samples = [sample(0).await, sample(3).await];
    assert!(samples.iter().all(|backup| fuzz::backup(backup)), "the samples are whole");
    mutate::fuzz(&samples, 10_000, fuzz::backup);
    let samples = [parts(&samples[0], 0), parts(&samples[1], 3)];
    assert!(samples.iter().all(|backup| fuzz::backup_parts(backup)), "the samples are whole");
    assert!(mutate::fuzz(&samples, 20_000, fuzz::backup_parts) > 500);
}
