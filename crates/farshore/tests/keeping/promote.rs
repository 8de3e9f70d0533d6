//! The vault's site is lost: the other one's warm copy becomes the vault, everybody follows,
//! and the old vault steps down when it comes back.

use std::{fs, time::Instant};

use serde_json::Value;

use crate::world::{World, free_address};

fn status_of(world: &World, site: &str) -> Value {
    let done = world.run(&["site", "status", "--config", &world.config(site), "--output", "json"]);
    serde_json::from_slice(&done.stdout).unwrap_or_default()
}

#[test]
fn the_warm_copy_of_the_surviving_site_becomes_the_vault_and_everybody_follows() {
    let mut world = World::new();
    let made = world.json(&["vault", "init", "--config", &world.config("vault")]);
    let recovery = made["recovery_key"].as_str().unwrap().to_owned();
    world.start_vault();
    world.add_site("east");
    world.add_site("west");
    world.ok(&["policy", "add", "gold"]);
    let at_ms = |world: &World| status_of(world, "west")["copy"]["mark"]["at_ms"].as_u64();
    world.until("west has a copy with the policy, and knows of east", |world| {
        let current = status_of(world, "west")["copy"]["behind_ms"].as_u64() < Some(20_000);
        at_ms(world).is_some() && current && world.path("west/neighbours.json").exists()
    });
    let copied = at_ms(&world);
    world.ok(&["policy", "add", "silver"]);
    world.until("the copy follows", |world| at_ms(world) > copied);

    // While the vault answers, nobody makes another one by mistake.
    let address = free_address();
    world.configure_vault("second", &address, &address, "");
    let (second, west) = (world.config("second"), world.config("west"));
    let promote = ["vault", "promote", "--config", &second, "--site-config", &west];
    world.until("west is in contact", |world| status_of(world, "west")["vault_answers"] == true);
    let said = world.fails(&promote);
    assert!(said.contains("nothing is lost"), "{said}");
    assert!(!world.path("second/vault.db").exists(), "nothing was made");

    // The site of the vault is lost, and east with it.
    world.kill("vault");
    world.kill("east");
    fs::copy(world.path("context.toml"), world.path("old-context.toml")).unwrap();
    world.until("west knows that it is gone", |world| status_of(world, "west")["vault_answers"] == false);
    let lost = Instant::now();
    let wrong = world.fails(&[&promote[..], &["--recovery-key", "nonsense"]].concat());
    assert!(wrong.contains("nothing was changed"), "{wrong}");
    let done = world.json(&[&promote[..], &["--recovery-key", &recovery]].concat());
    assert!(done["term"].as_u64() >= Some(2) && done["closed"].is_null(), "{done}");
    world.start("second", &["vault", "serve"]);
    world.until("the new vault answers", |world| world.run(&["policy", "list"]).status.success());
    let policies = world.json(&["policy", "list"]);
    assert_eq!(policies.as_array().unwrap().len(), 2, "{policies}");
    // West follows without a restart, and the vault commands.
    world.until("west follows", |world| status_of(world, "west")["term"].as_u64() >= Some(2));
    world.until("the vault commands", |world| world.run(&["policy", "add", "bronze"]).status.success());
    println!("promoted and commanding after {:?}", lost.elapsed());

    // East comes back, and finds the new vault by way of west; the old vault steps down.
    world.start("vault", &["vault", "serve"]);
    world.start("east", &["site", "serve"]);
    world.until("east follows", |world| status_of(world, "east")["term"].as_u64() >= Some(2));
    let old = world.path("old-context.toml").display().to_string();
    world.until("the old vault steps down", |world| {
        let done = world.run(&["policy", "add", "tin", "--context", &old]);
        String::from_utf8_lossy(&done.stderr).contains("another vault speaks with term")
    });
    world.until("east has a copy of the new one", |world| {
        status_of(world, "east")["copy"]["mark"]["term"].as_u64() >= Some(2)
    });
}
