//! Setting a session up, and what goes through it, by certificates and by Kerberos: both ends
//! in one process, a real key distribution centre beside it. The process is started anew for
//! the realm, because the Kerberos library reads its environment.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use farshore_e2e::host::Outcome;
use farshore_kdc::{Realm, environment, place, principal_of};
use farshore_kerberos::Gss;
use farshore_link::{
    Assignments, Caller, Dial, Endpoint, Greeting, Identity, Kerberos, KerberosDial, Proofs, Receiver,
    ServerLimits, Session, SessionOptions, Sink, TlsDial, Welcomed, limits::HANDSHAKE_DEADLINE, serve,
    warm_up,
};
use farshore_pki::{Authority, Lifetime};
use farshore_types::{
    CLUSTER_BYTES, CLUSTER_SIZE, Digest, DiskKey, Epoch, MachineId, PointId, PointRef, RootDigest,
};
use farshore_wire::{
    Acceptance, Body, CycleKind, DigestPage, DiskSize, Failure, Held, Hello, OpenCycle, Outcome as Sealed,
    Record, Refusal, Seal, SessionId, limits::WINDOW_DEFAULT,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    lab::Lab,
    table::{Row, median},
};

/// First argument of the process in the realm.
pub(crate) const IN_REALM: &str = "sessions-in-realm";

const SOURCE: &str = "source.example";
const TARGET: &str = "target.example";
const EPOCH: Epoch = Epoch { number: 1, token: 1 };
/// Sessions that are set up in one round.
const SESSIONS: u32 = 20;
/// Bytes that are sent in one round.
const BYTES: u64 = 1 << 30;
const RECORDS_PER_SEND: usize = 64;
/// In which a session must be set up.
const SETUP_MOST: f64 = 0.05;

/// What was measured, in seconds.
#[derive(Default, Serialize, Deserialize)]
struct Figures {
    /// Setting one up: certificates, Kerberos.
    setup: [Vec<f64>; 2],
    /// The first one by Kerberos, for which tickets are had.
    first: f64,
    /// Sending [`BYTES`]: certificates, Kerberos.
    sending: [Vec<f64>; 2],
}

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let realm = Realm::start();
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(program);
    child.args([IN_REALM, &lab.arguments.rounds.to_string()]).envs(realm.second_run("all"));
    let output = child.output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let figures: Figures = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    let [by_certificate, by_kerberos] = figures.setup.each_ref().map(|all| median(all));
    let [sent, sent_by_kerberos] = figures.sending.each_ref().map(|all| median(all));
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1000.0);
    let bound = |measure: &str, ours: f64, against: String| Row {
        measure: measure.to_owned(),
        ours: ms(ours),
        against,
        reach: "≤ 50 ms",
        figure: ms(ours),
        reached: Some(ours <= SETUP_MOST),
    };
    let rate = |seconds: f64| format!("{:.2} GB/s", BYTES as f64 / seconds / 1e9);
    Ok(vec![
        bound("a session set up, by certificates", by_certificate, String::new()),
        bound("a session set up, by Kerberos", by_kerberos, format!("certificates: {}", ms(by_certificate))),
        Row::shown(
            "… the first one, which has to have tickets",
            ms(figures.first),
            String::new(),
            ms(figures.first),
        ),
        Row::ratio(
            "1 GiB through a session by Kerberos, against certificates",
            (rate(sent_by_kerberos), rate(sent)),
            sent_by_kerberos / sent,
            ("≤ 1.1 ×", 1.1),
        ),
    ])
}

/// The process in the realm: prints what it has measured.
pub(crate) fn in_realm(args: &[String]) -> Outcome<()> {
    let rounds: u32 = args.first().and_then(|text| text.parse().ok()).ok_or("no number of rounds")?;
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    let figures = runtime.block_on(figures(rounds))?;
    println!("{}", serde_json::to_string(&figures).map_err(|e| e.to_string())?);
    Ok(())
}

