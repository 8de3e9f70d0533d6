//! Two hosts with an agent each, and the vault above them.

mod mortals;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use farshore_agent::{
    Agent, AgentError, Config,
    control::{Observer, PointChoice, Reply, Request},
    managed::{Timing, Upstream},
};
use farshore_control::{
    Body, Compression, Endpoint, InitialCopy, Intent, Inventory, KeepPoints, Key, Protection, Settings, Wire,
    report::{MachineFacts, SourcePhase},
    request::{Action, Request as ControlRequest},
};
use farshore_hypervisor::{Hypervisor, Kind, Start, simulated::Simulated};
use farshore_pki::Authority;
use farshore_sim::free_port;
use farshore_types::{Epoch, HostId, MachineId, RequestId};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use super::{
    mortal::{Hears, Mortal, MortalFiles},
    vault::{PATIENCE, Vault},
};
use crate::world::{a_day, config, key};
pub(crate) use mortals::Bytes;

pub(crate) const SIZE: u64 = 1 << 20;

const TIMING: Timing = Timing {
    poll: Duration::from_secs(1),
    retry: Duration::from_millis(50),
    retry_most: Duration::from_millis(200),
    report: Duration::from_millis(200),
    report_gap: Duration::from_millis(50),
    cycle_gap: Duration::from_millis(50),
    look: Duration::from_millis(300),
};

/// An agent that serves.
struct Serving {
    agent: Arc<Agent>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

struct Host {
    id: HostId,
    config: Config,
    hypervisor: Simulated,
    /// Which boot of it this is; none: the test's own machine's.
    boot: Mutex<Option<String>>,
    /// Whose life its agent has, where that may end at any instant.
    life: Mutex<Option<Arc<Mortal>>>,
}

pub(crate) struct Pair {
    dir: TempDir,
    pub(crate) vault: Arc<Vault>,
    pub(crate) source_id: HostId,
    pub(crate) target_id: HostId,
    pub(crate) source_host: Simulated,
    pub(crate) machine: MachineId,
    hosts: [Host; 2],
    serving: [Mutex<Option<Serving>>; 2],
    authority: Authority,
}

/// A host besides the two.
pub(crate) struct Third {
    host: Host,
    serving: Serving,
}

pub(crate) fn machine_of<'a>(inventory: &'a Inventory, name: &str) -> &'a MachineFacts {
    inventory.machines.iter().find(|machine| machine.name == name).unwrap()
}

impl Pair {
    pub(crate) async fn new() -> Pair {
        Pair::with_disks(&["vda"]).await
    }

    pub(crate) async fn with_disks(disks: &[&str]) -> Pair {
        Pair::configured(disks, |_| {}).await
    }

    /// Hosts whose configurations `change` has changed.
    pub(crate) async fn configured(disks: &[&str], change: impl Fn(&mut Config)) -> Pair {
        Pair::built(disks, change, [None, None]).await
    }

    async fn built(disks: &[&str], change: impl Fn(&mut Config), lives: [Option<Arc<Mortal>>; 2]) -> Pair {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create("Test CA").unwrap();
        let host = |name: &str, number: u128| host(dir.path(), &authority, name, number, &change);
        let hosts = [host("source", 1), host("target", 2)];
        let are_mortal = lives.iter().any(Option::is_some);
        for (host, life) in hosts.iter().zip(lives) {
            *host.life.lock().unwrap() = life;
        }
        let machine = match are_mortal {
            true => mortals::machine(dir.path(), &hosts, disks).await,
            false => {
                let disks: Vec<(&str, u64)> = disks.iter().map(|disk| (*disk, SIZE)).collect();
                hosts[0].hypervisor.add_machine("web1", &disks).await.unwrap()
            }
        };
        hosts[0].hypervisor.start(machine, Start::Running).await.unwrap();
        let vault = Vault::new();
        let serving = [0, 1].map(|at| Mutex::new(Some(begin(&hosts[at], &vault))));
        Pair {
            dir,
            vault,
            source_id: hosts[0].id,
            target_id: hosts[1].id,
            source_host: hosts[0].hypervisor.clone(),
            machine,
            hosts,
            serving,
            authority,
        }
    }

    /// Another host, which serves.
    pub(crate) fn third(&self) -> Third {
        let host = host(self.dir.path(), &self.authority, "third", 3, &|_| {});
        Third { serving: begin(&host, &self.vault), host }
    }

