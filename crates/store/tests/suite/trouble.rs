//! What a store does when something goes wrong around it, on either database.

use std::time::Duration;

use farshore_store::{Bug, Changes, Expect, Options, RowId, Sample, Status, StoreError, Version};

use crate::place::Place;

pub fn put(key: &str, expect: Expect) -> Changes {
    Changes::new().put(RowId::new("policy", key), expect, key.to_owned())
}

pub async fn a_second_process_is_told_who_holds_the_store(place: Place) {
    let (store, _) = place.open().await;
    let error = place.open_with(Options::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Held { .. }), "{error}");
    assert!(error.to_string().contains(&format!("process {} on ", std::process::id())), "{error}");
    store.commit(put("a", Expect::Absent)).await.unwrap();
    store.close().await;
    let (_, loaded) = place.open().await;
    assert_eq!(loaded.rows.len(), 1);
}

pub async fn one_that_was_taken_over_can_write_nothing_any_more(place: Place) {
    let (store, _) = place.open().await;
    store.commit(put("a", Expect::Absent)).await.unwrap();
    place.by_hand("UPDATE store_head SET fence = fence + 1, holder = 'somebody else'").await;
    let error = store.commit(put("b", Expect::Absent)).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }) && error.is_final(), "{error}");
    assert!(error.to_string().contains("taken over by somebody else"), "{error}");
    assert!(matches!(*store.status().borrow(), Status::Ended { .. }));
    store.note(Sample { series: "s".into(), subject: "m".into(), at_ms: 1, body: "x".into() }).unwrap();
    assert!(store.flush().await.is_err() && store.prune().await.is_err());
    store.close().await;
    let (store, loaded) = place.open().await;
    assert_eq!(loaded.rows.len(), 1);
    assert!(store.samples("s", None, 0, 10, 10).await.unwrap().is_empty());
}

pub async fn samples_alone_ask_for_the_fence_too(place: Place) {
    let (store, _) = place.open().await;
    place.by_hand("UPDATE store_head SET fence = fence + 1").await;
    store.note(Sample { series: "s".into(), subject: "m".into(), at_ms: 1, body: "x".into() }).unwrap();
    assert!(matches!(store.flush().await, Err(StoreError::Superseded { .. })));
}

pub async fn an_older_copy_of_the_database_is_noticed(place: Place) {
    let (store, _) = place.open().await;
    store.commit(put("a", Expect::Absent)).await.unwrap();
    store.commit(put("b", Expect::Absent)).await.unwrap();
    place.by_hand("UPDATE store_head SET sequence = 1").await;
    let error = store.commit(put("c", Expect::Absent)).await.unwrap_err();
    let StoreError::RolledBack { acknowledged, found, .. } = error else { panic!("{error}") };
    assert_eq!((acknowledged, found), (Version(2), Version(1)));
}

pub async fn what_cannot_be_stored_is_refused_before_anything_is_tried(place: Place) {
    let (store, _) = place.open().await;
    let long = "k".repeat(1_000);
    let error = store.commit(put("a", Expect::Absent).event("topic", long, 0, "x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid { .. }) && !error.is_temporary(), "{error}");
    let zero = Sample { series: "a\0".into(), subject: String::new(), at_ms: 0, body: "x".into() };
    assert!(matches!(store.note(zero), Err(StoreError::Invalid { .. })));
    assert_eq!(store.figures().commits, 0);
}

/// Whether good transactions go through beside one whose precondition fails.
async fn good_ones_go_through(place: &Place, bug: Option<Bug>) -> bool {
    let (store, _) = place.open_with(Options { bug, ..Options::default() }).await.unwrap();
    let callers: Vec<_> = (0..100)
        .map(|n| {
            let expect = if n % 10 == 0 { Expect::Present } else { Expect::Absent };
            let (store, changes) = (store.clone(), put(&n.to_string(), expect));
            tokio::spawn(async move { (n % 10 == 0, store.commit(changes).await) })
        })
        .collect();
    let mut well = true;
    for caller in callers {
        let (bad, outcome) = caller.await.unwrap();
        well &= bad == outcome.is_err();
    }
    store.close().await;
    well
}

pub async fn failing_together_would_be_caught(place: Place) {
    assert!(!good_ones_go_through(&place, Some(Bug::FailTogether)).await);
    place.by_hand("DELETE FROM store_rows").await;
    assert!(good_ones_go_through(&place, None).await);
}

pub async fn a_store_whose_last_handle_goes_gives_the_lock_back(place: Place) {
    let (store, _) = place.open().await;
    store.note(Sample { series: "s".into(), subject: "m".into(), at_ms: 1, body: "x".into() }).unwrap();
    drop(store);
    let wait = farshore_store::Wait::AtMost(Duration::from_secs(10));
    let mut tries = 0;
    let (store, _) = loop {
        match place.open_with(Options { wait, ..Options::default() }).await {
            Ok(opened) => break opened,
            Err(error) if tries > 100 => panic!("{error}"),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(store.samples("s", None, 0, 10, 10).await.unwrap().len(), 1, "what waited was written");
}
