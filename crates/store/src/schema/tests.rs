//! Migrations on a real SQLite file; what PostgreSQL does with them is in the suite.

use super::*;
use crate::{
    link::{Purpose, make_file},
    options::Options,
};

const ADDS: Migration = Migration {
    sqlite: "CREATE TABLE more (a INTEGER); ALTER TABLE store_rows ADD COLUMN more INTEGER;",
    postgres: "",
};
const FAILS: Migration =
    Migration { sqlite: "CREATE TABLE half (a INTEGER); INSERT INTO nowhere VALUES (1);", postgres: "" };

async fn empty() -> (tempfile::TempDir, Location, Link) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    make_file(&path).unwrap();
    let location = Location::Sqlite(path);
    let link = Link::open(&location, Purpose::Write, &Options::default()).await.unwrap();
    (folder, location, link)
}

#[tokio::test]
async fn each_schema_is_brought_forward_step_by_step_and_only_once() {
    let (_folder, location, mut link) = empty().await;
    assert_eq!(found(&mut link, &location).await.unwrap(), 0);
    migrate(&mut link, &location, "name").await.unwrap();
    assert_eq!(found(&mut link, &location).await.unwrap(), SCHEMA);
    let all: Vec<Migration> = MIGRATIONS.iter().copied().chain([ADDS]).collect();
    for _ in 0..2 {
        migrate_by(&mut link, &location, "another", &all).await.unwrap();
        assert_eq!(found(&mut link, &location).await.unwrap(), SCHEMA + 1);
    }
    let (id,): (String,) = link.one("SELECT id FROM store_head", &[]).await.unwrap();
    assert_eq!(id, "name", "a store keeps its name");
    assert!(refuse_newer(SCHEMA + 1, "here").is_err() && refuse_newer(SCHEMA, "here").is_ok());
}

#[tokio::test]
async fn a_step_that_fails_leaves_the_schema_of_before() {
    let (_folder, location, mut link) = empty().await;
    let all: Vec<Migration> = MIGRATIONS.iter().copied().chain([ADDS, FAILS]).collect();
    let error = migrate_by(&mut link, &location, "name", &all).await.unwrap_err();
    assert!(matches!(error, StoreError::Migration { to, .. } if to == SCHEMA + 2), "{error}");
    assert_eq!(found(&mut link, &location).await.unwrap(), SCHEMA + 1);
    let half = "SELECT count(*) FROM sqlite_master WHERE name = 'half'";
    assert_eq!(link.one::<(i64,)>(half, &[]).await.unwrap(), (0,));
}

#[tokio::test]
async fn the_file_of_another_program_is_left_alone() {
    let (_folder, location, mut link) = empty().await;
    link.script("CREATE TABLE theirs (a INTEGER)").await.unwrap();
    let error = migrate(&mut link, &location, "name").await.unwrap_err();
    assert!(matches!(error, StoreError::Unfit { .. }), "{error}");
    assert!(error.to_string().contains("1 tables of another program"), "{error}");
}
