//! Break-glass, and what the vault makes of it: with no control plane left and the other host
//! silent, a person brings a real guest up by the agent's own command though it still runs where
//! it was. Who comes back stops neither, replicates neither, and asks for the winner; the other one
//! is stopped then, what it wrote is kept, and the guest goes home with nothing of the winner's lost.

use serde_json::Value;

use crate::{
    failover::Operated,
    site::{MACHINE, wait},
};

#[test]
fn what_a_person_forced_without_the_vault_is_adopted_and_waits_for_a_winner_where_both_run() {
    let mut all = Operated::new();
    all.until_replicated();
    let home = all.shown()["source"].clone();

    // Nothing answers any more, and the guest runs on.
    all.above.kill_all();
    all.site.home.kill_agent();
    all.site.until_guest_goes_on();
    let refused = all.site.away.command::<Value>(&["bring-up", MACHINE]).unwrap_err();
    assert!(refused.contains("--force"), "it may still run: {refused}");
    let up: Value = all.site.away.command(&["bring-up", MACHINE, "--force"]).unwrap();
    assert_eq!(up["power"], "running", "{up}");
    all.site.home.start_agent().unwrap();

    // Everybody is back.
    for (name, of) in [("vault", "vault"), ("east", "site"), ("west", "site")] {
        all.above.start(name, &[of, "serve"]).unwrap();
    }
    let shown = wait("two owners to be told", || {
        let shown = all.above.json(&["protection", "show", MACHINE]).ok()?;
        (shown["life"] == "contested").then_some(shown)
    });
    println!("{shown:#}");
    let both = || [&all.site.home, &all.site.away].map(|host| host.machine_pids().len());
    assert_eq!(both(), [1, 1], "neither is stopped");
    let newest = shown["newest"].clone();
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!((both(), &all.shown()["newest"]), ([1, 1], &newest), "nor replicated");

    // A person decides for the one that was brought up.
    let away = all.shown()["target"].clone();
    let away = away["name"].as_str().or(away.as_str()).unwrap().to_owned();
    let confirmed = ["--accept-data-loss", "--accept-may-still-run"];
    all.order(&[&["protection", "declare-winner", MACHINE, "--host", &away], &confirmed[..]].concat());
    wait("the other one to be stopped", || (both() == [0, 1]).then_some(()));
    all.site.until_guest_goes_on();
    wait("replication home", || {
        let _ = all.above.operate(&["protection", "commit", MACHINE]);
        all.above.operate(&["protection", "reverse", MACHINE]).ok()
    });
    all.until_replicated();
    let points = all.above.json(&["protection", "points", MACHINE, "--all"]).unwrap();
    let pinned = |point: &Value| point["pinned_by"].to_string().contains("own writes");
    assert!(points.as_array().unwrap().iter().any(pinned), "what the loser wrote is kept: {points:#}");
    let verdict = all.moved(&["protection", "failback", MACHINE]);
    println!("home again: {verdict}");
    assert_eq!(all.shown()["source"], home);
}
