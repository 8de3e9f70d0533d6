//! Bad input that no other test here has: what is said, and that nothing is lost by it.

use std::fs;

use farshore_agent::control::{PointChoice, Reply, Request};
use farshore_hypervisor::Hypervisor;

use crate::world::{MACHINE, NAME, World, text};

fn verify() -> Request {
    Request::Verify { machine: NAME.to_owned(), point: PointChoice::Latest }
}

/// The same replicas as a new agent finds them.
fn another_agent(world: &World) -> std::sync::Arc<farshore_agent::Agent> {
    std::sync::Arc::new(farshore_agent::Agent::new(world.agent.config().clone()))
}

async fn ask(
    agent: &std::sync::Arc<farshore_agent::Agent>,
    request: Request,
) -> Result<Reply, farshore_agent::AgentError> {
    let stop = tokio_util::sync::CancellationToken::new();
    agent.handle(request, &farshore_agent::control::Observer::new(stop).0).await
}

/// A world whose agent has let its replica go, with so many points in it.
async fn closed_with_points(count: u64) -> (tempfile::TempDir, farshore_agent::Config, std::path::PathBuf) {
    let world = World::new().await;
    world.with_points(count).await;
    let (config, replica) = (world.agent.config().clone(), world.replica_dir());
    // Sessions let the store go in the background.
    world.stop.cancel();
    let World { dir, agent, .. } = world;
    drop(agent);
    (dir, config, replica)
}

/// Opens the replicas as a new agent, when the old one has let them go.
async fn opened(
    config: &farshore_agent::Config,
    request: fn() -> Request,
) -> Result<Reply, farshore_agent::AgentError> {
    for _ in 0..500 {
        let agent = std::sync::Arc::new(farshore_agent::Agent::new(config.clone()));
        let answer = ask(&agent, request()).await;
        // A status that cannot look says so of the replica, and fails nothing.
        let held = match &answer {
            Err(error) => error.fault().what,
            Ok(Reply::Status(status)) => status.replicas.iter().flat_map(|r| r.faults.clone()).collect(),
            Ok(_) => String::new(),
        };
        if !held.contains("in use by another agent") {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the replica is never let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_delta_file_is_named_and_moved_aside_and_older_points_stay() {
    let (_dir, config, replica) = closed_with_points(3).await;
    let newest = replica.join("chain/1-3.delta");
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.truncate(bytes.len() - 5);
    fs::write(&newest, bytes).unwrap();
    let Ok(Reply::Status(status)) = opened(&config, || Request::Status).await else { panic!() };
    let faults = status.replicas[0].faults.join("; ");
    assert!(faults.contains("1-3.delta"), "{faults}");
    assert_eq!((status.replicas[0].points, newest.exists()), (2, false));
    assert!(opened(&config, verify).await.is_ok(), "the point before it is usable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_disk_image_is_named() {
    let (_dir, config, replica) = closed_with_points(2).await;
    let (image, away) = (replica.join("vdb.qcow2"), replica.join("elsewhere"));
    fs::rename(&image, &away).unwrap();
    let error = text(opened(&config, verify).await);
    assert!(error.contains("vdb.qcow2"), "{error}");
    // Nothing was made in its place, and nothing was lost: with it back, all is well.
    assert!(!image.exists(), "an empty image in its place would pass for the disk");
    fs::rename(&away, &image).unwrap();
    let verified = opened(&config, verify).await;
    assert!(verified.is_ok(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_directory_that_cannot_be_written_refuses_the_session_and_is_named() {
    let world = World::with(|config| {
        let file = config.state_dir.parent().unwrap().join("a-file");
        fs::write(&file, "mine").unwrap();
        config.replica_dir = file.join("replicas");
    })
    .await;
    let error = world.connect(farshore_types::Epoch { number: 1, token: 1 }).await.unwrap_err().to_string();
    assert!(error.contains("a-file/replicas"), "{error}");
    let held = world.agent.config().replica_dir.parent().unwrap().to_owned();
    assert_eq!(fs::read(held).unwrap(), b"mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn bring_up_and_discard_of_what_is_not_there_change_nothing() {
    let world = World::new().await;
    world.with_points(2).await;
    let discard = Request::Discard { machine: "web9".to_owned(), force: false };
    let error = text(world.ask(discard).await);
    assert!(error.contains("'web9'") && error.contains(NAME), "{error}");
    let wanted = farshore_agent::control::BringUp {
        machine: NAME.to_owned(),
        point: PointChoice::At("1-9".parse().unwrap()),
        start: farshore_agent::control::StartChoice::Run,
        force: false,
        replace: false,
    };
    let error = text(world.ask(Request::BringUp(wanted)).await);
    assert!(error.contains("1-9") && error.contains("from 1-1 to 1-2"), "{error}");
    assert!(world.host.machine(MACHINE).await.is_err(), "nothing was defined");
    let agent = another_agent(&world);
    assert!(text(ask(&agent, verify()).await).contains("in use by another agent"));
}
