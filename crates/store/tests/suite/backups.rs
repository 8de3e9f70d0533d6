//! Backups while the store is written, and restores of them.

use std::fs;

use farshore_store::{
    BackupLabel, Changes, EventQuery, Expect, Force, LearnReason, Loaded, Options, RowId, SCHEMA, Sample,
    Store, StoreError, Version, restore, verify,
};

use crate::{place::Place, trouble::put};

const LABEL: BackupLabel = BackupLabel { term: 4, at_ms: 1_700_000_000_000 };

async fn fill(store: &Store, rows: u64) {
    for n in 0..rows {
        let changes =
            put(&format!("row {n}"), Expect::Absent).event("audit", "s", n, "e").event("b", "", n, "f");
        store.commit(changes).await.unwrap();
        store
            .note(Sample { series: "s".into(), subject: format!("m{}", n % 3), at_ms: n, body: "x".into() })
            .unwrap();
    }
    store.flush().await.unwrap();
}

/// Everything in a store, as text.
async fn content(store: &Store, loaded: &Loaded) -> String {
    let query = EventQuery { limit: 10_000, ..EventQuery::default() };
    let events = store.events(&query).await.unwrap();
    let samples = store.samples("s", None, 0, u64::MAX >> 1, 10_000).await.unwrap();
    format!("{:?}\n{events:?}\n{samples:?}", loaded.rows)
}

async fn restore_into(place: &Place, path: &std::path::Path, force: Force) -> Result<(), StoreError> {
    restore(&place.location(), &Options::default(), path, force).await.map(drop)
}

pub async fn a_backup_moves_between_databases_and_back(place: Place) {
    let (store, _) = place.open().await;
    fill(&store, 150).await;
    let path = place.file("first.backup");
    let info = store.backup(&path, LABEL).await.unwrap();
    assert_eq!((info.schema, info.label, info.version), (SCHEMA, LABEL, Version(150)));
    assert_eq!((info.counts.rows, info.counts.events, info.counts.samples), (150, 300, 150));
    assert_eq!(verify(&path).await.unwrap(), info);
    store.close().await;
    let (store, loaded) = place.open().await;
    let before = content(&store, &loaded).await;
    store.close().await;

    let other = Place::sqlite();
    restore_into(&other, &path, Force::No).await.unwrap();
    let (store, loaded) = other.open().await;
    assert_eq!(content(&store, &loaded).await, before);
    let second = place.file("second.backup");
    store.backup(&second, LABEL).await.unwrap();
    store.close().await;
    restore_into(&place, &second, Force::Overwrite).await.unwrap();
    let (store, loaded) = place.open().await;
    assert_eq!(content(&store, &loaded).await, before);
}

pub async fn a_restored_store_is_marked_until_the_vault_has_learned(place: Place) {
    let (store, _) = place.open().await;
    fill(&store, 5).await;
    let path = place.file("a.backup");
    store.backup(&path, LABEL).await.unwrap();
    fill_more(&store).await;
    store.close().await;
    let error = restore_into(&place, &path, Force::No).await.unwrap_err();
    assert!(matches!(error, StoreError::NotEmpty { rows: 8, .. }), "{error}");
    assert!(error.to_string().contains("--force"), "{error}");
    restore_into(&place, &path, Force::Overwrite).await.unwrap();
    let (store, loaded) = place.open().await;
    assert_eq!(loaded.rows.len(), 5, "what came after the backup is gone");
    let learn = loaded.learn.unwrap();
    assert_eq!((learn.reason, learn.term, learn.as_of_ms), (LearnReason::Restored, 4, LABEL.at_ms));
    assert_eq!(loaded.version, Version(9), "no number is given twice");
    store.close().await;
    let (store, loaded) = place.open().await;
    assert!(loaded.learn.is_some());
    store.commit(Changes::new().learned()).await.unwrap();
    store.close().await;
    assert_eq!(place.open().await.1.learn, None);
}

