//! Two real agents with simulated hypervisors under the site server.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use farshore_agent::{
    Agent, Config,
    managed::{Timing, Upstream, UpstreamError},
};
use farshore_channel::{Call, ChannelError, Client, Keyring};
use farshore_control::{
    Body, Compression, Endpoint, HostReport, InitialCopy, Intent, KeepPoints, Key, Protection, Settings,
    Wire,
    report::ReportReply,
    request::{Action, Answer, Ending, Request},
    sync::{Documents, POLL_PATH, Poll, REPORT_PATH},
};
use farshore_hypervisor::{Hypervisor, Start, simulated::Simulated};
use farshore_pki::Role;
use farshore_sim::free_port;
use farshore_types::{Epoch, HostId, MachineId, RequestId};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use crate::{
    vault::now_ms,
    world::{World, bundle},
};

const TIMING: Timing = Timing {
    poll: Duration::from_secs(2),
    retry: Duration::from_millis(50),
    retry_most: Duration::from_millis(200),
    report: Duration::from_millis(200),
    report_gap: Duration::from_millis(50),
    cycle_gap: Duration::from_millis(50),
    look: Duration::from_millis(300),
};

/// The site server as an agent meets it.
struct Above(Client);

fn away(error: &ChannelError) -> UpstreamError {
    UpstreamError { peer: "site".to_owned(), why: error.to_string() }
}

#[async_trait]
impl Upstream for Above {
    fn peer(&self) -> String {
        "site".to_owned()
    }

    async fn poll(&self, poll: &Poll) -> Result<Documents, UpstreamError> {
        let call = Call::held(Duration::from_secs(poll.wait_secs));
        self.0.post(POLL_PATH, poll, call).await.map_err(|error| away(&error))
    }

    async fn report(&self, report: &HostReport) -> Result<ReportReply, UpstreamError> {
        self.0.post(REPORT_PATH, report, Call::once()).await.map_err(|error| away(&error))
    }
}

