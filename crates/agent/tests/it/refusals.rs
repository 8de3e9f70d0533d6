//! Sessions and stores that must be refused, and what is said.

use std::{fs, time::Duration};

use farshore_agent::{
    Agent,
    control::{Observer, Request},
};
use farshore_link::{Endpoint, Greeting, Identity, Session, SessionOptions};
use farshore_pki::{Authority, Lifetime};
use farshore_types::Epoch;
use std::sync::Arc;

use crate::world::{MACHINE, NAME, Source, World, a_day, text};

async fn connect_as(world: &World, authority: &Authority, lifetime: Lifetime) -> String {
    let dir = tempfile::tempdir().unwrap();
    authority.issue("source.example", &[], lifetime).unwrap().save(dir.path()).unwrap();
    let identity = Identity::load(dir.path()).unwrap();
    let endpoint = Endpoint { address: world.address.clone(), server_name: "target.example".to_owned() };
    let epoch = Epoch { number: 1, token: 1 };
    let greeting = Greeting { machine: MACHINE, machine_name: NAME.into(), epoch, agent: "test".into() };
    let session = Session::connect(&endpoint, &identity, greeting, SessionOptions::default()).await;
    let error = session.unwrap_err();
    let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
    format!("{error}: {cause}")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_and_expired_certificates_leave_no_replica() {
    let world = World::new().await;
    let stranger = Authority::create("Other CA").unwrap();
    let error = connect_as(&world, &stranger, a_day()).await;
    assert!(error.contains("authority"), "{error}");
    let now = std::time::SystemTime::now();
    let past = Lifetime { from: now - Duration::from_secs(7200), until: now - Duration::from_secs(3600) };
    let error = connect_as(&world, &world.authority, past).await;
    assert!(error.contains("expired"), "{error}");
    assert!(!world.replica_dir().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_no_peer_is_refused_by_name() {
    let world = World::with(|config| config.peers = vec!["friend.example".to_owned()]).await;
    let error = connect_as(&world, &world.authority, a_day()).await;
    assert!(error.contains("not authorised") && error.contains("source.example"), "{error}");
    assert!(!world.replica_dir().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_of_one_epoch_are_a_conflict() {
    let world = World::new().await;
    let (source, _) = world.with_points(1).await;
    let other = Epoch { token: source.epoch.token + 1, ..source.epoch };
    let error = world.connect(other).await.unwrap_err().to_string();
    assert!(error.contains("epoch conflict"), "{error}");
    assert!(world.connect(source.epoch).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_the_same_replica_is_kept_out_by_its_lock() {
    let world = World::new().await;
    let (mut source, _) = world.with_points(1).await;
    let second = Arc::new(Agent::new(world.agent.config().clone()));
    let (observer, _events) = Observer::new(tokio_util::sync::CancellationToken::new());
    let machine = Some(NAME.to_owned());
    let error = text(second.handle(Request::Points { machine }, &observer).await);
    assert!(error.contains("in use by another agent"), "{error}");
    let mut session = world.connect(source.epoch).await.unwrap();
    source.cycle(&mut session).await.expect("the first one goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_machine_is_named() {
    let world = World::new().await;
    let other = world.replica_dir().parent().unwrap().join(uuid::Uuid::from_u128(8).to_string());
    world.with_points(1).await;
    fs::create_dir_all(other.join("chain")).unwrap();
    fs::copy(world.replica_dir().join("replica.json"), other.join("replica.json")).unwrap();
    let wanted = other.file_name().unwrap().to_str().unwrap().to_owned();
    let error = text(world.agent.handle(Request::Points { machine: Some(wanted) }, &observer()).await);
    assert!(error.contains("holds the replica of machine") && error.contains(NAME), "{error}");
    let listed = world.ask(Request::Points { machine: Some(NAME.to_owned()) }).await;
    assert!(listed.is_ok(), "the other one stays usable: {listed:?}");
}

fn observer() -> Observer {
    Observer::new(tokio_util::sync::CancellationToken::new()).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_wrong_content_drops_the_cycle_and_nothing_else() {
    use bytes::Bytes;
    use farshore_types::{CLUSTER_SIZE, Digest};
    use farshore_wire::{Body, Patch, Record};
    let world = World::new().await;
    let (mut source, _) = world.with_points(1).await;
    let plain = Bytes::from(vec![1; CLUSTER_SIZE]);
    let block = Patch { blocks: 4, packed: false, bytes: plain.slice(..4096) };
    for (body, why) in [(Body::Raw(plain), "bad record"), (Body::Patch(block), "patch does not fit")] {
        let mut session = world.connect(source.epoch).await.unwrap();
        let open = farshore_wire::OpenCycle {
            cycle: 5,
            kind: farshore_wire::CycleKind::Delta,
            base: session.welcome().last,
            disks: session.welcome().disks.clone(),
        };
        session.open_cycle(open).await.unwrap();
        let lie = Record { cluster: 0, digest: Digest::of(b"something else"), body };
        let error = match session.send(0, vec![lie]).await {
            Err(error) => error,
            Ok(()) => {
                let root = farshore_types::RootDigest::NONE;
                let outcome = farshore_wire::Outcome::Stage;
                session.seal(outcome, std::time::Instant::now(), root, Bytes::new()).await.unwrap_err()
            }
        };
        assert!(error.to_string().contains(why), "{error}");
    }
    let mut session = world.connect(source.epoch).await.unwrap();
    source.cycle(&mut session).await.expect("the next cycle goes through");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digests_of_the_last_point_are_those_of_its_content() {
    use farshore_types::{CLUSTER_SIZE, Digest};
    let world = World::new().await;
    let (source, points): (Source, _) = world.with_points(3).await;
    let mut session = world.connect(source.epoch).await.unwrap();
    let (disk, content) = points[2].1.first_key_value().unwrap();
    let expected: Vec<(u64, Digest)> = (0u64..)
        .zip(content.chunks(CLUSTER_SIZE))
        .map(|(cluster, bytes)| {
            let mut plain = bytes.to_vec();
            plain.resize(CLUSTER_SIZE, 0);
            (cluster, Digest::of(&plain))
        })
        .filter(|(_, digest)| !digest.is_zero())
        .collect();
    assert_eq!(session.digests(disk, 0).await.unwrap().entries, expected);
    let later = session.digests(disk, 5).await.unwrap();
    assert!(
        later.next.is_none()
            && later.entries == expected.iter().filter(|(c, _)| *c >= 5).copied().collect::<Vec<_>>()
    );
    let unknown = session.digests(&"vdz".parse().unwrap(), 0).await.unwrap();
    assert!(unknown.entries.is_empty() && unknown.next.is_none());
}
