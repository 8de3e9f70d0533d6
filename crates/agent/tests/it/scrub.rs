//! The scrub of a serving agent, and what it shows.

use std::{fs, path::Path, sync::Arc, time::Duration};

use farshore_agent::{
    Agent,
    config::CheckReceived,
    control::{ReplicaLine, Reply, Request},
};
use farshore_types::{CLUSTER_SIZE, Digest};
use farshore_wire::{Body, CycleKind, DiskSize, OpenCycle, Record};
use tokio_util::sync::CancellationToken;

use crate::{
    serving::serving,
    world::{MACHINE, NAME, SIZE, World, key, text},
};

fn flip_last(image: &Path) {
    let mut bytes = fs::read(image).unwrap();
    // In the data of the newest point, which lies last.
    let at = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[at] ^= 1;
    fs::write(image, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serving_agent_reads_what_it_keeps_and_names_what_has_decayed() {
    let world = World::new().await;
    let (_, points) = world.with_points(3).await;
    let newest = points[2].0;
    flip_last(&world.replica_dir().join("vda.qcow2"));
    let (_dir, serving) = serving(world).await;
    let line = serving
        .until("data is read", |l| l.scrub.as_ref().is_some_and(|s| s.data_checked_ms.is_some()))
        .await;
    let scrub = line.scrub.unwrap();
    assert!(scrub.decayed == 1 && !scrub.reading, "{scrub:?}");
    let fault = line.faults.join("; ");
    assert!(fault.contains("disk vda") && fault.contains(&newest.to_string()), "{fault}");
    let config = serving.agent.config().clone();
    serving.end().await;
    // What was found is not forgotten with the agent.
    let again = Arc::new(Agent::new(config));
    let observer = farshore_agent::control::Observer::new(CancellationToken::new()).0;
    let Ok(Reply::Status(status)) = again.handle(Request::Status, &observer).await else { panic!() };
    assert_eq!(status.replicas[0].faults.join("; "), fault);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cycle_of_a_source_that_was_lost_is_given_up() {
    let world = World::new().await;
    let (source, _) = world.with_points(2).await;
    let mut session = world.connect(source.epoch).await.unwrap();
    let disks = ["vda", "vdb"].map(|name| DiskSize { key: key(name), size: SIZE as u64 });
    let open = OpenCycle { cycle: 9, kind: CycleKind::Delta, base: source.last(), disks: disks.into() };
    session.open_cycle(open).await.unwrap();
    let replica = world.agent.replicas().get(MACHINE).await.unwrap().unwrap();
    while !replica.run(|store| store.is_taking_cycle()).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(session);
    // Not before its session is known to be lost, and not early.
    while !replica.give_up_held(Duration::ZERO).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!replica.run(|store| store.is_taking_cycle()).await);
    assert!(!replica.give_up_held(Duration::ZERO).await, "there is none any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tables_are_mended_and_counted() {
    let world = World::new().await;
    let (_, points) = world.with_points(3).await;
    let replica = world.agent.replicas().get(MACHINE).await.unwrap().unwrap();
    let newest = points[2].0;
    replica.run(move |store| store.publish(newest)).await.unwrap();
    drop(replica);
    let image = world.replica_dir().join("vda.qcow2");
    let mut bytes = fs::read(&image).unwrap();
    let word = |bytes: &[u8], at: usize| {
        usize::try_from(u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
    };
    let block = word(&bytes, word(&bytes, 48));
    bytes[block + 7] ^= 1;
    fs::write(&image, bytes).unwrap();
    let (_dir, serving) = serving(world).await;
    let mended = |l: &ReplicaLine| {
        l.scrub.as_ref().is_some_and(|s| s.tables_mended == 1 && s.data_checked_ms.is_some())
    };
    serving.until("tables are mended", mended).await;
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_unpack_to_its_digest_is_refused_as_configured() {
    for (check, kind, taken) in [
        (CheckReceived::Changes, CycleKind::Delta, false),
        (CheckReceived::Changes, CycleKind::Initial, true),
        (CheckReceived::All, CycleKind::Initial, false),
        (CheckReceived::None, CycleKind::Delta, true),
    ] {
        let world = World::checking(check).await;
        let (source, _) = world.with_points(1).await;
        let mut session = world.connect(source.epoch).await.unwrap();
        let welcome = session.welcome();
        let open = OpenCycle { cycle: 5, kind, base: welcome.last, disks: welcome.disks.clone() };
        session.open_cycle(open).await.unwrap();
        let packed = zstd::bulk::compress(&vec![1; CLUSTER_SIZE], 1).unwrap();
        let lie =
            Record { cluster: 0, digest: Digest::of(b"something else"), body: Body::Zstd(packed.into()) };
        let sent = session.send(0, vec![lie]).await;
        let root = farshore_types::RootDigest::NONE;
        let outcome = farshore_wire::Outcome::Stage;
        let sealed = match sent {
            Err(error) => Err(error),
            Ok(()) => session.seal(outcome, std::time::Instant::now(), root, bytes::Bytes::new()).await,
        };
        let error = sealed.unwrap_err().to_string();
        // Where it is taken, the root that is wrong here is what ends the cycle.
        let expected = if taken { "root digest" } else { "bad record" };
        assert!(error.contains(expected), "{check:?}, {kind:?}: {error}");
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rescued_points_are_named_and_dropped_on_demand() {
    let mut world = World::new().await;
    let (_, points) = world.with_points(3).await;
    let replica = world.agent.replicas().get(MACHINE).await.unwrap().unwrap();
    let (first, newest) = (points[0].0, points[2].0);
    replica.run(move |store| store.publish(newest)).await.unwrap();
    let delta = world.replica_dir().join(format!("chain/{newest}.delta"));
    let mut bytes = fs::read(&delta).unwrap();
    bytes[100] ^= 1;
    fs::write(&delta, bytes).unwrap();
    // As the next start of the agent finds it.
    let before = std::mem::replace(&mut world, World::new().await);
    copy_tree(&before.replica_dir(), &world.replica_dir());
    let Ok(Reply::Status(status)) = world.ask(Request::Status).await else { panic!() };
    let fault = status.replicas[0].faults.join("; ");
    assert!(fault.contains(&newest.to_string()) && fault.contains("drop-rescued"), "{fault}");
    let drop_rescued = |points| Request::DropRescued { machine: NAME.to_owned(), points };
    let error = text(world.ask(drop_rescued(vec![first])).await);
    assert!(error.contains("not a rescued point") && error.contains(&newest.to_string()), "{error}");
    let Ok(Reply::RescuedDropped(dropped)) = world.ask(drop_rescued(Vec::new())).await else { panic!() };
    assert_eq!((dropped.points, dropped.left), (vec![newest], Vec::new()));
}