async fn fill_more(store: &Store) {
    for n in 0..3 {
        store.commit(put(&format!("more {n}"), Expect::Absent)).await.unwrap();
    }
}

/// Every transaction writes the same number to two rows and an event: a backup of one
/// instant never has two different ones.
pub async fn a_backup_of_a_busy_store_is_of_one_instant(place: Place) {
    let (store, _) = place.open().await;
    fill(&store, 100).await;
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for n in 0..3_000u64 {
            let body = n.to_string();
            // Far apart, so that they are read in different pages.
            let [left, right] = ["a", "z"].map(|kind| RowId::new(kind, "pair"));
            let changes = Changes::new()
                .put(left, Expect::Anything, body.clone())
                .put(right, Expect::Anything, body.clone())
                .event("pair", "", n, body);
            writer.commit(changes).await.unwrap();
        }
    });
    let mut numbers = Vec::new();
    for turn in 0..3 {
        let path = place.file(&format!("{turn}.backup"));
        store.backup(&path, LABEL).await.unwrap();
        let other = Place::sqlite();
        restore_into(&other, &path, Force::No).await.unwrap();
        let (copy, loaded) = other.open().await;
        let pair: Vec<_> =
            loaded.rows.iter().filter(|row| row.id.key == "pair").map(|row| row.body.clone()).collect();
        let topic = Some("pair".to_owned());
        let newest = copy.events(&EventQuery { topic, limit: 1, ..EventQuery::default() }).await.unwrap();
        let newest: Vec<_> = newest.into_iter().map(|event| event.body).collect();
        assert!(pair.is_empty() || (pair[0] == pair[1] && pair[1] == newest[0]), "{pair:?} {newest:?}");
        numbers.push(pair);
    }
    writing.await.unwrap();
    assert_ne!(numbers[0], numbers[2], "it was written meanwhile");
}

pub async fn a_damaged_backup_changes_nothing(place: Place) {
    let (store, _) = place.open().await;
    fill(&store, 20).await;
    let path = place.file("a.backup");
    store.backup(&path, LABEL).await.unwrap();
    let error = store.backup(&path, LABEL).await.unwrap_err();
    assert!(matches!(error, StoreError::BackupExists { .. }), "{error}");
    let error = store.backup(&place.file("nowhere/a.backup"), LABEL).await.unwrap_err();
    assert!(error.to_string().contains("its folder must exist"), "{error}");
    store.close().await;
    let whole = fs::read(&path).unwrap();
    for (at, len) in [(whole.len() / 2, whole.len()), (0, whole.len()), (0, whole.len() - 1)] {
        let mut damaged = whole[..len].to_vec();
        if len == whole.len() {
            damaged[at] ^= 1;
        }
        fs::write(&path, &damaged).unwrap();
        let error = restore_into(&place, &path, Force::Overwrite).await.unwrap_err();
        assert!(matches!(error, StoreError::BackupDamaged { .. }), "{error}");
    }
    assert!(verify(&place.file("no.backup")).await.is_err());
    let (_, loaded) = place.open().await;
    assert_eq!((loaded.rows.len(), loaded.fence), (20, 2), "the store was not even opened");
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside_only_by_force() {
    let place = Place::sqlite();
    let (store, _) = place.open().await;
    fill(&store, 3).await;
    let path = place.file("a.backup");
    store.backup(&path, LABEL).await.unwrap();
    store.close().await;
    fs::write(&place.text, "no database at all".repeat(100)).unwrap();
    assert!(restore_into(&place, &path, Force::No).await.is_err());
    assert!(fs::read_to_string(&place.text).unwrap().starts_with("no database"));
    restore_into(&place, &path, Force::Overwrite).await.unwrap();
    let (_, loaded) = place.open().await;
    assert_eq!(loaded.rows.len(), 3);
    let aside = fs::read_dir(place.file("")).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-")).count();
    assert!(aside >= 1, "the damaged file is kept");
}
