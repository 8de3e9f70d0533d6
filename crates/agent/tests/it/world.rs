//! A target agent with a simulated hypervisor, and a source that is played by hand with a
//! model of what its disks held at each point.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use farshore_agent::{
    Agent, AgentError, Config, ReplicaSink,
    config::CheckReceived,
    control::{Event, Observer, Reply, Request},
};
use farshore_capture::Definition;
use farshore_delta::{RootBuilder, SourceChange};
use farshore_hypervisor::simulated::Simulated;
use farshore_link::{Endpoint, Greeting, Identity, LinkError, ServerLimits, Session, SessionOptions, serve};
use farshore_pki::{Authority, Lifetime};
use farshore_types::{
    CLUSTER_SIZE, Consistency, Digest, DiskKey, Epoch, MachineId, PointId, PointRef, RootDigest,
};
use farshore_wire::{Body, CycleKind, DiskSize, OpenCycle, Outcome, Record};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(crate) const MACHINE: MachineId = MachineId(uuid::Uuid::from_u128(7));
pub(crate) const NAME: &str = "web1";
pub(crate) const CLUSTERS: usize = 16;
/// Not a whole number of clusters: the last one is partial.
pub(crate) const SIZE: usize = CLUSTERS * CLUSTER_SIZE - 4096;

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
    pub(crate) agent: Arc<Agent>,
    pub(crate) host: Simulated,
    pub(crate) address: String,
    pub(crate) stop: CancellationToken,
    _serving: AbortOnDropHandle<()>,
}

/// A configuration with all paths under one directory.
pub(crate) fn config(dir: &std::path::Path) -> Config {
    Config {
        name: "target".to_owned(),
        state_dir: dir.join("state"),
        replica_dir: dir.join("replicas"),
        runtime_dir: dir.join("run"),
        identity_dir: dir.join("identity"),
        listen: String::new(),
        // Of its own tests, those in `probe` ask.
        require_probe: false,
        ..Config::default()
    }
}

