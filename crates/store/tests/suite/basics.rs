//! What a store does when nothing goes wrong around it, and what it refuses.

use std::{sync::Arc, time::Duration};

use farshore_env::Clock;
use farshore_store::{
    Changes, EventQuery, Expect, From, Options, Retention, Row, RowId, SCHEMA, Sample, StoreError, Table,
    Version,
};

use crate::place::Place;

fn id(key: &str) -> RowId {
    RowId::new("policy", key)
}

fn put(key: &str, body: &str) -> Changes {
    Changes::new().put(id(key), Expect::Anything, body.to_owned())
}

pub async fn what_is_written_is_there_after_reopening(place: Place) {
    let (store, loaded) = place.open().await;
    assert!(loaded.rows.is_empty() && loaded.version == Version(0) && loaded.fence == 1);
    let first = store.commit(put("a", "1").put(id("b"), Expect::Absent, "2")).await.unwrap();
    let second = store.commit(put("a", "3").delete(id("b"), Expect::At(first))).await.unwrap();
    assert_eq!((first, second), (Version(1), Version(2)));
    store.close().await;
    let closed = store.commit(put("a", "4")).await.unwrap_err();
    assert!(matches!(closed, StoreError::Closed { .. }) && closed.is_final(), "{closed}");
    let (store, loaded) = place.open().await;
    assert_eq!(loaded.rows, [Row { id: id("a"), version: Version(2), body: "3".into() }]);
    assert_eq!((loaded.version, loaded.fence, loaded.learn), (Version(2), 2, None));
    assert_eq!(store.commit(put("c", "5")).await.unwrap(), Version(3));
}

pub async fn one_failing_precondition_fails_only_its_caller(place: Place) {
    let (store, _) = place.open().await;
    let commits: Vec<_> = (0..40u64)
        .map(|n| {
            let expect = if n % 4 == 3 { Expect::At(Version(999)) } else { Expect::Absent };
            let store = store.clone();
            let changes = put(&format!("x{n}"), "x").put(id(&format!("y{n}")), expect, "y");
            tokio::spawn(async move { store.commit(changes).await })
        })
        .collect();
    let mut failed = 0;
    for (n, commit) in commits.into_iter().enumerate() {
        let outcome = commit.await.unwrap();
        if n % 4 == 3 {
            let error = outcome.unwrap_err();
            assert!(matches!(&error, StoreError::Conflict { version: None, .. }), "{error}");
            assert!(!error.is_temporary() && !error.is_final());
            assert!(error.to_string().contains("is absent, and the change expected version 999"), "{error}");
            failed += 1;
        } else {
            outcome.unwrap();
        }
    }
    store.close().await;
    let (_, loaded) = place.open().await;
    assert_eq!((failed, loaded.rows.len()), (10, 60), "nothing of the failed ones is there");
}

