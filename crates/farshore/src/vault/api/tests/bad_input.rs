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
