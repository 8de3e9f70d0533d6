//! Points as they are listed and verified.

use std::fs;

use farshore_agent::control::{Event, Observer, PointChoice, Reply, Request};
use tokio_util::sync::CancellationToken;

use crate::world::{MACHINE, NAME, World, text};

fn verify(point: PointChoice) -> Request {
    Request::Verify { machine: NAME.to_owned(), point }
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_points_are_listed_and_their_digests_hold() {
    let world = World::new().await;
    let (_, points) = world.with_points(4).await;
    let Ok(Reply::Points(listed)) = world.ask(Request::Points { machine: None }).await else { panic!() };
    assert_eq!((listed[0].id, listed[0].machine.as_str()), (MACHINE, NAME));
    let ids: Vec<_> = listed[0].points.iter().map(|p| p.id).collect();
    assert_eq!(ids, points.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    for (id, _) in &points {
        let (reply, events) = world.ask_with(verify(PointChoice::At(*id))).await;
        let Ok(Reply::Verified(verified)) = reply else { panic!("{reply:?}") };
        assert!(verified.checked > 0 && verified.point == *id, "{verified:?}");
        let Some(Event::Advance { done, total, .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(done, total);
    }
    let Ok(Reply::Status(status)) = world.ask(Request::Status).await else { panic!() };
    let line = &status.replicas[0];
    assert_eq!((line.points, line.newest, line.state.as_str()), (4, ids.last().copied(), "receiving"));
    assert!(line.rpo_ms.is_some_and(|rpo| rpo < 60_000) && !status.running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_found_and_named_and_other_points_stay() {
    let world = World::new().await;
    let (_, points) = world.with_points(3).await;
    let image = world.replica_dir().join("vda.qcow2");
    let mut bytes = fs::read(&image).unwrap();
    // In the data of the newest point, which lies last.
    let at = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[at] ^= 1;
    fs::write(&image, bytes).unwrap();
    let error = text(world.ask(verify(PointChoice::Latest)).await);
    assert!(error.contains("disk 'vda'") && error.contains(&points[2].0.to_string()), "{error}");
    assert!(world.ask(verify(PointChoice::At(points[0].0))).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_with_what_there_is() {
    let world = World::new().await;
    let machine = || "web2".to_owned();
    let error = text(world.ask(Request::Verify { machine: machine(), point: PointChoice::Latest }).await);
    assert!(error.contains("'web2'") && error.contains("none at all"), "{error}");
    world.with_points(2).await;
    let error = text(world.ask(Request::Points { machine: Some(machine()) }).await);
    assert!(error.contains("'web2'") && error.contains(NAME), "{error}");
    let error = text(world.ask(verify(PointChoice::At("1-9".parse().unwrap()))).await);
    assert!(error.contains("1-9") && error.contains("from 1-1 to 1-2"), "{error}");
    assert!(world.ask(Request::Points { machine: Some(MACHINE.to_string()) }).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_is_stopped_reads_no_more() {
    let world = World::new().await;
    world.with_points(1).await;
    let (observer, _events) = Observer::new(CancellationToken::new());
    observer.stop.cancel();
    let error = text(world.agent.handle(verify(PointChoice::Latest), &observer).await);
    assert!(error.contains("stopped on request"), "{error}");
    let replica = world.agent.replicas().get(MACHINE).await.unwrap().unwrap();
    assert!(!replica.run(|store| store.is_read()).await, "the reader is gone when the answer comes");
}
