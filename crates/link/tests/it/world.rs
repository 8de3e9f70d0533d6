//! Two sites with certificates of one authority, and a source's machine with its oracle.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use farshore_link::{
    Endpoint, Greeting, Identity, LinkError, ServerLimits, Session, SessionOptions, Timing, serve,
};
use farshore_pki::{Authority, Lifetime};
use farshore_types::{
    CLUSTER_BYTES, CLUSTER_SIZE, Consistency, Digest, Epoch, MachineId, PointRef, RootDigest,
};
use farshore_wire::{Body, CycleKind, DiskSize, OpenCycle, Outcome, Patch, Record};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::memory::{Content, Memory};

pub(crate) const MACHINE: MachineId = MachineId(uuid::Uuid::from_u128(7));
pub(crate) const EPOCH: Epoch = Epoch { number: 3, token: 99 };
pub(crate) const DISK_CLUSTERS: u64 = 4096;

/// Deadlines short enough to see them pass, and so long that a busy machine, which lets a ping wait,
/// does not pass them by itself.
pub(crate) const HASTY: Timing = Timing {
    handshake: Duration::from_secs(5),
    ping: Duration::from_millis(300),
    idle: Duration::from_secs(3),
};

/// A host's identity, issued by `authority`.
pub(crate) fn identity(authority: &Authority, name: &str, lifetime: Lifetime) -> (Identity, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    authority.issue(name, &["127.0.0.1"], lifetime).unwrap().save(dir.path()).unwrap();
    (Identity::load(dir.path()).unwrap(), dir)
}

pub(crate) fn a_day() -> Lifetime {
    Lifetime::starting_now(Duration::from_secs(24 * 3600))
}

/// A target that listens on loopback.
pub(crate) struct Site {
    pub(crate) memory: Memory,
    pub(crate) address: String,
    pub(crate) authority: Authority,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Site {
    pub(crate) async fn start(timing: Timing) -> Site {
        Site::start_as(timing, a_day()).await
    }

    pub(crate) async fn start_as(timing: Timing, lifetime: Lifetime) -> Site {
        let authority = Authority::create("Test CA").unwrap();
        let (target, _dir) = identity(&authority, "target.example", lifetime);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (memory, shutdown) = (Memory::default(), CancellationToken::new());
        let limits = ServerLimits { timing, ..ServerLimits::default() };
        let sink = Arc::new(memory.clone());
        let serving = tokio::spawn(serve(listener, target, sink, limits, shutdown.clone()));
        Site { memory, address, authority, shutdown, serving }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address.clone(), server_name: "target.example".to_owned() }
    }

    pub(crate) async fn connect(&self, options: SessionOptions) -> Result<Session, LinkError> {
        self.connect_at(&self.endpoint(), EPOCH, options).await
    }

    pub(crate) async fn connect_at(
        &self,
        endpoint: &Endpoint,
        epoch: Epoch,
        options: SessionOptions,
    ) -> Result<Session, LinkError> {
        let (source, _dir) = identity(&self.authority, "source.example", a_day());
        Session::connect(endpoint, &source, greeting(epoch), options).await
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
    }
}

pub(crate) fn greeting(epoch: Epoch) -> Greeting {
    Greeting { machine: MACHINE, machine_name: "web1".to_owned(), epoch, agent: "test 1".to_owned() }
}

/// A source's machine: makes cycles, and knows what the target must hold afterwards.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) content: Content,
    pub(crate) last: Option<PointRef>,
    pub(crate) cycle: u64,
    seed: u64,
}

impl Model {
    /// A cycle of so many frames' worth of records, half of them raw.
    pub(crate) fn open(&mut self, kind: CycleKind) -> OpenCycle {
        self.cycle += 1;
        let disk = |name: &str| DiskSize { key: name.parse().unwrap(), size: DISK_CLUSTERS * CLUSTER_BYTES };
        OpenCycle { cycle: self.cycle, kind, base: self.last, disks: vec![disk("vda"), disk("vdb")] }
    }

    /// Records of one call to `send`, applied to the oracle as if sealed.
    pub(crate) fn records(&mut self, disk: u16, count: u64) -> Vec<Record> {
        let key = ["vda", "vdb"][usize::from(disk)].parse::<farshore_types::DiskKey>().unwrap();
        (0..count)
            .map(|_| {
                self.seed += 1;
                let cluster = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % DISK_CLUSTERS;
                let record = record(cluster, self.seed);
                match record.body {
                    Body::Zero | Body::Discard => self.content.remove(&(key.clone(), cluster)),
                    Body::Raw(_) | Body::Zstd(_) | Body::Patch(_) => {
                        self.content.insert((key.clone(), cluster), record.digest)
                    }
                };
                record
            })
            .collect()
    }

    pub(crate) fn root(&self) -> RootDigest {
        RootDigest([u8::try_from(self.cycle % 251).unwrap(); 32])
    }

    /// Runs a whole cycle of `sends` calls over a session.
    pub(crate) async fn run(
        &mut self,
        session: &mut Session,
        kind: CycleKind,
        sends: u64,
    ) -> Result<PointRef, LinkError> {
        session.open_cycle(self.open(kind)).await?;
        for i in 0..sends {
            let disk = u16::try_from(i % 2).unwrap();
            session.send(disk, self.records(disk, 16)).await?;
        }
        let point = self.seal(session).await?;
        self.last = Some(point);
        Ok(point)
    }

    pub(crate) async fn seal(&mut self, session: &mut Session) -> Result<PointRef, LinkError> {
        let outcome = Outcome::Point(Consistency::Crash);
        session.seal(outcome, Instant::now(), self.root(), Bytes::from_static(b"<domain/>")).await
    }
}

/// A record whose kind and content follow from the seed.
fn record(cluster: u64, seed: u64) -> Record {
    let body = match seed % 8 {
        0 => Body::Zero,
        1 => Body::Discard,
        2..=4 => Body::Zstd(Bytes::from(seed.to_le_bytes().repeat(1 + (seed % 100) as usize))),
        5 => {
            let blocks = u16::try_from(1 + seed % 65_000).unwrap();
            Body::Patch(Patch { blocks, packed: true, bytes: Bytes::from(seed.to_le_bytes().repeat(9)) })
        }
        _ => {
            let mut bytes = vec![0xaa; CLUSTER_SIZE];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            Body::Raw(bytes.into())
        }
    };
    let digest = match &body {
        Body::Zero | Body::Discard => Digest::ZERO,
        Body::Raw(bytes) | Body::Zstd(bytes) => Digest::of(bytes),
        Body::Patch(patch) => Digest::of(&patch.bytes),
    };
    Record { cluster, digest, body }
}
