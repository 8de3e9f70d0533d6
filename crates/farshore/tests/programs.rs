//! The programs as an operator meets them: a vault, a site server, commands, over real TLS
//! and a real store; and each of them killed.

#![expect(clippy::unwrap_used, reason = "a test may stop where its set-up fails")]

use std::fs;

#[path = "support/world.rs"]
#[allow(dead_code, reason = "other tests use all of it")]
mod world;

use world::World;

#[test]
fn a_vault_is_made_once_and_outlives_its_own_death() {
    let mut world = World::new();
    assert!(world.fails(&["site", "list"]).contains("vault init"), "it says what to do first");
    let config = world.config("vault");
    let made = world.json(&["vault", "init", "--config", &config]);
    assert_eq!(made["recovery_key"].as_str().unwrap().len(), 59, "ten groups of five");
    assert!(world.fails(&["vault", "init", "--config", &config]).contains("already"));
    world.start_vault();
    world.ok(&["policy", "add", "gold", "copy-frequency=2s"]);
    let wrong = world.fails(&["policy", "add", "x", "copy-frequency=never", "colour=red"]);
    assert!(wrong.contains("copy-frequency") && wrong.contains("colour"), "all at once: {wrong}");
    // What was acknowledged is there after a kill.
    world.kill("vault");
    world.start_vault();
    let policies = world.json(&["policy", "list"]);
    assert_eq!(policies[0]["name"], "gold");
    assert_eq!(policies[0]["policy"]["copy_frequency_secs"], 2);
    assert!(world.fails(&["policy", "show", "gould"]).contains("did you mean 'gold'?"));
    assert_eq!(world.json(&["status"])["vault"]["term"], 1, "a vault that goes on needs no new term");
    // No token, no answer.
    let context = fs::read_to_string(world.path("context.toml")).unwrap();
    let token = made["token"].as_str().unwrap();
    fs::write(world.path("context.toml"), context.replace(token, "fsh-wrong")).unwrap();
    assert!(world.fails(&["site", "list"]).contains("token"));
    // Another authority is not the vault that is known.
    let fingerprint = made["fingerprint"].as_str().unwrap();
    fs::write(world.path("context.toml"), context.replace(fingerprint, &"0".repeat(64))).unwrap();
    assert!(!world.run(&["site", "list"]).status.success());
}

/// What a command began is a job that can be looked at, and that is not cancelled afterwards.
fn jobs_are_shown(world: &World) {
    let jobs = world.json(&["job", "list", "--state", "ended"]);
    let job = jobs.as_array().unwrap().iter().find(|job| job["kind"] == "associate").unwrap();
    assert_eq!(job["state"], "succeeded", "there is no host that could object: {job}");
    let id = job["id"].as_str().unwrap();
    assert_eq!(world.json(&["job", "show", id])["title"], "Policy 'gold' for cloud 'east'");
    world.ok(&["job", "watch", id]);
    assert!(world.fails(&["job", "cancel", id]).contains("has ended already"));
    assert!(world.fails(&["job", "list", "--state", "lost"]).contains("partly"), "it says what there is");
    assert!(world.fails(&["job", "show", &"0".repeat(32)]).contains("there is no job"));
    assert!(world.json(&["job", "list", "--machine", "nobody"]).as_array().unwrap().is_empty());
}

#[test]
fn sites_enrol_once_are_followed_and_are_refused_when_revoked() {
    let mut world = World::new();
    let config = world.config("vault");
    world.ok(&["vault", "init", "--config", &config]);
    world.start_vault();
    world.add_site("east");
    world.add_site("west");
    world.until("both site servers follow the vault", |world| {
        ["east", "west"].iter().all(|site| world.log(site).contains("a vault speaks"))
    });
    let sites = world.json(&["site", "list"]);
    let names: Vec<&str> =
        sites.as_array().unwrap().iter().map(|site| site["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["east", "west"]);
    world.ok(&["cloud", "pair", "east", "west"]);
    world.ok(&["policy", "add", "gold"]);
    world.ok(&["cloud", "associate", "east", "--policy", "gold"]);
    jobs_are_shown(&world);
    let clouds = world.json(&["cloud", "list"]);
    let east = clouds.as_array().unwrap().iter().find(|cloud| cloud["name"] == "east").unwrap();
    assert_eq!((east["role"].as_str(), east["policy"].as_str()), (Some("source"), Some("gold")));
    let east_config = world.config("east");
    let status = world.json(&["site", "status", "--config", &east_config]);
    assert_eq!(
        (status["term"].as_u64(), status["vault_answers"].as_bool()),
        (Some(1), Some(true)),
        "{status}"
    );
    // Nothing is wrong, and nobody is to be told.
    assert_eq!(world.json(&["alert", "list", "--state", "all"]), serde_json::json!([]));
    assert!(world.fails(&["alert", "list", "--level", "bad"]).contains("warning, critical"));
    assert!(world.fails(&["alert", "show", "00"]).contains("alert list"));
    assert!(world.fails(&["alert", "test"]).contains("no channel"));
    assert!(world.fails(&["history", "nobody"]).contains("no protection"));
    // A key for a host comes from the site server itself, and is for a host alone.
    let host_key =
        world.json(&["site", "host-key", "--config", &east_config])["key"].as_str().unwrap().to_owned();
    let third = world.path("third");
    fs::write(world.path("third.toml"), format!("data_dir = {third:?}\n")).unwrap();
    let third_config = world.config("third");
    let wrong = world.fails(&["site", "enrol", "--key", &host_key, "--config", &third_config]);
    assert!(wrong.contains("for a host") && wrong.contains("farshore-agent enrol"), "{wrong}");
    // The vault comes back: site servers go on by themselves.
    world.kill("vault");
    world.start_vault();
    // A revoked site server is refused.
    world.ok(&["site", "revoke", "west"]);
    world.until("the revoked server is told so", |world| world.log("west").contains("revoked"));
    assert!(!world.log("east").contains("revoked"), "and nobody else");
}

#[test]
fn events_are_followed_over_the_vaults_death() {
    let mut world = World::new();
    world.ok(&["vault", "init", "--config", &world.config("vault")]);
    world.start_vault();
    for name in ["east", "west"] {
        world.ok(&["site", "add", name]);
    }
    world.ok(&["cloud", "pair", "east", "west"]);
    world.ok(&["policy", "add", "gold"]);
    world.follow("events", &["event", "watch", "--of", "job", "--output", "json"]);
    world.follow("jobs", &["job", "list", "--watch"]);
    let resets = |world: &World| world.log("events").matches("\"kind\":\"reset\"").count();
    world.until("the stream begins", |world| resets(world) == 1);
    world.ok(&["cloud", "associate", "east", "--policy", "gold"]);
    world.until("the job is told of, and shown", |world| {
        let of_job =
            |line: &str| line.contains("\"kind\":\"job\"") && line.contains("\"state\":\"succeeded\"");
        world.log("events").lines().any(of_job)
            && world.log("jobs").contains("Policy 'gold' for cloud 'east'")
    });
    // The command waits the vault out, says that it may have missed something, and goes on.
    world.kill("vault");
    world.start_vault();
    world.until("the stream begins anew", |world| resets(world) == 2);
    let before = world.log("events").lines().count();
    world.ok(&["cloud", "associate", "east", "--policy", "gold"]);
    world.until("the next job is told of", |world| world.log("events").lines().count() > before);
    assert!(!world.has_ended("events") && !world.has_ended("jobs"));
}