pub async fn many_callers_share_commits(place: Place) {
    let (store, _) = place.open().await;
    let callers: Vec<_> = (0..64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                for turn in 0..10 {
                    store.commit(put(&n.to_string(), &turn.to_string())).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let figures = store.figures();
    assert_eq!(figures.transactions, 640);
    assert!(figures.commits < 320, "{} commits for 640 transactions", figures.commits);
}

pub async fn events_are_read_from_anywhere_in_their_order(place: Place) {
    let (store, _) = place.open().await;
    for n in 0..10u64 {
        let topic = if n % 2 == 0 { "audit" } else { "job" };
        let changes = Changes::new().event(topic, "m1", n, n.to_string()).event("other", "", n, "x");
        store.commit(changes).await.unwrap();
    }
    let all = EventQuery { limit: 100, ..EventQuery::default() };
    let newest = store.events(&all).await.unwrap();
    assert_eq!(newest.len(), 20);
    assert!(newest.is_sorted_by(|a, b| a.id > b.id));
    let after = EventQuery { from: From::After(newest[15].id), ..all.clone() };
    let after = store.events(&after).await.unwrap();
    assert_eq!(after.len(), 15);
    assert!(after.is_sorted_by(|a, b| a.id < b.id));
    let before = EventQuery { from: From::Before(newest[15].id), ..all.clone() };
    assert_eq!(store.events(&before).await.unwrap(), newest[16..]);
    let audit =
        EventQuery { topic: Some("audit".into()), subject: Some("m1".into()), limit: 3, ..all.clone() };
    let audit: Vec<u64> = store.events(&audit).await.unwrap().iter().map(|event| event.at_ms).collect();
    assert_eq!(audit, [8, 6, 4]);
    let empty = EventQuery { subject: Some(String::new()), ..all };
    assert_eq!(store.events(&empty).await.unwrap().len(), 10);
}

fn sample(subject: &str, at_ms: u64, body: &str) -> Sample {
    Sample { series: "cycles".into(), subject: subject.into(), at_ms, body: body.to_owned().into() }
}

pub async fn samples_cost_no_write_each_and_the_newest_value_wins(place: Place) {
    let (store, _) = place.open().await;
    for n in 0..1_000u64 {
        store.note(sample(&format!("m{}", n % 50), n % 100, &n.to_string())).unwrap();
    }
    assert_eq!(store.figures().commits, 0, "nothing is written by itself");
    store.flush().await.unwrap();
    let figures = store.figures();
    assert_eq!((figures.commits, figures.samples), (1, 100), "one write for all");
    store.note(sample("m7", 7, "later")).unwrap();
    store.flush().await.unwrap();
    let one = store.samples("cycles", Some("m7"), 0, 1_000, 10).await.unwrap();
    assert_eq!(one, [sample("m7", 7, "later"), sample("m7", 57, "957")]);
    let range = store.samples("cycles", None, 10, 20, 1_000).await.unwrap();
    assert_eq!(range.len(), 10);
    store.note(sample("m1", 5_000, "on the way out")).unwrap();
    store.close().await;
    let (store, _) = place.open().await;
    assert_eq!(store.samples("cycles", None, 5_000, 5_001, 10).await.unwrap().len(), 1);
    store.note(sample("m1", 5_001, "rides along")).unwrap();
    store.commit(put("a", "1")).await.unwrap();
    assert_eq!((store.figures().commits, store.figures().samples), (1, 1));
}

/// A clock that stands where the test puts it.
struct Stopped(u64);

impl Clock for Stopped {
    fn wall_ms(&self) -> u64 {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

pub async fn what_is_too_old_goes_and_nothing_else(place: Place) {
    let rule = |table, name: &str| Retention { table, name: name.into(), keep: Duration::from_millis(100) };
    let options = Options {
        // Far ahead of everything: ages count from the newest then.
        clock: Arc::new(Stopped(1_000_000)),
        retention: vec![rule(Table::Events, "job"), rule(Table::Samples, "cycles")],
        ..Options::default()
    };
    let (store, _) = place.open_with(options).await.unwrap();
    for at in 0..5_000u64 {
        store.note(sample(&format!("m{}", at % 3), at, "s")).unwrap();
    }
    store.note(Sample { series: "kept".into(), ..sample("m", 0, "s") }).unwrap();
    store.flush().await.unwrap();
    for n in 0..30 {
        let changes = (0..100).fold(Changes::new(), |c, at| c.event("job", "", n * 100 + at, "e"));
        store.commit(changes.event("audit", "", 0, "e")).await.unwrap();
    }
    assert_eq!(store.prune().await.unwrap(), 5_000 - 101 + 3_000 - 101);
    assert_eq!(store.prune().await.unwrap(), 0);
    let samples = store.samples("cycles", None, 0, 10_000, 10_000).await.unwrap();
    assert!(samples.len() == 101 && samples.iter().all(|sample| sample.at_ms >= 4_899));
    assert_eq!(store.samples("kept", None, 0, 1, 10).await.unwrap().len(), 1);
    let query = EventQuery { limit: 10_000, ..EventQuery::default() };
    assert_eq!(store.events(&query).await.unwrap().len(), 101 + 30);
}

pub async fn a_row_changed_by_hand_is_noticed(place: Place) {
    let (store, _) = place.open().await;
    store.commit(put("a", "1")).await.unwrap();
    place.by_hand("UPDATE store_rows SET version = 77").await;
    let error = store.commit(put("a", "2").put(id("b"), Expect::Absent, "2")).await.unwrap_err();
    assert!(matches!(error, StoreError::Diverged { .. }) && error.is_final(), "{error}");
    let after = store.commit(put("c", "1")).await.unwrap_err();
    assert!(matches!(after, StoreError::Diverged { .. }), "it can go on no more: {after}");
    store.close().await;
    place.by_hand("UPDATE store_rows SET sum = NULL").await;
    let (_, loaded) = place.open().await;
    assert_eq!(loaded.rows.len(), 1, "nothing of the last transaction is there");
}

pub async fn a_damaged_row_is_refused_and_named(place: Place) {
    let (store, _) = place.open().await;
    store.commit(put("a", "epoch 5")).await.unwrap();
    store.close().await;
    let other = if place.is_sqlite() { "x'65706f63682034'" } else { "'epoch 4'::bytea" };
    place.by_hand(&format!("UPDATE store_rows SET body = {other}")).await;
    let error = place.open_with(Options::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("policy 'a' does not match its checksum"), "{error}");
    // Whoever repairs a row by hand says so.
    place.by_hand("UPDATE store_rows SET sum = NULL").await;
    let (_, loaded) = place.open().await;
    assert_eq!(loaded.rows[0].body, "epoch 4");
}

pub async fn a_newer_schema_is_refused_with_what_to_do(place: Place) {
    let (store, _) = place.open().await;
    store.commit(put("a", "1")).await.unwrap();
    store.close().await;
    place.by_hand(&format!("UPDATE store_head SET schema = {}", SCHEMA + 1)).await;
    let error = place.open_with(Options::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::SchemaNewer { known: SCHEMA, .. }), "{error}");
    assert!(error.to_string().contains("install the newer version"), "{error}");
    place.by_hand(&format!("UPDATE store_head SET schema = {SCHEMA}")).await;
    let (_, loaded) = place.open().await;
    assert_eq!((loaded.rows.len(), loaded.fence), (1, 2), "it was not touched");
}

pub async fn awkward_bytes_come_back_as_they_were(place: Place) {
    let (store, _) = place.open().await;
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let keys = ["'; DROP TABLE store_rows; --", "grün/☃", " ", "%_\\"];
    for key in keys {
        store.commit(Changes::new().put(id(key), Expect::Absent, body.clone())).await.unwrap();
    }
    store.commit(Changes::new().put(id("empty"), Expect::Absent, Vec::new())).await.unwrap();
    store.close().await;
    let (_, loaded) = place.open().await;
    assert_eq!(loaded.rows.len(), keys.len() + 1);
    for row in loaded.rows.iter().filter(|row| row.id.key != "empty") {
        assert!(keys.contains(&row.id.key.as_str()) && row.body == body, "{}", row.id);
    }
}