pub(crate) fn a_day() -> Lifetime {
    Lifetime::starting_now(Duration::from_secs(24 * 3600))
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> World {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create("Test CA").unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        authority.issue("target.example", &[], a_day()).unwrap().save(&config.identity_dir).unwrap();
        let host = Simulated::new();
        let agent = Arc::new(Agent::new(config).with_hypervisor(Arc::new(host.clone())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let identity = Identity::load(&agent.config().identity_dir).unwrap();
        let sink = Arc::new(ReplicaSink::of(&agent));
        let serving = serve(listener, identity, sink, ServerLimits::default(), stop.clone());
        let serving = AbortOnDropHandle::new(tokio::spawn(serving));
        World { dir, authority, agent, host, address, stop, _serving: serving }
    }

    pub(crate) async fn checking(check: CheckReceived) -> World {
        World::with(|config| config.check_received = check).await
    }

    pub(crate) async fn connect(&self, epoch: Epoch) -> Result<Session, LinkError> {
        let dir = tempfile::tempdir().unwrap();
        self.authority.issue("source.example", &[], a_day()).unwrap().save(dir.path()).unwrap();
        let identity = Identity::load(dir.path()).unwrap();
        let endpoint = Endpoint { address: self.address.clone(), server_name: "target.example".to_owned() };
        let greeting =
            Greeting { machine: MACHINE, machine_name: NAME.to_owned(), epoch, agent: "test".to_owned() };
        Session::connect(&endpoint, &identity, greeting, SessionOptions::default()).await
    }

    /// A source that has sealed so many points, and its models.
    pub(crate) async fn with_points(&self, count: u64) -> (Source, Vec<(PointId, Disks)>) {
        let mut source = Source::new();
        let mut session = self.connect(source.epoch).await.unwrap();
        let mut points = Vec::new();
        for _ in 0..count {
            points.push((source.cycle(&mut session).await.unwrap().id, source.disks.clone()));
        }
        session.bye().await.unwrap();
        (source, points)
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<Reply, AgentError> {
        self.ask_with(request).await.0
    }

    pub(crate) async fn ask_with(&self, request: Request) -> (Result<Reply, AgentError>, Vec<Event>) {
        let (observer, mut events) = Observer::new(CancellationToken::new());
        let result = self.agent.handle(request, &observer).await;
        let mut seen = Vec::new();
        while let Ok(event) = events.try_recv() {
            seen.push(event);
        }
        (result, seen)
    }

    pub(crate) fn replica_dir(&self) -> PathBuf {
        self.agent.replicas().dir_of(MACHINE)
    }
}

/// The text of an error, with its advice.
pub(crate) fn text<T: std::fmt::Debug>(result: Result<T, AgentError>) -> String {
    let fault = result.unwrap_err().fault();
    format!("{} | {}", fault.what, fault.advice)
}

/// Content of all disks.
pub(crate) type Disks = BTreeMap<DiskKey, Vec<u8>>;

pub(crate) fn key(name: &str) -> DiskKey {
    name.parse().unwrap()
}

/// A machine at the source.
pub(crate) struct Source {
    pub(crate) epoch: Epoch,
    pub(crate) disks: Disks,
    pub(crate) definition: Definition,
    /// Kind of the next cycle, where it is not the usual one.
    pub(crate) kind: Option<CycleKind>,
    last: Option<PointRef>,
    number: u64,
    seed: u64,
}

const XML: &str = "<domain type='kvm'><name>web1</name><uuid>00000000-0000-0000-0000-000000000007</uuid>\
    <os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type><nvram>/there/web1.fd</nvram></os><devices>\
    <emulator>/nowhere/qemu</emulator>\
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/there/vda.qcow2'/>\
    <target dev='vda' bus='virtio'/></disk>\
    <disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/there'/>\
    <target dev='vdb' bus='virtio'/></disk>\
    <disk type='file' device='disk'><source file='/there/tmp.raw'/><target dev='vdc' bus='virtio'/></disk>\
    <interface type='network'><source network='production'/></interface></devices></domain>";

impl Source {
    pub(crate) fn new() -> Source {
        let disks = ["vda", "vdb"].into_iter().map(|name| (key(name), vec![0; SIZE])).collect();
        let definition = Definition::new(XML.to_owned(), Some(b"variables".to_vec()), vec![key("vdc")]);
        Source {
            epoch: Epoch { number: 1, token: 11 },
            disks,
            definition,
            kind: None,
            last: None,
            number: 0,
            seed: 0,
        }
    }

    /// The newest point.
    pub(crate) fn last(&self) -> Option<PointRef> {
        self.last
    }

    /// One cycle: some clusters of each disk change, and a point is sealed.
    pub(crate) async fn cycle(&mut self, session: &mut Session) -> Result<PointRef, LinkError> {
        self.number += 1;
        let disks: Vec<DiskSize> =
            self.disks.keys().map(|key| DiskSize { key: key.clone(), size: SIZE as u64 }).collect();
        let usual = if self.last.is_none() { CycleKind::Initial } else { CycleKind::Delta };
        let kind = self.kind.take().unwrap_or(usual);
        session.open_cycle(OpenCycle { cycle: self.number, kind, base: self.last, disks }).await?;
        let id = PointId { epoch: self.epoch.number, number: self.number };
        let mut root = RootBuilder::new(self.last.map_or(RootDigest::NONE, |last| last.root), id);
        let keys: Vec<DiskKey> = self.disks.keys().cloned().collect();
        for (index, disk) in keys.iter().enumerate() {
            let records = self.change(disk);
            let changes: Vec<SourceChange> =
                records.iter().map(|r| SourceChange { cluster: r.cluster, digest: r.digest }).collect();
            root.disk(disk, SIZE as u64, changes.into_iter());
            session.send(u16::try_from(index).unwrap(), records).await?;
        }
        let definition = Bytes::from(self.definition.encode());
        let outcome = Outcome::Point(Consistency::Crash);
        let point = session.seal(outcome, Instant::now(), root.finish(), definition).await?;
        self.last = Some(point);
        Ok(point)
    }

    /// Changes some clusters, ascending; the last, partial one among them.
    fn change(&mut self, disk: &DiskKey) -> Vec<Record> {
        self.seed += 1;
        let seed = self.seed;
        let step = 3 + usize::try_from(seed % 3).unwrap();
        let chosen = (usize::try_from(seed % 4).unwrap()..CLUSTERS).step_by(step);
        let content = self.disks.get_mut(disk).unwrap();
        chosen.map(|cluster| write(content, cluster, seed)).collect()
    }
}

fn write(content: &mut [u8], cluster: usize, seed: u64) -> Record {
    let start = cluster * CLUSTER_SIZE;
    let end = (start + CLUSTER_SIZE).min(content.len());
    let fill = u8::try_from((seed + cluster as u64) % 5).unwrap();
    content[start..end].fill(fill);
    if fill > 0 {
        content[start..start + 8].copy_from_slice(&seed.to_le_bytes());
    }
    let mut plain = content[start..end].to_vec();
    plain.resize(CLUSTER_SIZE, 0);
    let digest = Digest::of(&plain);
    let body = match (digest.is_zero(), fill % 2) {
        (true, _) => Body::Zero,
        (_, 0) => Body::Raw(plain.into()),
        _ => Body::Zstd(zstd(&plain)),
    };
    Record { cluster: cluster as u64, digest, body }
}

fn zstd(plain: &[u8]) -> Bytes {
    zstd::bulk::compress(plain, 1).unwrap().into()
}