async fn figures(rounds: u32) -> Outcome<Figures> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let dir = tempfile::tempdir().map_err(|e| said(&e))?;
    let authority = Authority::create("Bench").map_err(|e| said(&e))?;
    let issued = authority.issue(TARGET, &[], Lifetime::starting_now(Duration::from_secs(3600)));
    issued.and_then(|issued| issued.save(dir.path())).map_err(|e| said(&e))?;
    let identity = Identity::load(dir.path()).map_err(|e| said(&e))?;
    let table = [SOURCE, TARGET].map(|host| (principal_of(host), host.to_owned()));
    let assignments = Assignments::new(BTreeMap::from(table));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|e| said(&e))?;
    let address = listener.local_addr().map_err(|e| said(&e))?.to_string();
    let kerberos = Some((kerberos(TARGET)?, assignments.clone()));
    let (proofs, stop) = (Proofs { identity: identity.clone(), kerberos }, CancellationToken::new());
    let (limits, sink) = (ServerLimits::default(), Arc::new(Forgetful));
    let serving = tokio::spawn(serve(listener, proofs, sink, limits, stop.clone()));
    let endpoint = Endpoint { address, server_name: TARGET.to_owned() };
    let wanted = principal_of(TARGET).parse().map_err(|e| said(&e))?;
    let by_kerberos =
        KerberosDial::new(endpoint.clone(), wanted, self::kerberos(SOURCE)?, assignments, HANDSHAKE_DEADLINE);
    let dials: [Arc<dyn Dial>; 2] =
        [Arc::new(TlsDial::new(endpoint, identity, HANDSHAKE_DEADLINE)), Arc::new(by_kerberos)];
    warm_up();
    let mut figures = Figures { first: setup(&dials[1]).await?, ..Figures::default() };
    for _ in 0..rounds {
        for (at, dial) in dials.iter().enumerate() {
            for _ in 0..SESSIONS {
                figures.setup[at].push(setup(dial).await?);
            }
            figures.sending[at].push(send(dial).await?);
        }
    }
    stop.cancel();
    serving.await.map_err(|e| said(&e))?;
    Ok(figures)
}

fn kerberos(host: &str) -> Outcome<Kerberos> {
    let place = place();
    let principal = principal_of(host).parse().map_err(|e| format!("{e}"))?;
    let gss = Gss::new(principal, place.join("hosts.keytab"), &environment(&place));
    Kerberos::new(Arc::new(gss.map_err(|e| e.to_string())?)).map_err(|e| e.to_string())
}

async fn open(dial: &Arc<dyn Dial>) -> Outcome<Session> {
    let greeting = Greeting {
        machine: MachineId(uuid::Uuid::from_u128(1)),
        machine_name: "bench".to_owned(),
        epoch: EPOCH,
        agent: "bench".to_owned(),
    };
    Session::over(Arc::clone(dial), greeting, SessionOptions::default()).await.map_err(|e| e.to_string())
}

async fn setup(dial: &Arc<dyn Dial>) -> Outcome<f64> {
    let begun = Instant::now();
    let session = open(dial).await?;
    let took = begun.elapsed().as_secs_f64();
    session.bye().await.map_err(|e| e.to_string())?;
    Ok(took)
}

async fn send(dial: &Arc<dyn Dial>) -> Outcome<f64> {
    let mut session = open(dial).await?;
    let content = bytes::Bytes::from(vec![0xa5; CLUSTER_SIZE]);
    let (digest, begun) = (Digest::of(&content), Instant::now());
    let disks = vec![DiskSize { key: "vda".parse().map_err(|e| format!("{e}"))?, size: BYTES }];
    let open = OpenCycle { cycle: 1, kind: CycleKind::Initial, base: None, disks };
    session.open_cycle(open).await.map_err(|e| e.to_string())?;
    let clusters = BYTES / CLUSTER_BYTES;
    for first in (0..clusters).step_by(RECORDS_PER_SEND) {
        let of_send = first..clusters.min(first + RECORDS_PER_SEND as u64);
        let record = |cluster| Record { cluster, digest, body: Body::Raw(content.clone()) };
        session.send(0, of_send.map(record).collect()).await.map_err(|e| e.to_string())?;
    }
    let sealed = session.seal(Sealed::Stage, begun, RootDigest::NONE, bytes::Bytes::new()).await;
    sealed.map_err(|e| e.to_string())?;
    let took = begun.elapsed().as_secs_f64();
    session.bye().await.map_err(|e| e.to_string())?;
    Ok(took)
}

/// A target that forgets all.
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
