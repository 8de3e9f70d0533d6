//! Orders of a protection's life: what is allowed is shown, and what is not is refused by the
//! same words and changes nothing.

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{World, machine_id, replica};

async fn protected() -> World {
    let world = World::with_machines(2).await;
    world.ok(Method::POST, "protections", &json!({ "machines": ["m0"], "target": "host2" })).await;
    world
}

/// What is answered to every operation, by its name.
async fn operations(world: &World) -> Vec<Value> {
    let shown = world.get("protections/m0").await;
    shown["details"]["operations"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_protection_shows_what_can_be_ordered_and_for_the_rest_why_not_and_what_instead() {
    let world = protected().await;
    let all = operations(&world).await;
    assert_eq!(all.len(), 20);
    for one in &all {
        let allowed = one["allowed"].as_bool().unwrap();
        assert_eq!(one["why"].is_null(), allowed, "{one}");
        assert_eq!(one["instead"].is_null(), allowed, "{one}");
    }
    let listed = world.get("protections").await;
    assert!(listed["items"][0]["details"].is_null(), "a list is short");
    assert_eq!(listed["items"][0]["life"], "seeding");
}

#[tokio::test]
async fn what_is_refused_is_refused_as_it_is_shown() {
    let world = protected().await;
    let version = world.get("protections/m0").await["version"].clone();
    let body = |operation: &str| match operation {
        "commit" | "cancel" => json!({ "version": version }),
        "change-point" => json!({ "version": version, "point": "1-1" }),
        "declare-winner" => json!({ "host": "host2" }),
        _ => json!({}),
    };
    let own = ["enable", "disable", "pause", "resume", "resync"];
    let (mut refused, mut already) = (0, 0);
    for one in operations(&world).await {
        let operation = one["operation"].as_str().unwrap();
        if own.contains(&operation) || one["allowed"] == true {
            continue;
        }
        let path = format!("protections/m0/{operation}");
        let bare = ["reverse", "complete", "abort", "stop-flatten"].contains(&operation);
        let body = body(operation);
        let told = world.ask(Method::POST, &path, (!bare).then_some(&body)).await.body;
        match told["code"].as_str() {
            Some(code) => {
                assert_eq!(Some(code), one["code"].as_str(), "{operation}: {told}");
                refused += 1;
            }
            // It is so already.
            None => {
                assert_eq!(
                    (told["changed"].as_bool(), &told["warnings"][0]["code"]),
                    (Some(false), &one["code"])
                );
                already += 1;
            }
        }
    }
    assert!(refused >= 7 && already >= 4, "{refused} {already}");
    assert_eq!(world.get("protections/m0").await["version"], version);
}

#[tokio::test]
async fn orders_that_make_no_sense_are_told_by_what() {
    let world = protected().await;
    let post = |path: &'static str, body: Value, code: &'static str| {
        let world = &world;
        async move { world.refused(Method::POST, &format!("protections/m0/{path}"), &body, code).await }
    };
    post("unplanned-failover", json!({ "point": "yesterday" }), "point").await;
    post("test-failover", json!({ "hours": 0 }), "hours").await;
    post("test-failover", json!({ "network": "lab", "own_network": true }), "network").await;
    post("change-point", json!({ "version": 1, "point": "x" }), "point").await;
    post("declare-winner", json!({ "host": "nobody" }), "host-unknown").await;
    post("flatten", json!({ "at_ms": 1_577_836_800_000_u64 }), "past").await;
    post("commit", json!({ "version": 99 }), "changed-meanwhile").await;
    post("commit", json!({}), "bad-request").await;
    let unknown = format!("protections/{}/failback", machine_id(99));
    world.refused(Method::POST, &unknown, &json!({}), "protection-unknown").await;
}

#[tokio::test]
async fn addresses_and_notes_are_shown_and_points_of_a_silent_host_are_told_as_such() {
    let world = protected().await;
    let body = json!({ "home": "10.0.0.5", "away": "fd00::5" });
    let put = "protections/m0/addresses/52:54:00:00:00:01";
    assert_eq!(world.ask(Method::PUT, put, Some(&body)).await.body["changed"], true);
    let shown = world.get("protections/m0").await["details"]["addresses"][0].clone();
    assert_eq!((&shown["card"], &shown["away"]), (&json!("52:54:00:00:00:01"), &json!("fd00::5")));
    world.refused(Method::PUT, "protections/m0/addresses/eth0", &body, "card").await;
    world.refused(Method::PUT, put, &json!({ "home": "nowhere" }), "bad-request").await;
    let told = world.ask(Method::GET, "protections/m0/points", None).await.body;
    assert!(["no-points", "target-away", "points"].iter().any(|code| told["code"] == *code), "{told}");
    let told = world.ask(Method::GET, "protections/m0/points?cursor=x", None).await.body;
    assert_eq!(told["code"], "cursor");
}

#[tokio::test]
async fn a_point_that_is_named_is_asked_of_its_host_before_anything_happens() {
    let there: &[u64] = &[1, 3, 9];
    for confirm in [json!(["data-loss", "may-still-run"]), json!([])] {
        let world = protected().await;
        world.tells(0, 1, move |report| report.replicas = vec![replica(machine_id(0), there)]).await;
        let version = world.get("protections/m0").await["version"].clone();
        let order = async |point: &str| {
            let body = json!({ "point": point, "confirm": confirm });
            let path = "protections/m0/unplanned-failover";
            let asked = world.ask(Method::POST, path, Some(&body));
            tokio::join!(asked, world.answers_with(0, there)).0.body
        };
        let thinned = order("1-4").await;
        assert_eq!(thinned["code"], "point-unknown");
        assert!(thinned.to_string().contains("1-3"), "{thinned}");
        assert_eq!(world.get("protections/m0").await["version"], version, "nothing happened");
        let found = order("1-3").await;
        match confirm.as_array().unwrap().is_empty() {
            true => assert_eq!(found["code"], "confirm-data-loss", "{found}"),
            false => assert_eq!(found["changed"], true, "{found}"),
        }
        assert!(confirm != json!([]) || found.to_string().contains("the last 62 s"), "{found}");
    }
}
