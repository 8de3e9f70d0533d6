//! The local socket: the same answers as in the process, events on the way, good ends.

use std::{os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use farshore_agent::control::{self, Event, Observer, PointChoice, Request, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::world::{NAME, World, text};

/// The world's agent behind its socket.
async fn serve(world: &World) -> std::path::PathBuf {
    let path = world.agent.config().socket_path();
    let listener = control::bind(&path).unwrap();
    tokio::spawn(control::serve(listener, Arc::clone(&world.agent), world.stop.clone()));
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_through_the_socket_and_without_it() {
    let world = World::new().await;
    world.with_points(3).await;
    let path = serve(&world).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let requests = [Request::Points { machine: None }, Request::Machines];
    for request in requests {
        let running = Running::find(&path).await.unwrap().expect("an agent listens");
        let (observer, _events) = Observer::new(CancellationToken::new());
        let through = control::ask(running, request.clone(), &observer).await.unwrap();
        assert_eq!(through, world.ask(request).await.unwrap());
    }
    let running = Running::find(&path).await.unwrap().unwrap();
    let (observer, mut events) = Observer::new(CancellationToken::new());
    let verify = Request::Verify { machine: NAME.to_owned(), point: PointChoice::Latest };
    control::ask(running, verify, &observer).await.unwrap();
    assert!(matches!(events.try_recv(), Ok(Event::Advance { .. })));

    let unknown = Request::Discard { machine: "web2".to_owned(), force: false };
    let running = Running::find(&path).await.unwrap().unwrap();
    let through = text(control::ask(running, unknown.clone(), &observer).await);
    assert_eq!(through, text(world.ask(unknown).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_agent_listens_that_is_known_and_no_error() {
    let world = World::new().await;
    let path = world.agent.config().socket_path();
    assert!(Running::find(&path).await.unwrap().is_none());
    serve(&world).await;
    assert!(Running::find(&path).await.unwrap().is_some());
    world.stop.cancel();
    for _ in 0..100 {
        if Running::find(&path).await.unwrap().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(Running::find(&path).await.unwrap().is_none(), "a socket left behind is no agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_and_another_version_are_answered_with_what_to_do() {
    let world = World::new().await;
    let path = serve(&world).await;
    for nonsense in ["nonsense\n", "{\"version\":99,\"request\":\"machines\"}\n", "{\"version\":1}\n"] {
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("failed") && answer.contains("same release"), "{answer}");
    }
}
