//! What can go wrong with a file, and only with a file.

use std::{fs, os::unix::fs::PermissionsExt};

use farshore_store::{Bug, Expect, Location, Options, Store, StoreError};

use crate::{place::Place, trouble::put};

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_acknowledged_is_lost() {
    let place = Place::sqlite();
    let options = Options { bug: Some(Bug::SmallDisk), ..Options::default() };
    let (store, _) = place.open_with(options).await.unwrap();
    let mut written = 0;
    let error = loop {
        let changes = put(&format!("{written}"), Expect::Absent).event("e", "", 0, vec![7; 20_000]);
        match store.commit(changes).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000, "the disk never gets full");
    };
    assert!(matches!(error, StoreError::DiskFull { .. }) && error.is_temporary(), "{error}");
    assert!(error.to_string().contains("free some"), "{error}");
    // It goes on: what fits is written.
    store.commit(put("small", Expect::Absent)).await.unwrap();
    store.close().await;
    let (store, loaded) = place.open().await;
    assert!(written > 5 && loaded.rows.len() == written + 1, "{written}");
    store.commit(put("more", Expect::Absent).event("e", "", 0, vec![7; 200_000])).await.unwrap();
}

#[tokio::test]
async fn one_file_by_two_names_is_one_store() {
    let place = Place::sqlite();
    let (store, _) = place.open().await;
    let link = place.file("other.db");
    std::os::unix::fs::symlink(&place.text, &link).unwrap();
    let error = Store::open(Location::Sqlite(link), Options::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Held { .. }), "{error}");
    store.close().await;
}

#[tokio::test]
async fn nobody_else_may_read_the_file() {
    let place = Place::sqlite();
    let (store, _) = place.open().await;
    store.commit(put("a", Expect::Absent)).await.unwrap();
    for name in ["", "-wal", "-shm", ".lock"] {
        let mode = fs::metadata(format!("{}{name}", place.text)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "vault.db{name} has mode {mode:o}");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let place = Place::sqlite();
    let path = place.file("nowhere/vault.db");
    let error = Store::open(Location::Sqlite(path), Options::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    assert!(error.to_string().contains("nowhere/vault.db: its folder must exist"), "{error}");
}

#[tokio::test]
async fn what_is_no_database_is_left_alone() {
    let place = Place::sqlite();
    let text = "my notes, and more than the hundred bytes that a database's header has".repeat(50);
    fs::write(&place.text, &text).unwrap();
    let error = place.open_with(Options::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    assert_eq!(fs::read_to_string(&place.text).unwrap(), text);
}

/// A damaged file is refused, or everything in it is as it was; never something else.
#[tokio::test]
async fn damage_is_never_taken_for_data() {
    let place = Place::sqlite();
    let (store, _) = place.open().await;
    for n in 0..200 {
        store.commit(put(&format!("row {n}"), Expect::Absent)).await.unwrap();
    }
    store.close().await;
    let (store, before) = place.open().await;
    store.close().await;
    let whole = fs::read(&place.text).unwrap();
    let (mut seed, mut refused) = (7_u64, 0);
    for _ in 0..150 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (seed >> 20) as usize % whole.len();
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (seed % 8);
        let other = Place::sqlite();
        fs::write(&other.text, &damaged).unwrap();
        match other.open_with(Options::default()).await {
            Ok((store, loaded)) => {
                assert_eq!(loaded.rows, before.rows, "byte {at}");
                store.close().await;
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty() && !error.is_final(), "byte {at}: {error}");
            }
        }
    }
    assert!(refused > 20, "{refused} of 150");
}
