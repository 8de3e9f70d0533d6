//! Two vaults on one database: one commands, the other stands by; and what must not be: two
//! on one SQLite file, one on a database of a newer version.

use std::fs;

use farshore_store::{Location, Options, Store};
use serde_json::Value;

use crate::{
    postgres::Postgres,
    world::{World, free_address},
};

/// Asks until somebody answers: another vault may be about to take over.
fn answered(world: &World, args: &[&str]) -> Value {
    let mut answer = Value::Null;
    world.until("a vault answers", |world| {
        let done = world.run(&[args, &["--output", "json"]].concat());
        answer = serde_json::from_slice(&done.stdout).unwrap_or_default();
        done.status.success()
    });
    answer
}

#[test]
fn a_second_vault_takes_over_from_one_that_is_killed_or_hangs_and_everybody_follows() {
    let server = Postgres::start();
    let mut world = World::new();
    let (one, two) = (world.vault.clone(), free_address());
    let (both, store) = (format!("{one},{two}"), format!("store = \"{}\"\n", server.text()));
    world.configure_vault("vault", &one, &both, &store);
    world.configure_vault("second", &two, &both, &store);
    world.ok(&["vault", "init", "--config", &world.config("vault")]);
    // The second machine needs the file that opens the authority's key, and nothing else.
    fs::create_dir(world.path("second")).unwrap();
    fs::copy(world.path("vault/unlock.key"), world.path("second/unlock.key")).unwrap();
    world.start_vault();
    world.start("second", &["vault", "serve"]);
    world.add_site("east");
    world.until("the second stands by", |world| world.log("second").contains("standing by"));
    world.until("east follows", |world| world.log("east").contains("a vault speaks"));
    world.ok(&["policy", "add", "gold"]);

    world.kill("vault");
    let policies = answered(&world, &["policy", "list"]);
    assert_eq!(policies[0]["name"], "gold", "nothing was lost");
    assert_eq!(answered(&world, &["status"])["vault"]["term"], 1, "the same vault goes on");
    // East follows: what is ordered of the second one reaches it.
    world.ok(&["site", "add", "west"]);
    world.until("the second hears of east", |world| world.run(&["host", "key", "east"]).status.success());

    // The first comes back, and stands by; the second hangs.
    fs::remove_file(world.path("vault.log")).unwrap();
    world.start("vault", &["vault", "serve"]);
    world.until("the first stands by", |world| world.log("vault").contains("standing by"));
    world.signal("second", "-STOP");
    answered(&world, &["policy", "add", "silver"]);
    // The one that hung wakes up. It has lost the store, writes nothing, and stands by again.
    world.signal("second", "-CONT");
    world.until("the second knows", |world| world.log("second").contains("another vault has taken over"));
    assert!(!world.has_ended("second"));
    let names = |list: &Value| {
        let mut names: Vec<String> =
            list.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&answered(&world, &["policy", "list"])), ["gold", "silver"]);
    world.kill("vault");
    assert_eq!(names(&answered(&world, &["policy", "list"])), ["gold", "silver"], "and it is there again");
    // A revocation by the vault of now reaches who enrolled at the one of then.
    world.ok(&["site", "revoke", "east"]);
    world.until("east is told", |world| world.log("east").contains("revoked"));
}

#[test]
fn a_store_that_is_in_use_or_newer_is_refused_and_not_touched() {
    let mut world = World::new();
    let config = world.config("vault");
    world.ok(&["vault", "init", "--config", &config]);
    world.start_vault();
    let store = format!("store = {:?}\n", world.path("vault/vault.db"));
    world.configure_vault("second", &free_address(), &world.vault, &store);
    let second = world.config("second");
    let said = world.fails(&["vault", "serve", "--config", &second]);
    assert!(said.contains("in use by process") && said.contains("stop that one"), "{said}");
    world.ok(&["policy", "add", "gold"]);
    world.kill("vault");
    // As a newer version would leave it.
    let path = world.path("vault/vault.db");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let row = farshore_store::RowId::new("of-a-newer-version", "one");
    runtime.block_on(async {
        let location = Location::parse(&path.display().to_string()).unwrap();
        let (store, _) = Store::open(location, Options::default()).await.unwrap();
        let changes = farshore_store::Changes::new().put(row, farshore_store::Expect::Absent, "{}");
        store.commit(changes).await.unwrap();
        store.close().await;
    });
    let said = world.fails(&["vault", "serve", "--config", &config]);
    assert!(said.contains("newer version"), "{said}");
    let file = world.path("newer.backup").display().to_string();
    world.ok(&["vault", "backup", "--to", &file, "--config", &config]);
}

/// Changes the database by hand, as a newer program may.
fn by_hand(world: &World, sql: &'static str) {
    use sqlx::Connection;
    let path = format!("sqlite:{}", world.path("vault/vault.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut link = sqlx::SqliteConnection::connect(&path).await.unwrap();
        sqlx::query(sql).execute(&mut link).await.unwrap();
        link.close().await.unwrap();
    });
}

#[test]
fn a_store_of_a_newer_schema_is_refused_by_its_number_and_is_as_it_was_for_the_newer_program() {
    let mut world = World::new();
    let config = world.config("vault");
    world.ok(&["vault", "init", "--config", &config]);
    world.start_vault();
    world.ok(&["policy", "add", "gold"]);
    world.kill("vault");
    by_hand(&world, "UPDATE store_head SET schema = schema + 1");
    let (newer, known) = (farshore_store::SCHEMA + 1, farshore_store::SCHEMA);
    let file = world.path("newer.backup").display().to_string();
    for command in [
        vec!["vault", "serve", "--config", &config],
        vec!["vault", "backup", "--to", &file, "--config", &config],
    ] {
        let said = world.fails(&command);
        let wanted = format!("has schema {newer}, and this program knows schemas up to {known}");
        assert!(said.contains(&wanted), "{command:?}: {said}");
        assert!(said.contains("install the newer version that wrote it"), "{said}");
    }
    // Making another vault over it is no way out.
    assert!(!world.run(&["vault", "init", "--config", &config]).status.success());
    by_hand(&world, "UPDATE store_head SET schema = schema - 1");
    world.start_vault();
    assert_eq!(world.json(&["policy", "list"])[0]["name"], "gold", "nothing was changed");
}
