//! Measures Data over loopback TLS with both ends in this process: raw records go to a
//! sink that forgets them. `cargo run --release -p farshore-link --example throughput [GiB]`

use std::{
    error::Error,
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use farshore_link::{
    Caller, Endpoint, Greeting, Identity, Receiver, ServerLimits, Session, SessionOptions, Sink, Welcomed,
    serve,
};
use farshore_pki::{Authority, Lifetime};
use farshore_types::{
    CLUSTER_BYTES, CLUSTER_SIZE, Digest, DiskKey, Epoch, MachineId, PointId, PointRef, RootDigest,
};
use farshore_wire::{
    Acceptance, Body, CycleKind, DigestPage, DiskSize, Failure, Held, Hello, OpenCycle, Outcome, Record,
    Refusal, Seal, SessionId, limits::WINDOW_DEFAULT,
};
use tokio_util::sync::CancellationToken;

const EPOCH: Epoch = Epoch { number: 1, token: 1 };
const RECORDS_PER_SEND: usize = 64;

struct Forgetful;

#[async_trait]
impl Sink for Forgetful {
    async fn authorise(&self, _: &Caller, _: &Hello) -> Result<(), Refusal> {
        Ok(())
    }

    async fn hello(&self, _: &Caller, _: &Hello) -> Result<Welcomed, Refusal> {
        let acceptance = Acceptance {
            session: SessionId(1),
            held_epoch: None,
            last: None,
            held: None,
            window: WINDOW_DEFAULT,
            disks: Vec::new(),
            free_space: 0,
        };
        Ok(Welcomed { acceptance, receiver: Box::new(Forgetful) })
    }
}

#[async_trait]
impl Receiver for Forgetful {
    async fn open_cycle(&mut self, _: &OpenCycle) -> Result<(), Failure> {
        Ok(())
    }
    async fn append(&mut self, _: &DiskKey, _: Vec<Record>) -> Result<(), Failure> {
        Ok(())
    }
    async fn seal(&mut self, seal: Seal) -> Result<PointRef, Failure> {
        Ok(PointRef { id: PointId { epoch: EPOCH.number, number: seal.cycle }, root: seal.root })
    }
    async fn abort(&mut self, _: u64, _: &Failure) {}
    async fn digests(&mut self, disk: &DiskKey, from: u64) -> Result<DigestPage, Failure> {
        Ok(DigestPage { disk: disk.clone(), from, entries: Vec::new(), next: None })
    }
    async fn lost(&mut self, _: Option<Held>) {}
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let gib: u64 = std::env::args().nth(1).map_or(Ok(4), |text| text.parse())?;
    let (dir, authority) = (tempfile::tempdir()?, Authority::create("Throughput")?);
    authority
        .issue("here.example", &[], Lifetime::starting_now(Duration::from_secs(3600)))?
        .save(dir.path())?;
    let identity = Identity::load(dir.path())?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint =
        Endpoint { address: listener.local_addr()?.to_string(), server_name: "here.example".to_owned() };
    let stop = CancellationToken::new();
    let (limits, shutdown) = (ServerLimits::default(), stop.clone());
    let serving = tokio::spawn(serve(listener, identity.clone(), Arc::new(Forgetful), limits, shutdown));
    let greeting = Greeting {
        machine: MachineId(uuid::Uuid::from_u128(1)),
        machine_name: "throughput".to_owned(),
        epoch: EPOCH,
        agent: "example".to_owned(),
    };
    let mut session = Session::connect(&endpoint, &identity, greeting, SessionOptions::default()).await?;
    let took = send_all(&mut session, gib << 30).await?;
    session.bye().await?;
    stop.cancel();
    serving.await?;
    let rate = (gib << 30) as f64 / took.as_secs_f64() / 1e9;
    writeln!(std::io::stdout(), "{gib} GiB in {:.2} s: {rate:.2} GB/s", took.as_secs_f64())?;
    Ok(())
}

async fn send_all(session: &mut Session, bytes: u64) -> Result<Duration, Box<dyn Error>> {
    let clusters = bytes / CLUSTER_BYTES;
    let content = Bytes::from(vec![0xa5; CLUSTER_SIZE]);
    let digest = Digest::of(&content);
    let start = Instant::now();
    let disks = vec![DiskSize { key: "vda".parse()?, size: bytes }];
    session.open_cycle(OpenCycle { cycle: 1, kind: CycleKind::Initial, base: None, disks }).await?;
    for first in (0..clusters).step_by(RECORDS_PER_SEND) {
        let of_send = first..clusters.min(first + RECORDS_PER_SEND as u64);
        let record = |cluster| Record { cluster, digest, body: Body::Raw(content.clone()) };
        session.send(0, of_send.map(record).collect()).await?;
    }
    session.seal(Outcome::Stage, start, RootDigest::NONE, Bytes::new()).await?;
    Ok(start.elapsed())
}
