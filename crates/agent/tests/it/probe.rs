//! Before a machine comes up here, the host that replicated it is asked whether it runs there.

use farshore_agent::{
    Agent, Config, ReplicaSink,
    control::{BringUp, PointChoice, Reply, Request, StartChoice},
};
use farshore_hypervisor::{Hypervisor, Kind, Start, simulated::Operation, simulated::Simulated};
use farshore_link::{Identity, ServerLimits, serve};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::world::{MACHINE, NAME, World, a_day, config, text};

/// The host that replicates: its agent answers, its hypervisor has the machine.
struct Home {
    host: Simulated,
    stop: CancellationToken,
    serving: AbortOnDropHandle<()>,
}

const XML: &str = "<domain type='kvm'><name>web1</name><uuid>00000000-0000-0000-0000-000000000007</uuid>\
    <os><type>hvm</type></os><devices><disk type='file'><source file='/there/vda.qcow2'/>\
    <target dev='vda'/></disk></devices></domain>";

/// A target that knows where the source's agent is, and that agent. The address is found
/// before the target is made: it is part of its configuration.
async fn world(change: impl FnOnce(&mut farshore_agent::Config, &str)) -> (World, Home) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let world = World::with(|config| change(config, &address)).await;
    let host = Simulated::new();
    let mut config = config(&world.dir.path().join("home"));
    config.name = "home".to_owned();
    world.authority.issue("source.example", &[], a_day()).unwrap().save(&config.identity_dir).unwrap();
    let identity = Identity::load(&config.identity_dir).unwrap();
    let agent = Arc::new(Agent::new(config).with_hypervisor(Arc::new(host.clone())));
    let stop = CancellationToken::new();
    let sink = Arc::new(ReplicaSink::of(&agent));
    let serving = serve(listener, identity, sink, ServerLimits::default(), stop.clone());
    let serving = AbortOnDropHandle::new(tokio::spawn(serving));
    (world, Home { host, stop, serving })
}

fn known(config: &mut farshore_agent::Config, address: &str) {
    config.peer_addresses.insert("source.example".to_owned(), address.to_owned());
}

fn bring_up(force: bool) -> Request {
    let (machine, point, start) = (NAME.to_owned(), PointChoice::Latest, StartChoice::Run);
    Request::BringUp(BringUp { machine, point, start, replace: false, force })
}

async fn refused(world: &World) -> String {
    let error = text(world.ask(bring_up(false)).await);
    assert!(world.host.machine(MACHINE).await.is_err(), "nothing was defined: {error}");
    assert!(error.contains("may run elsewhere") && error.contains("--force"), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_runs_at_home_comes_up_only_by_force() {
    let (world, home) = world(known).await;
    let (source, _) = world.with_points(1).await;
    home.host.define(XML).await.unwrap();
    home.host.start(MACHINE, Start::Paused).await.unwrap();
    let error = refused(&world).await;
    assert!(error.contains("'web1' is paused on host home"), "{error}");
    assert!(world.connect(source.epoch).await.is_ok(), "the source is still the owner");
    let Ok(Reply::BroughtUp(up)) = world.ask(bring_up(true)).await else { panic!() };
    assert_eq!(up.power, "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_off_or_unknown_at_home_comes_up() {
    for defined in [true, false] {
        let (world, home) = world(known).await;
        world.with_points(1).await;
        if defined {
            home.host.define(XML).await.unwrap();
        }
        let Ok(Reply::BroughtUp(up)) = world.ask(bring_up(false)).await else { panic!("{defined}") };
        assert_eq!(up.power, "running");
        assert!(
            !world.dir.path().join("home/replicas").join(MACHINE.to_string()).exists(),
            "asking leaves nothing"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_does_not_say_needs_force() {
    let (world, home) = world(known).await;
    world.with_points(1).await;
    home.host.fail(Operation::Machine, 1, Kind::Timeout);
    let error = refused(&world).await;
    assert!(error.contains("'source.example' does not say"), "{error}");
    home.stop.cancel();
    drop(home.serving);
    let error = refused(&world).await;
    assert!(error.contains("does not say: cannot connect"), "{error}");
    assert!(world.ask(bring_up(true)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_whose_address_is_not_known_needs_force_unless_it_shall_not() {
    let (world, _home) = world(|_, _| ()).await;
    world.with_points(1).await;
    let (reply, events) = world.ask_with(bring_up(false)).await;
    assert!(reply.is_ok());
    let said = format!("{events:?}");
    assert!(said.contains("[peer_addresses]") && said.contains("source.example"), "{said}");
    let (world, _home) =
        self::world(|config, _| config.require_probe = Config::default().require_probe).await;
    world.with_points(1).await;
    assert!(refused(&world).await.contains("[peer_addresses]"));
}
