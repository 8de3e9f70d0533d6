//! The API against its own document: requests made by it, right ones and wrong ones, for
//! every operation; whatever is answered must be what the document says.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::{Value, json};

use super::{
    schema::{Random, Schemas, text},
    world::{Reply, World},
};

/// Requests for each operation.
const ROUNDS: usize = 25;

/// An operation of the document.
struct Operation {
    method: Method,
    path: String,
    says: Value,
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, says) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            all.push(Operation { method, path: path.clone(), says: says.clone() });
        }
    }
    all
}

#[tokio::test]
async fn every_operation_answers_as_the_document_says_whatever_it_is_asked() {
    let seed = std::env::var("FARSHORE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    let mut random = Random(seed);
    let schemas = Schemas::of(serde_json::from_str(&crate::vault::document()).unwrap());
    let all = operations(schemas.document());
    let world = World::with_machines(6).await;
    world.ok(Method::POST, "protections", &json!({ "machines": ["m0", "m1", "m2"] })).await;
    let mut names: Vec<String> =
        ["east", "west", "gold", "owner", "host0", "host1", "host2", "m0", "m1", "m2", "m3", "lan", "ssd"]
            .map(str::to_owned)
            .to_vec();
    let mut seen: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for operation in &all {
            // The owner's token stays: without it there is nothing more to be seen.
            if operation.path.ends_with("/events") || is_suicide(operation) {
                continue;
            }
            let (request, text) = request(&world, &schemas, operation, &mut random, &names);
            let reply = world.send(request).await;
            let told = format!("FARSHORE_SEED={seed}: {text}\n{reply:?}");
            judge(&schemas, operation, &reply, &told);
            let name = format!("{} {}", operation.method, operation.path);
            seen.entry(name).or_default().insert(reply.status.as_u16());
            learn(&reply.body, &mut names);
        }
    }
    // It was no use to nobody: most operations did what they are for, and refused too.
    let succeeded = seen.values().filter(|statuses| statuses.iter().any(|status| *status < 300)).count();
    assert!(succeeded * 10 >= seen.len() * 6, "FARSHORE_SEED={seed}: too little was done: {seen:?}");
    assert!(seen.values().flatten().collect::<BTreeSet<_>>().len() >= 5, "{seen:?}");
}

/// Removing tokens could remove the one that asks.
fn is_suicide(operation: &Operation) -> bool {
    operation.method == Method::DELETE && operation.path.ends_with("/tokens/{token}")
}

/// Ids that an answer has are names to come.
fn learn(body: &Value, names: &mut Vec<String>) {
    let items = body["items"].as_array().into_iter().flatten().chain([body]);
    for id in items.filter_map(|item| item["id"].as_str()) {
        if names.len() < 60 && !names.iter().any(|known| known == id) {
            names.push(id.to_owned());
        }
    }
}

fn judge(schemas: &Schemas, operation: &Operation, reply: &Reply, told: &str) {
    assert!(!reply.status.is_server_error(), "a fault of the vault: {told}");
    let status = reply.status.as_u16().to_string();
    let says = &operation.says["responses"][&status];
    assert!(says.is_object(), "the document does not know of {status}: {told}");
    if !reply.status.is_success() {
        assert_eq!(reply.kind, "application/problem+json", "{told}");
        assert_eq!(reply.body["status"], json!(reply.status.as_u16()), "{told}");
    }
    let schema = &says["content"][&reply.kind]["schema"];
    assert!(schema.is_object(), "the document does not know of {}: {told}", reply.kind);
    if let Err(why) = schemas.check(schema, &reply.body) {
        panic!("{why}: {told}");
    }
}

