//! The source's role: machines of a simulated host replicated to another agent.

use std::{fs, sync::Arc, time::Duration};

use farshore_agent::{
    Agent,
    config::{Period, Target},
    control::{
        BringUp, Event, Export, Format, Observer, PointChoice, Replicate, Reply, Request, StartChoice,
    },
};
use farshore_hypervisor::{Hypervisor, Start, simulated::Simulated};
use farshore_types::MachineId;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::world::{World, a_day, config, key, text};

const SIZE: u64 = 1 << 20;

/// An agent with one machine that runs.
struct Site {
    agent: Arc<Agent>,
    host: Simulated,
    machine: MachineId,
    _dir: TempDir,
}

async fn site(world: &World) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.name = "source".to_owned();
    world.authority.issue("source.example", &[], a_day()).unwrap().save(&config.identity_dir).unwrap();
    let host = Simulated::new();
    let machine = host.add_machine("web1", &[("vda", SIZE)]).await.unwrap();
    host.start(machine, Start::Running).await.unwrap();
    let agent = Arc::new(Agent::new(config).with_hypervisor(Arc::new(host.clone())));
    Site { agent, host, machine, _dir: dir }
}

fn replicate(world: &World) -> Replicate {
    Replicate {
        machine: "web1".to_owned(),
        target: Some(Target { address: world.address.clone(), server_name: "target.example".to_owned() }),
        frequency: Some(Period::secs(1)),
        compression: None,
        bandwidth: None,
        exclude: Vec::new(),
        once: true,
        reclaim: false,
    }
}

impl Site {
    async fn ask(&self, request: Request) -> (Result<Reply, farshore_agent::AgentError>, Vec<Event>) {
        let (observer, mut events) = Observer::new(CancellationToken::new());
        let handled = self.agent.handle(request, &observer);
        let result = tokio::time::timeout(Duration::from_secs(30), handled).await.expect("in time");
        let mut seen = Vec::new();
        while let Ok(event) = events.try_recv() {
            seen.push(event);
        }
        (result, seen)
    }
}

async fn bytes_of_newest(world: &World) -> Vec<u8> {
    let to = world.dir.path().join("newest.raw");
    let export = Export {
        machine: "web1".to_owned(),
        point: PointChoice::Latest,
        disk: Some(key("vda")),
        to: to.clone(),
        format: Format::Raw,
        force: true,
    };
    world.ask(Request::Export(export)).await.unwrap();
    fs::read(to).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_replicated_once_and_its_point_equals_its_disk() {
    let world = World::new().await;
    let site = site(&world).await;
    site.host.guest_write(site.machine, &key("vda"), 70_000, b"hello").unwrap();
    let (reply, events) = site.ask(Request::Replicate(replicate(&world))).await;
    let Ok(Reply::Replicated(told)) = reply else { panic!("{reply:?}") };
    assert_eq!((told.points, told.newest.map(|id| id.epoch)), (1, Some(1)));
    assert!(events.iter().any(|event| matches!(event, Event::Cycle(_))), "{events:?}");
    assert!(bytes_of_newest(&world).await == site.host.model_bytes(site.machine, &key("vda")).unwrap());
    assert!(site.agent.sources().lines(0).is_empty(), "it ended");

    site.host.guest_write(site.machine, &key("vda"), 300_000, b"again").unwrap();
    assert!(site.ask(Request::Replicate(replicate(&world))).await.0.is_ok());
    assert!(bytes_of_newest(&world).await == site.host.model_bytes(site.machine, &key("vda")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_source_is_told_and_may_reclaim_after_a_discard() {
    let world = World::new().await;
    let site = site(&world).await;
    assert!(site.ask(Request::Replicate(replicate(&world))).await.0.is_ok());
    let bring_up = BringUp {
        machine: "web1".to_owned(),
        point: PointChoice::Latest,
        start: StartChoice::Run,
        replace: false,
        force: false,
    };
    world.ask(Request::BringUp(bring_up)).await.unwrap();
    let error = text(site.ask(Request::Replicate(replicate(&world))).await.0);
    assert!(error.contains("older epoch") && error.contains("--reclaim"), "{error}");
    let reclaim = Replicate { reclaim: true, ..replicate(&world) };
    let error = text(site.ask(Request::Replicate(reclaim.clone())).await.0);
    assert!(error.contains("brought up"), "it runs there: {error}");
    world.ask(Request::Discard { machine: "web1".to_owned(), force: true }).await.unwrap();
    let (reply, _) = site.ask(Request::Replicate(reclaim)).await;
    let Ok(Reply::Replicated(told)) = reply else { panic!("{reply:?}") };
    assert!(told.newest.is_some_and(|id| id.epoch > 2), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replicated_is_said_at_once() {
    let world = World::new().await;
    let site = site(&world).await;
    let unknown = Replicate { machine: "web2".to_owned(), ..replicate(&world) };
    let error = text(site.ask(Request::Replicate(unknown)).await.0);
    assert!(error.contains("'web2'"), "{error}");
    let nowhere = Replicate { target: None, ..replicate(&world) };
    let error = text(site.ask(Request::Replicate(nowhere)).await.0);
    assert!(error.contains("--to"), "{error}");
    let no_disk = Replicate { exclude: vec![key("vdz")], ..replicate(&world) };
    let error = text(site.ask(Request::Replicate(no_disk)).await.0);
    assert!(error.contains("'vdz'"), "{error}");
    fs::remove_file(site.agent.config().identity_dir.join("host.pem")).unwrap();
    let error = text(site.ask(Request::Replicate(replicate(&world))).await.0);
    assert!(error.contains("host.pem is missing"), "{error}");
}
