//! Whatever is wrong with a request is told as a problem, and nothing is changed by it.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::{Value, json};

use super::world::{World, machine_id};

const NO_BODY: Value = Value::Null;

#[tokio::test]
async fn what_cannot_be_is_refused_with_a_reason_and_changes_nothing() {
    let world = World::with_machines(4).await;
    let (post, put, patch, delete) = (Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    // Names that are taken.
    world.refused(post.clone(), "sites", &json!({ "name": "East" }), "name-taken").await;
    world.refused(post.clone(), "clouds", &json!({ "site": "east", "name": "east" }), "name-taken").await;
    world.refused(post.clone(), "policies", &json!({ "name": "gold" }), "name-taken").await;
    world.refused(post.clone(), "tokens", &json!({ "name": "owner" }), "name-taken").await;
    world.refused(put.clone(), "sites/west/name", &json!({ "name": "east" }), "name-taken").await;
    // A pair more.
    world.ok(post.clone(), "clouds", &json!({ "site": "west", "name": "third" })).await;
    world.refused(put.clone(), "clouds/east/pair", &json!({ "target": "third" }), "cloud-paired").await;
    world.refused(put.clone(), "clouds/east/pair", &json!({ "target": "east" }), "cloud-pair").await;
    // Values out of range: every one of them is named.
    let wrong = json!({ "name": "bad", "settings": { "copy_frequency_secs": 0, "points_max": 0 } });
    let told = world.refused(post.clone(), "policies", &wrong, "policy-invalid").await;
    assert!(told["findings"].as_array().unwrap().len() >= 2, "{told}");
    world.refused(patch, "policies/gold", &json!({ "points_max": 99_999_999 }), "policy-invalid").await;
    // What is in use says by what.
    world.ok(post.clone(), "protections", &json!({ "machines": ["m0"] })).await;
    let told = world.refused(delete.clone(), "policies/gold", &NO_BODY, "in-use").await;
    assert!(told["detail"].as_str().unwrap().contains("cloud 'east'"), "{told}");
    let told = world.refused(delete.clone(), "sites/east", &NO_BODY, "in-use").await;
    assert!(told["detail"].as_str().unwrap().contains("host 'host0'"), "{told}");
    let told = world.refused(delete.clone(), "hosts/host0", &NO_BODY, "in-use").await;
    assert!(told["detail"].as_str().unwrap().contains("machine 'm0'"), "{told}");
    let told = world.refused(delete.clone(), "clouds/east/pair", &NO_BODY, "in-use").await;
    assert!(told["detail"].as_str().unwrap().contains("machine 'm0'"), "{told}");
    // A machine that is protected, alone and among others: none of them is.
    for machines in [json!(["m0"]), json!(["m2", "m0"])] {
        let told =
            world.refused(post.clone(), "protections", &json!({ "machines": machines }), "preflight").await;
        let named = |one: &Value| one["severity"] == "error" && one["what"].to_string().contains("m0");
        assert!(told["findings"].as_array().unwrap().iter().any(named), "{told}");
    }
    // What there is not.
    let told = world.refused(delete.clone(), "sites/eats", &NO_BODY, "site-unknown").await;
    assert_eq!((told["status"].as_u64(), told["advice"].as_str()), (Some(404), Some("did you mean 'east'?")));
    for path in ["clouds", "hosts", "machines", "policies", "protections"] {
        let one = path.trim_end_matches('s').replace("policie", "policy");
        let unknown = machine_id(99).to_string();
        world.refused(Method::GET, &format!("{path}/{unknown}"), &NO_BODY, &format!("{one}-unknown")).await;
    }
}

#[tokio::test]
async fn renaming_to_a_name_that_is_taken_is_refused_of_everything_that_has_one() {
    let world = World::with_machines(0).await;
    world.ok(Method::POST, "policies", &json!({ "name": "silver" })).await;
    world.ok(Method::POST, "clouds", &json!({ "site": "west", "name": "third" })).await;
    for (path, name) in [
        ("sites/west", "EAST"),
        ("clouds/third", "west"),
        ("hosts/host0", "host1"),
        ("policies/silver", "gold"),
    ] {
        let path = format!("{path}/name");
        let told = world.refused(Method::PUT, &path, &json!({ "name": name }), "name-taken").await;
        assert!(told["advice"].as_str().unwrap().contains("another name"), "{told}");
        world.refused(Method::PUT, &path, &json!({ "name": "a/b" }), "name").await;
    }
}

#[tokio::test]
async fn orders_about_what_there_is_not_are_refused_of_every_kind() {
    let world = World::with_machines(1).await;
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    let unknown = machine_id(99).to_string();
    let cases = [
        (delete.clone(), format!("clouds/{unknown}"), json!(null), "cloud-unknown"),
        (delete.clone(), format!("policies/{unknown}"), json!(null), "policy-unknown"),
        (delete.clone(), format!("tokens/{unknown}"), json!(null), "token-unknown"),
        (delete.clone(), format!("protections/{unknown}"), json!(null), "protection-unknown"),
        (post.clone(), format!("protections/{unknown}/pause"), json!(null), "protection-unknown"),
        (post.clone(), format!("protections/{unknown}/resync"), json!(null), "protection-unknown"),
        (post.clone(), format!("protections/{unknown}/move"), json!({}), "protection-unknown"),
        (post.clone(), format!("protections/{unknown}/forget"), json!(null), "protection-unknown"),
        (post.clone(), format!("jobs/{unknown}/cancel"), json!(null), "job-unknown"),
        (post.clone(), format!("hosts/{unknown}/forget"), json!(null), "host-unknown"),
        (post.clone(), format!("sites/{unknown}/forget"), json!(null), "site-unknown"),
        (put.clone(), format!("hosts/{unknown}/maintenance"), json!(null), "host-unknown"),
        (put.clone(), format!("hosts/{unknown}/cloud"), json!({ "cloud": "east" }), "host-unknown"),
        (put.clone(), "hosts/host0/cloud".to_owned(), json!({ "cloud": unknown }), "cloud-unknown"),
        (put.clone(), "clouds/east/policy".to_owned(), json!({ "policy": unknown }), "policy-unknown"),
        (post.clone(), "protections".to_owned(), json!({ "machines": [unknown] }), "machine-unknown"),
        (
            post.clone(),
            "protections".to_owned(),
            json!({ "machines": ["m0"], "target": unknown }),
            "host-unknown",
        ),
        (delete.clone(), format!("hosts/{unknown}/replicas/m0"), json!(null), "host-unknown"),
        (delete.clone(), "hosts/host2/replicas/m0".to_owned(), json!(null), "replica-unknown"),
    ];
    for (method, path, body, code) in cases {
        let told = world.refused(method, &path, &body, code).await;
        assert_eq!(told["status"], 404, "{path}: {told}");
        assert!(!told["advice"].as_str().unwrap().is_empty(), "{path}: {told}");
    }
}

#[tokio::test]
async fn what_is_lost_moved_or_rested_is_refused_where_it_makes_no_sense() {
    let world = World::with_machines(2).await;
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    world.ok(post.clone(), "protections", &json!({ "machines": ["m0"], "target": "host2" })).await;
    // Everybody answers.
    world.refused(post.clone(), "protections/m0/forget", &NO_BODY, "hosts-answer").await;
    world.refused(post.clone(), "hosts/host2/forget", &NO_BODY, "host-answers").await;
    world.refused(post.clone(), "sites/west/forget", &NO_BODY, "host-answers").await;
    // There is nothing yet that could be moved.
    world.refused(post.clone(), "protections/m0/move", &json!({ "to": "host3" }), "initial-copy").await;
    world.refused(post.clone(), "protections/m0/move", &json!({ "where": "host3" }), "bad-request").await;
    world.refused(put, "hosts/host2/maintenance?replicas=away", &NO_BODY, "query").await;
    let told = world.ok(Method::PUT, "hosts/host2/maintenance?replicas=move", &NO_BODY).await;
    assert!(told["warnings"][0]["what"].as_str().unwrap().contains("stays"), "{told}");
    let host = world.get("hosts/host2").await;
    assert_eq!((host["maintenance"].as_bool(), &host["health"]["level"]), (Some(true), &json!("normal")));
    assert_eq!(host["health"]["reasons"][0]["code"], "maintenance");
    world.ok(delete, "hosts/host2/maintenance", &NO_BODY).await;
    // Ended by force: it is said what is left where, and a job tells who has stopped.
    let told = world.ok(post.clone(), "protections/m0/forget?force=true", &NO_BODY).await;
    assert_eq!(told["warnings"].as_array().unwrap().len(), 2, "{told}");
    let job = world.get(&format!("jobs/{}", told["jobs"][0].as_str().unwrap())).await;
    assert_eq!(job["kind"], "forget");
    assert_eq!(world.get("protections").await["items"], json!([]));
    assert_eq!(world.get("replicas").await["items"], json!([]), "nobody has reported one");
}

#[tokio::test]
async fn what_cannot_be_read_is_a_problem_too() {
    let world = World::empty().await;
    let cases = [
        (Method::POST, "sites", "{", 400, "bad-request"),
        (Method::POST, "sites", "{\"name\": 5}", 400, "bad-request"),
        (Method::POST, "sites", "{\"name\": \"a\", \"colour\": \"red\"}", 400, "bad-request"),
        (Method::GET, "sites?limit=many", "", 400, "query"),
        (Method::GET, "sites?colour=red", "", 400, "query"),
        (Method::GET, "sites?limit=0", "", 422, "limit"),
        (Method::GET, "sites?cursor=x", "", 422, "cursor"),
        (Method::GET, "sites/%FF", "", 400, "path"),
        (Method::GET, "nothing", "", 404, "path-unknown"),
        (Method::POST, "commands", "{}", 404, "path-unknown"),
        (Method::PATCH, "sites", "{}", 405, "method"),
    ];
    for (method, path, body, status, code) in cases {
        let request = world.request(method.clone(), path).body(Body::from(body)).unwrap();
        let reply = world.send(request).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.body["code"]),
            (status, &json!(code)),
            "{method} {path} {body}"
        );
        assert_eq!(reply.kind, "application/problem+json", "{method} {path} {body}");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_told_but_the_document() {
    let world = World::empty().await;
    for path in ["status", "sites", "sites/east", "events"] {
        let request = Request::get(format!("/api/v1/{path}")).body(Body::empty()).unwrap();
        let reply = world.send(request).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(reply.body["code"], "token-required");
    }
    let request = Request::get("/api/v1/openapi.json").body(Body::empty()).unwrap();
    assert_eq!(world.send(request).await.body["info"]["title"], "Farshore");
}

#[tokio::test]
async fn an_order_under_one_key_is_done_once() {
    let world = World::with_machines(0).await;
    let order = |method: Method, path: &str, key: &str, body: Value| {
        let request = world.request(method, path).header("idempotency-key", key);
        world.send(request.body(Body::from(body.to_string())).unwrap())
    };
    let add = json!({ "name": "north" });
    let first = order(Method::POST, "sites", "key-1", add.clone()).await;
    let again = order(Method::POST, "sites", "key-1", add).await;
    assert!(first.body["id"].is_string() && first.body == again.body, "{first:?} {again:?}");
    let other = order(Method::POST, "sites", "key-1", json!({ "name": "south" })).await;
    assert_eq!((other.status, &other.body["code"]), (StatusCode::CONFLICT, &json!("idempotency-key")));
    // What is ordered by its name is gone by that name when the answer was lost.
    let gone = order(Method::DELETE, "sites/north", "key-2", Value::Null).await;
    let again = order(Method::DELETE, "sites/north", "key-2", Value::Null).await;
    assert!(gone.status.is_success() && gone.body == again.body, "{gone:?} {again:?}");
    let afresh = order(Method::DELETE, "sites/north", "key-3", Value::Null).await;
    assert_eq!(afresh.status, StatusCode::NOT_FOUND);
    let endless = order(Method::DELETE, "sites/west", &"k".repeat(129), Value::Null).await;
    assert_eq!(endless.body["code"], "idempotency-key");
}