    /// Writes the protection's next document for the third host, too.
    pub(crate) fn change_with(&self, third: &Third, change: impl FnOnce(&mut Protection)) {
        let key = Key::Protection(self.machine);
        let held = self.vault.document(&key).unwrap();
        let Body::Protection(mut protection) = held.body else { panic!("{held:?}") };
        change(&mut protection);
        let hosts = [self.source_id, self.target_id, third.host.id];
        self.vault.put(key, &hosts, Body::Protection(protection));
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn target_host(&self) -> &Simulated {
        &self.hosts[1].hypervisor
    }

    pub(crate) fn replica_dir(&self) -> PathBuf {
        self.hosts[1].config.replica_dir.join(self.machine.to_string())
    }

    /// Everything that the target's agent must not forget, as text.
    pub(crate) fn kept_at_target(&self) -> String {
        self.kept(1)
    }

    fn kept(&self, at: usize) -> String {
        fs::read_to_string(self.hosts[at].config.state_dir.join("managed.json")).unwrap_or_default()
    }

    /// Waits until what the source's agent must not forget of the machine is as wanted: what it does
    /// next, and after a restart, goes by that and not by what it has told.
    pub(crate) async fn until_source_keeps(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let begun = std::time::Instant::now();
        loop {
            let kept = self.kept(0);
            let all: Value = serde_json::from_str(&kept).unwrap_or_default();
            // There is one machine.
            let station = &all["stations"][0];
            if station.is_object() && wanted(station) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "never: {what}; {kept}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The overlay of disk `vda` at a host, when the machine is brought up there.
    pub(crate) fn overlay_at(&self, host: HostId) -> PathBuf {
        let at = self.hosts.iter().find(|one| one.id == host).unwrap();
        at.config.replica_dir.join(self.machine.to_string()).join("vda.active.qcow2")
    }

    /// The definition that the source keeps for the day on which the machine comes home.
    pub(crate) fn home_definition(&self) -> String {
        let dir = self.hosts[0].config.state_dir.join("sources").join(self.machine.to_string());
        fs::read_to_string(dir.join("home.xml")).unwrap_or_default()
    }

    /// The target's directory of replicas.
    pub(crate) fn replicas_dir(&self) -> &Path {
        &self.hosts[1].config.replica_dir
    }

    /// How the target is met.
    pub(crate) fn target(&self) -> Endpoint {
        self.endpoint(1)
    }

    fn endpoint(&self, at: usize) -> Endpoint {
        self.hosts[at].endpoint()
    }

    pub(crate) fn protection(&self) -> Protection {
        Protection {
            machine: self.machine,
            name: "web1".to_owned(),
            epoch: Epoch { number: 1, token: 11 },
            source: self.endpoint(0),
            target: self.endpoint(1),
            intent: Intent::Replicate,
            initial: InitialCopy::Now,
            resync: 0,
            excluded: BTreeSet::new(),
            settings: Settings {
                copy_frequency_secs: 1,
                app_consistent_secs: None,
                retention: KeepPoints {
                    every_point_secs: 3600,
                    hourly_secs: 0,
                    daily_secs: 0,
                    points_max: 1000,
                },
                compression: Compression::Auto,
                replica_compression: true,
                small_writes: true,
                wire: Wire::Certificate,
                bandwidth: None,
                bandwidth_windows: Vec::new(),
                resync_window: Some((0, 0)),
            },
            place: None,
            networks: BTreeMap::new(),
            networks_back: BTreeMap::new(),
            addresses: Vec::new(),
            twin: None,
            life: None,
        }
    }

    pub(crate) fn enable(&self) {
        self.enable_with(|_| {});
    }

    pub(crate) fn enable_with(&self, change: impl FnOnce(&mut Protection)) {
        let mut protection = self.protection();
        change(&mut protection);
        self.put(Body::Protection(Box::new(protection)));
    }

    /// Writes the protection's next document.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Protection)) {
        let held = self.vault.document(&Key::Protection(self.machine)).unwrap();
        let Body::Protection(mut protection) = held.body else { panic!("{held:?}") };
        change(&mut protection);
        self.put(Body::Protection(protection));
    }

    /// Writes the next document so that only the target gets it.
    pub(crate) fn change_at_target(&self, change: impl FnOnce(&mut Protection)) {
        let key = Key::Protection(self.machine);
        let Body::Protection(mut protection) = self.vault.document(&key).unwrap().body else { panic!() };
        change(&mut protection);
        self.vault.put(key, &[self.target_id], Body::Protection(protection));
    }

    /// Writes the next document so that only the source gets it.
    pub(crate) fn change_at_source(&self, change: impl FnOnce(&mut Protection)) {
        let key = Key::Protection(self.machine);
        let Body::Protection(mut protection) = self.vault.document(&key).unwrap().body else { panic!() };
        change(&mut protection);
        self.vault.put(key, &[self.source_id], Body::Protection(protection));
    }

    pub(crate) fn remove(&self, why: &str) {
        let owner = match self.vault.document(&Key::Protection(self.machine)).map(|held| held.body) {
            Some(Body::Protection(held)) => {
                let life = held.life.as_ref();
                life.map_or((held.epoch, held.source.host), |life| (life.epoch, life.source))
            }
            _ => (self.protection().epoch, self.source_id),
        };
        let owner = Some(owner);
        self.put(Body::Removed { why: why.to_owned(), owner });
    }

    /// The same, where the vault is not certain who owns the machine.
    pub(crate) fn remove_unowned(&self, why: &str) {
        self.put(Body::Removed { why: why.to_owned(), owner: None });
    }

    fn put(&self, body: Body) {
        self.vault.put(Key::Protection(self.machine), &[self.source_id, self.target_id], body);
    }

    /// Asks a host for something.
    pub(crate) fn ask(&self, host: HostId, expires_ms: Option<u64>, action: Action) -> RequestId {
        let id = RequestId(Uuid::new_v4());
        let request = ControlRequest { id, expires_ms, action };
        self.vault.put(Key::Request(id), &[host], Body::Request(request));
        id
    }

    pub(crate) fn epoch(&self) -> Epoch {
        let held = self.vault.document(&Key::Protection(self.machine)).unwrap();
        *held.epoch().unwrap()
    }

    pub(crate) async fn restart_source(&self) {
        self.restart(0).await;
    }

    pub(crate) async fn restart_target(&self) {
        self.restart(1).await;
    }

    async fn restart(&self, at: usize) {
        self.stop(at).await;
        self.start(at);
    }

    /// The source's host goes down and comes up again; its machines do not start by that.
    pub(crate) async fn boot_source(&self, boot: &str) {
        self.boot(0, boot).await;
    }

    /// The target's, likewise.
    pub(crate) async fn boot_target(&self, boot: &str) {
        self.boot(1, boot).await;
    }

    async fn boot(&self, at: usize, boot: &str) {
        self.stop(at).await;
        match self.hosts[at].hypervisor.destroy(self.machine).await {
            Err(error) if error.kind == Kind::NoSuchMachine => {}
            done => done.unwrap(),
        }
        *self.hosts[at].boot.lock().unwrap() = Some(boot.to_owned());
        self.start(at);
    }

    /// A local command at the source.
    pub(crate) async fn ask_source(&self, request: Request) -> Result<Reply, AgentError> {
        let agent = Arc::clone(&self.serving[0].lock().unwrap().as_ref().unwrap().agent);
        let (observer, _events) = Observer::new(CancellationToken::new());
        agent.handle(request, &observer).await
    }

    pub(crate) async fn stop_source(&self) {
        self.stop(0).await;
    }

    pub(crate) fn start_source(&self) {
        self.start(0);
    }

    pub(crate) async fn stop_target(&self) {
        self.stop(1).await;
    }

    pub(crate) fn start_target(&self) {
        self.start(1);
    }

    async fn stop(&self, at: usize) {
        let serving = self.serving[at].lock().unwrap().take();
        if let Some(Serving { agent, stop, task }) = serving {
            stop.cancel();
            tokio::time::timeout(PATIENCE, task).await.expect("it ends").unwrap();
            // Replicas are locked for as long as anything holds the agent.
            let begun = std::time::Instant::now();
            while Arc::strong_count(&agent) > 1 {
                assert!(begun.elapsed() < PATIENCE, "something holds the agent");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        mortals::succeed(&self.hosts[at]);
    }

    fn start(&self, at: usize) {
        *self.serving[at].lock().unwrap() = Some(begin(&self.hosts[at], &self.vault));
    }

    pub(crate) async fn end(self) {
        self.stop(0).await;
        self.stop(1).await;
    }

    fn target_agent(&self) -> Arc<Agent> {
        Arc::clone(&self.serving[1].lock().unwrap().as_ref().unwrap().agent)
    }

    /// A local command at the target.
    pub(crate) async fn ask_target(&self, request: Request) -> Result<Reply, AgentError> {
        let (observer, _events) = Observer::new(CancellationToken::new());
        self.target_agent().handle(request, &observer).await
    }

    /// Number of the newest point at the target; 0 where there is none.
    pub(crate) async fn newest(&self) -> u64 {
        let (observer, _events) = Observer::new(CancellationToken::new());
        let asked = self.target_agent().handle(Request::Points { machine: None }, &observer).await;
        let Ok(Reply::Points(replicas)) = asked else { panic!("{asked:?}") };
        let of = replicas.into_iter().find(|replica| replica.id == self.machine);
        of.and_then(|replica| replica.points.last().map(|point| point.id.number)).unwrap_or(0)
    }

    /// Waits for a point with a higher number.
    pub(crate) async fn newest_above(&self, number: u64) -> u64 {
        let begun = std::time::Instant::now();
        loop {
            let newest = self.newest().await;
            if newest > number {
                return newest;
            }
            if begun.elapsed() > PATIENCE {
                let report = self.vault.report_of(self.source_id).await;
                panic!("no point after {number}; the source: {report:#?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn source_phase(
        &self,
        what: &str,
        wanted: impl Fn(&SourcePhase) -> bool,
    ) -> SourcePhase {
        let is = |report: &farshore_control::HostReport| {
            report.sources.first().is_some_and(|source| wanted(&source.phase))
        };
        self.vault.until(self.source_id, what, is).await.sources[0].phase.clone()
    }

    /// Whether the newest point's disk equals the machine's, which nobody writes meanwhile.
    pub(crate) async fn replica_equals_model(&self) -> bool {
        self.newest_of(&self.target_agent()).await
            == self.source_host.model_bytes(self.machine, &key("vda")).unwrap()
    }

    /// The bytes of the newest point that the target has.
    pub(crate) async fn target_bytes(&self) -> Vec<u8> {
        self.newest_of(&self.target_agent()).await
    }

    async fn newest_of(&self, agent: &Arc<Agent>) -> Vec<u8> {
        let to = self.dir.path().join("newest.raw");
        self.export(agent, PointChoice::Latest, &key("vda"), to.clone()).await.unwrap();
        fs::read(to).unwrap()
    }
}

impl Third {
    pub(crate) fn id(&self) -> HostId {
        self.host.id
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.host.endpoint()
    }

    pub(crate) fn replica_dir(&self, machine: MachineId) -> PathBuf {
        self.host.config.replica_dir.join(machine.to_string())
    }

    /// Whether its newest point's disk equals the machine's, which nobody writes meanwhile.
    pub(crate) async fn equals_model(&self, pair: &Pair) -> bool {
        pair.newest_of(&self.serving.agent).await
            == pair.source_host.model_bytes(pair.machine, &key("vda")).unwrap()
    }

    pub(crate) async fn end(self) {
        self.serving.stop.cancel();
        tokio::time::timeout(PATIENCE, self.serving.task).await.expect("it ends").unwrap();
    }
}

impl Host {
    fn endpoint(&self) -> Endpoint {
        let name = format!("{}.example", self.config.name);
        Endpoint { host: self.id, name, address: self.config.listen.clone() }
    }
}

fn host(dir: &Path, authority: &Authority, name: &str, number: u128, change: &dyn Fn(&mut Config)) -> Host {
    let mut config = config(&dir.join(name));
    config.name = name.to_owned();
    config.listen = format!("127.0.0.1:{}", free_port());
    let certificate = authority.issue(&format!("{name}.example"), &[], a_day()).unwrap();
    certificate.save(&config.identity_dir).unwrap();
    change(&mut config);
    let (id, hypervisor) = (HostId(Uuid::from_u128(number)), Simulated::new());
    Host { id, config, hypervisor, boot: Mutex::default(), life: Mutex::default() }
}

fn begin(host: &Host, vault: &Arc<Vault>) -> Serving {
    let (agent, upstream) = (Agent::new(host.config.clone()), vault.at(host.id));
    let life = host.life.lock().unwrap().clone();
    let (agent, upstream) = match life.clone() {
        None => (agent.with_hypervisor(Arc::new(host.hypervisor.clone())), upstream),
        Some(life) => {
            let hypervisor = host.hypervisor.seen_by(life.clone());
            let agent = agent.with_files(Arc::new(MortalFiles(life.clone())));
            let upstream: Arc<dyn Upstream> =
                Arc::new(Hears { vault: upstream, whom: life, told: Mutex::default() });
            (agent.with_hypervisor(Arc::new(hypervisor)), upstream)
        }
    };
    let agent = match &*host.boot.lock().unwrap() {
        Some(boot) => agent.serving().after_boot(boot),
        None => agent.serving(),
    };
    let agent = Arc::new(agent.managed_by(host.id, vec![upstream], TIMING).unwrap());
    let stop = CancellationToken::new();
    let (served, token) = (Arc::clone(&agent), stop.clone());
    let task = tokio::spawn(async move {
        let served = farshore_agent::serve(served, None, token).await;
        // Of the dead nothing is expected.
        assert!(served.is_ok() || life.is_some_and(|life| life.is_dead()), "{served:?}");
    });
    Serving { agent, stop, task: AbortOnDropHandle::new(task) }
}