fn request(
    world: &World,
    schemas: &Schemas,
    operation: &Operation,
    random: &mut Random,
    names: &[String],
) -> (Request<Body>, String) {
    let mut path = operation.path.trim_start_matches("/api/v1/").to_owned();
    let mut query = Vec::new();
    let mut key = None;
    for parameter in operation.says["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let made = schemas.make(&parameter["schema"], random, names, 0);
        let value = made.as_str().map_or_else(|| made.to_string(), str::to_owned);
        match parameter["in"].as_str().unwrap() {
            // An empty part of a path is another path.
            "path" if random.one_in(2) => {
                path = path.replace(&format!("{{{name}}}"), random.pick::<&str>(known(name)));
            }
            "path" if value.is_empty() => path = path.replace(&format!("{{{name}}}"), "x"),
            "path" => path = path.replace(&format!("{{{name}}}"), &escaped(&value)),
            "query" if parameter["required"] == json!(true) || random.one_in(3) => {
                query.push(format!("{name}={}", escaped(&value)));
            }
            "query" => {}
            _ => key = Some(value).filter(|_| random.one_in(4)),
        }
    }
    if random.one_in(20) {
        query.push(format!("{}=1", escaped(&text(random, names))));
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let body = body(schemas, operation, random, names);
    let told = format!("{} {path} {}", operation.method, String::from_utf8_lossy(&body));
    let mut request = world.request(operation.method.clone(), &path);
    if let Some(key) = key.and_then(|key| axum::http::HeaderValue::from_str(&key).ok()) {
        request = request.header("idempotency-key", key);
    }
    (request.body(Body::from(body)).unwrap(), told)
}

/// What there is of a kind, at the beginning.
fn known(kind: &str) -> &'static [&'static str] {
    match kind {
        "site" | "cloud" => &["east", "west"],
        "host" => &["host0", "host1", "host2", "host3"],
        "policy" => &["gold"],
        "machine" => &["m0", "m1", "m2", "m3"],
        _ => &["owner"],
    }
}

/// A body as the document wants it; sometimes another one, or none.
fn body(schemas: &Schemas, operation: &Operation, random: &mut Random, names: &[String]) -> Vec<u8> {
    let schema = &operation.says["requestBody"]["content"]["application/json"]["schema"];
    if !schema.is_object() {
        return Vec::new();
    }
    let mut value = schemas.make(schema, random, names, 0);
    if random.one_in(6)
        && let Some(fields) = value.as_object_mut()
    {
        let name = fields.keys().nth(random.below(fields.len())).cloned().unwrap_or_default();
        let wrong = random.pick(&[json!(null), json!(-1), json!([]), json!({}), json!("x")]).clone();
        fields.insert(name, wrong);
    }
    let mut bytes = serde_json::to_vec(&value).unwrap();
    if random.one_in(12) {
        bytes.truncate(random.below(bytes.len() + 1));
    }
    bytes
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn what_the_document_does_not_say_is_told_as_a_fault() {
    // The judge itself: a wrong field, a status that is not there, a fault.
    let schemas = Schemas::of(serde_json::from_str(&crate::vault::document()).unwrap());
    let all = operations(schemas.document());
    let show = all.iter().find(|one| one.says["operationId"] == "show_site").unwrap();
    let judged = |status: StatusCode, kind: &str, body: Value| {
        let reply = Reply { status, kind: kind.to_owned(), body };
        std::panic::catch_unwind(|| judge(&schemas, show, &reply, "")).is_ok()
    };
    let site = json!({ "id": uuid::Uuid::nil(), "name": "a", "clouds": [], "hosts": 0 });
    assert!(judged(StatusCode::OK, "application/json", site.clone()));
    let mut wrong = site.clone();
    wrong["hosts"] = json!("many");
    assert!(!judged(StatusCode::OK, "application/json", wrong));
    assert!(!judged(StatusCode::OK, "text/plain", site.clone()));
    assert!(!judged(StatusCode::ACCEPTED, "application/json", site));
    assert!(!judged(StatusCode::INTERNAL_SERVER_ERROR, "application/problem+json", json!({})));
}