struct Host {
    id: HostId,
    name: String,
    address: String,
    hypervisor: Simulated,
    replica_dir: PathBuf,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

fn host(world: &World, name: &str, number: u128) -> Host {
    let dir = world.dir.path().join(name);
    let id = HostId(Uuid::from_u128(number));
    let port = free_port();
    let config = Config {
        name: name.to_owned(),
        state_dir: dir.join("state"),
        replica_dir: dir.join("replicas"),
        runtime_dir: dir.join("run"),
        identity_dir: dir.join("identity"),
        listen: format!("127.0.0.1:{port}"),
        ..Config::default()
    };
    let server_name = format!("{name}.example");
    bundle(&world.vault.authority, Role::Host, id.0, &server_name).save(&config.identity_dir).unwrap();
    let client = world.client(Keyring::load(&config.identity_dir).unwrap());
    let (hypervisor, address) = (Simulated::new(), config.listen.clone());
    let replica_dir = config.replica_dir.clone();
    let agent = Agent::new(config).with_hypervisor(Arc::new(hypervisor.clone())).serving();
    let agent = Arc::new(agent.managed_by(id, vec![Arc::new(Above(client))], TIMING).unwrap());
    let stop = CancellationToken::new();
    let token = stop.clone();
    let task = tokio::spawn(async move { farshore_agent::serve(agent, None, token).await.unwrap() });
    Host { id, name: server_name, address, hypervisor, replica_dir, stop, task: AbortOnDropHandle::new(task) }
}

impl Host {
    fn endpoint(&self) -> Endpoint {
        Endpoint { host: self.id, name: self.name.clone(), address: self.address.clone() }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

const EPOCH: Epoch = Epoch { number: 1, token: 11 };

fn protection(machine: MachineId, source: &Host, target: &Host) -> Body {
    Body::Protection(Box::new(Protection {
        machine,
        name: "web1".to_owned(),
        epoch: EPOCH,
        source: source.endpoint(),
        target: target.endpoint(),
        intent: Intent::Replicate,
        initial: InitialCopy::Now,
        resync: 0,
        excluded: BTreeSet::new(),
        settings: Settings {
            copy_frequency_secs: 1,
            app_consistent_secs: None,
            retention: KeepPoints { every_point_secs: 3600, hourly_secs: 0, daily_secs: 0, points_max: 1000 },
            compression: Compression::Auto,
            replica_compression: true,
            small_writes: true,
            wire: Wire::Certificate,
            bandwidth: None,
            bandwidth_windows: Vec::new(),
            resync_window: Some((0, 0)),
        },
        place: None,
        networks: [].into(),
        networks_back: [].into(),
        addresses: Vec::new(),
        twin: None,
        life: None,
    }))
}

fn points(report: &HostReport) -> u64 {
    report.replicas.first().and_then(|replica| replica.newest).map_or(0, |point| point.id.number)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_protected_by_way_of_the_site_server_whoever_is_away() {
    let mut world = World::new().await;
    let (source, target) = (host(&world, "source", 21), host(&world, "target", 22));
    let machine = source.hypervisor.add_machine("web1", &[("vda", 1 << 20)]).await.unwrap();
    source.hypervisor.start(machine, Start::Running).await.unwrap();
    let both = [source.id, target.id];
    world.vault.put(Key::Protection(machine), &both, protection(machine, &source, &target));
    let report = world.vault.until(target.id, "a point", |report| points(report) > 0).await;
    world.vault.until(source.id, "an inventory", |report| report.inventory_digest.len() > 1).await;

    // The vault is away; the site server serves, cycles go on, and what was is told afterwards.
    let before = points(&report);
    world.stop_vault().await;
    world.stop_site().await;
    world.start_site().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    world.start_vault().await;
    let report = world.vault.until(target.id, "later points", |report| points(report) > before + 1).await;
    assert!(report.replicas[0].newest.unwrap().age_ms < 30_000, "{report:?}");

    // A removal, and then a deletion, by way of the site server: only the latter deletes.
    world.vault.put(
        Key::Protection(machine),
        &both,
        Body::Removed { why: "disabled".to_owned(), owner: None },
    );
    world.vault.until(source.id, "the source ends", |report| report.sources.is_empty()).await;
    assert!(target.replica_dir.join(machine.to_string()).exists());
    let id = RequestId(Uuid::from_u128(99));
    let action = Action::DeleteReplica { machine, epoch: EPOCH };
    let request = Request { id, expires_ms: Some(now_ms() + 60_000), action };
    world.vault.put(Key::Request(id), &[target.id], Body::Request(request));
    assert_eq!(world.vault.ending(id).await, Ending::Done { answer: Answer::Done });
    assert!(!target.replica_dir.join(machine.to_string()).exists());
    world.vault.until(target.id, "the outcome is forgotten", |report| report.outcomes.is_empty()).await;
    assert_eq!(world.vault.endings(id).len(), 1, "told once, for it was acknowledged");
    source.end().await;
    target.end().await;
}

/// Rule R7, whole: the agent was away while the vault was there, and comes when it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_the_site_server_holds_is_not_served_when_the_vault_is_gone() {
    let mut world = World::new().await;
    let (machine, id) = (MachineId(Uuid::from_u128(7)), RequestId(Uuid::from_u128(98)));
    let target_id = HostId(Uuid::from_u128(22));
    let request = Request {
        id,
        expires_ms: Some(now_ms() + 60_000),
        action: Action::DeleteReplica { machine, epoch: EPOCH },
    };
    world.vault.put(Key::Request(id), &[target_id], Body::Request(request));
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.stop_vault().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let target = host(&world, "target", 22);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(world.vault.endings(id).is_empty());
    world.start_vault().await;
    assert_eq!(
        world.vault.ending(id).await,
        Ending::Done { answer: Answer::Done },
        "there was nothing to delete"
    );
    target.end().await;
}
