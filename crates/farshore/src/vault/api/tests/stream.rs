//! The stream of events.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use farshore_control::report::SourcePhase;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use super::world::World;

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a stream until some text is in it.
async fn read(body: &mut Body, until: &str) -> String {
    let mut text = String::new();
    let end = Instant::now() + PATIENCE;
    while !text.contains(until) {
        // A stream that has nothing to tell shows that it lives, again and again.
        let frame = timeout_at(end, body.frame()).await;
        let frame = frame.unwrap_or_else(|_| panic!("no '{until}' in {text}")).unwrap().unwrap();
        text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
    }
    text
}

async fn follow(world: &World, last: Option<&str>) -> Body {
    let mut request = world.request(Method::GET, "events");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

fn last_id(text: &str) -> &str {
    text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap()
}

#[tokio::test]
async fn what_changes_is_heard_and_nothing_of_it_is_missed_over_a_cut() {
    let world = World::with_machines(2).await;
    let mut stream = follow(&world, None).await;
    let begin = read(&mut stream, "event: reset").await;
    world.ok(Method::POST, "protections", &json!({ "machines": ["m0", "m1"] })).await;
    let enabled = read(&mut stream, "\"name\":\"m1\"").await;
    assert!(enabled.contains("\"state\":\"starting\""), "{enabled}");
    // Cut off; what happens meanwhile is told to who comes back.
    drop(stream);
    world.says(0, SourcePhase::Replicating).await;
    let mut stream = follow(&world, Some(last_id(&enabled))).await;
    let changed = read(&mut stream, "\"state\":\"replicating\"").await;
    assert!(changed.contains("\"name\":\"m0\"") && !changed.contains("reset"), "{changed}");
    world.ok(Method::DELETE, "protections/m1?replica=keep", &json!(null)).await;
    read(&mut stream, "event: protection-ended").await;
    // From the beginning on, everything again; after what is not known, a reset.
    let mut again = follow(&world, Some(last_id(&begin))).await;
    let all = read(&mut again, "protection-ended").await;
    assert!(all.contains("\"state\":\"starting\"") && all.contains("\"state\":\"replicating\""), "{all}");
    let mut lost = follow(&world, Some("another-7")).await;
    assert!(read(&mut lost, "\n\n").await.contains("event: reset"));
}

#[tokio::test]
async fn jobs_are_told_of_as_they_change() {
    let world = World::with_machines(1).await;
    let mut stream = follow(&world, None).await;
    read(&mut stream, "event: reset").await;
    world.ok(Method::POST, "protections", &json!({ "machines": ["m0"] })).await;
    let begun = read(&mut stream, "event: job").await;
    assert!(begun.contains("\"state\":\"running\""), "{begun}");
    let job = world.get("jobs?state=open").await["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(begun.contains(&job), "{begun}");
    // Its hosts say nothing: it is taken back for as long as that takes.
    world.ok(Method::DELETE, "protections/m0?replica=keep", &json!(null)).await;
    read(&mut stream, "event: protection-ended").await;
}

#[tokio::test]
async fn a_host_that_is_heard_of_for_the_first_time_is_told_of_once() {
    let world = World::with_machines(0).await;
    let mut stream = follow(&world, None).await;
    read(&mut stream, "event: reset").await;
    world.add_host(7, "west", Vec::new()).await;
    let seen = read(&mut stream, "event: host").await;
    assert!(seen.contains("\"name\":\"host7\"") && seen.contains("\"contact\":\"seen\""), "{seen}");
    // It goes on speaking, which is no news; the next thing is.
    world.add_host(8, "west", Vec::new()).await;
    let next = read(&mut stream, "\"name\":\"host8\"").await;
    assert!(!next.contains("host7"), "{next}");
}
