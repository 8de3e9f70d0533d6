//! A store of every released schema, as its own program left it, is opened by this one.
//!
//! When a schema is released, `FARSHORE_MAKE_FIXTURES=1 cargo test -p farshore-store --
//! --ignored fixtures` writes its files; they are checked in and never changed.

use std::{fs, path::PathBuf};

use farshore_store::{Changes, EventQuery, Expect, Loaded, RowId, SCHEMA, Sample, Store, Version};

use crate::{place::Place, server::Server};

fn path(schema: u64, extension: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/schema-{schema}.{extension}"))
}

/// What every fixture holds.
async fn fill(store: &Store) {
    for n in 1..=20u64 {
        let body = format!("{{\"n\":{n},\"name\":\"grün\"}}");
        let changes =
            Changes::new().put(RowId::new("policy", format!("p{n:02}")), Expect::Absent, body.clone());
        store.commit(changes.event("audit", format!("p{n:02}"), 1_000 + n, body)).await.unwrap();
        let sample =
            Sample { series: "cycles".into(), subject: "m1".into(), at_ms: n, body: vec![0, 255].into() };
        store.note(sample).unwrap();
    }
    store.commit(Changes::new().delete(RowId::new("policy", "p07"), Expect::Present)).await.unwrap();
}

async fn check(store: &Store, loaded: &Loaded) {
    assert_eq!((loaded.rows.len(), loaded.version, loaded.learn), (19, Version(21), None));
    for (row, n) in loaded.rows.iter().zip((1..=20u64).filter(|n| *n != 7)) {
        assert_eq!((row.id.key.as_str(), row.version), (format!("p{n:02}").as_str(), Version(n)));
        assert_eq!(row.body, format!("{{\"n\":{n},\"name\":\"grün\"}}"));
    }
    let events = store.events(&EventQuery { limit: 100, ..EventQuery::default() }).await.unwrap();
    assert_eq!((events.len(), events[0].at_ms, events[0].subject.as_str()), (20, 1_020, "p20"));
    let samples = store.samples("cycles", Some("m1"), 0, 100, 100).await.unwrap();
    assert!(samples.len() == 20 && samples.iter().all(|sample| sample.body[..] == [0, 255]));
    let changes = Changes::new().put(RowId::new("policy", "p01"), Expect::At(Version(1)), "new");
    assert_eq!(store.commit(changes).await.unwrap(), Version(22), "it can be written");
}

#[tokio::test]
async fn every_released_schema_is_opened_on_sqlite() {
    for schema in 1..=SCHEMA {
        let place = Place::sqlite();
        fs::copy(path(schema, "db"), &place.text).expect("its fixture is kept");
        let (store, loaded) = place.open().await;
        check(&store, &loaded).await;
    }
}

#[test]
fn every_released_schema_is_opened_on_postgresql() {
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for schema in 1..=SCHEMA {
        let place = server.place(&format!("schema_{schema}"));
        server.run_file(&place, &path(schema, "sql"));
        runtime.block_on(async {
            let (store, loaded) = place.open().await;
            check(&store, &loaded).await;
            store.close().await;
        });
    }
}

#[test]
#[ignore = "writes the fixtures of the newest schema"]
fn make() {
    if std::env::var("FARSHORE_MAKE_FIXTURES").is_err() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start();
    let places = [Place::sqlite(), server.place("fixture")];
    for place in &places {
        runtime.block_on(async {
            let (store, _) = place.open().await;
            fill(&store).await;
            store.close().await;
        });
    }
    fs::create_dir_all(path(SCHEMA, "db").parent().unwrap()).unwrap();
    fs::copy(&places[0].text, path(SCHEMA, "db")).unwrap();
    fs::write(path(SCHEMA, "sql"), server.dump(&places[1])).unwrap();
}
