//! A vault in a folder of its own, with two sites, and whoever asks it something.

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header::CONTENT_TYPE},
};
use farshore_control::{
    HostReport, Inventory, Key, Version,
    report::{
        DiskFacts, HostFacts, MachineFacts, PointAge, ReplicaPhase, ReplicaState, SourcePhase, SourceState,
        Space, StorageClass,
    },
    request::{Action, Answer, Ending, Outcome, PointFacts},
    sync::SiteReport,
};
use farshore_store::{Options, Store};
use farshore_types::{CloudId, Consistency, Epoch, HostId, MachineId, PointId, SiteId};
use farshore_vault::Command;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

use crate::vault::{
    VaultConfig, api,
    desk::{Books, Desk},
    init,
    issuer::Issuer,
    notify::Channels,
    offline, own, serve,
};

/// A vault and its owner.
pub(super) struct World {
    pub(super) router: Router,
    pub(super) desk: Desk,
    token: String,
    stop: CancellationToken,
    _dir: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) kind: String,
    pub(super) body: Value,
}

/// Host `n`.
pub(super) fn host_id(n: u128) -> HostId {
    HostId(Uuid::from_u128(0x1000 + n))
}

/// Machine `n`.
pub(super) fn machine_id(n: u128) -> MachineId {
    MachineId(Uuid::from_u128(0x10_0000 + n))
}

impl World {
    /// A vault with nothing in it.
    pub(super) async fn empty() -> World {
        let dir = tempfile::tempdir().unwrap();
        let config = VaultConfig {
            data_dir: dir.path().to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            address: Some("127.0.0.1:1".to_owned()),
            ..VaultConfig::default()
        };
        let made = init(&config, "owner").await.unwrap();
        let (store, loaded) = Store::open(config.location().unwrap(), Options::default()).await.unwrap();
        let (core, papers) = offline::load(&loaded).unwrap();
        let authority = serve::unlock(&config, &papers).unwrap();
        let known = papers.clone();
        let stop = CancellationToken::new();
        let desk = Desk::open(core, papers, store, stop.clone());
        let keyring = own::keyring(&config, &authority, &known, &desk).await.unwrap();
        let issuer = Issuer::new(desk.clone(), authority, keyring, &config).unwrap();
        let router = api::router(desk.clone(), issuer, Channels::of(&config.alerts).unwrap(), stop.clone());
        World { router, desk, token: made.token, stop, _dir: dir }
    }

    /// Two sites, east and west, each with a cloud of its name, a pair, the policy gold, and two
    /// hosts on each side that have reported; `machines` of them in the east.
    pub(super) async fn with_machines(machines: u128) -> World {
        let world = World::empty().await;
        for site in ["east", "west"] {
            world.ok(Method::POST, "sites", &json!({ "name": site })).await;
            world.ok(Method::POST, "clouds", &json!({ "site": site, "name": site })).await;
        }
        world.ok(Method::PUT, "clouds/east/pair", &json!({ "target": "west" })).await;
        world.ok(Method::POST, "policies", &json!({ "name": "gold" })).await;
        world.ok(Method::PUT, "clouds/east/policy", &json!({ "policy": "gold" })).await;
        for n in 0..4 {
            let site = if n < 2 { "east" } else { "west" };
            let on_it = (0..machines).filter(|machine| n < 2 && machine % 2 == n).collect();
            world.add_host(n, site, on_it).await;
        }
        world
    }

    /// Makes a host known and lets it report.
    pub(super) async fn add_host(&self, n: u128, site: &'static str, machines: Vec<u128>) {
        let add = move |books: &mut Books<'_>| {
            let at = books.at;
            let site = books.core.sites().find(|row| row.name == site).unwrap().id;
            let cloud = books.core.clouds().find(|row| row.site == site).unwrap().id;
            books.core.run(&add_host(n, cloud), None, &at)?;
            let report = report(n, site, at.wall_ms, machines);
            books.core.site_report(&report, &at).map(drop)
        };
        self.desk.change(add).await.unwrap();
    }

    /// Lets the first host say that it replicates a machine, and how.
    pub(super) async fn says(&self, machine: u128, phase: SourcePhase) {
        let source = SourceState {
            machine: machine_id(machine),
            epoch: Epoch { number: 1, token: 1 },
            phase,
            newest: None,
            totals: Default::default(),
            last_cycle: None,
            pending: 0,
            resynced: 0,
            notes: Vec::new(),
            apps: None,
        };
        self.tells(machine, 0, |report| report.sources = vec![source]).await;
    }

    /// Lets one of the two hosts of a protection report: 0 is its source, 1 its target.
    pub(super) async fn tells(
        &self,
        machine: u128,
        which: usize,
        what: impl FnOnce(&mut HostReport) + Send + 'static,
    ) {
        let say = move |books: &mut Books<'_>| {
            let at = books.at;
            let host = books.core.protection(machine_id(machine)).unwrap().hosts()[which];
            let site = books.core.host(host).unwrap().site;
            let mut report = report(host.0.as_u128() - 0x1000, site, at.wall_ms, Vec::new());
            report.hosts[0].1.inventory = None;
            report.hosts[0].1.sequence = at.mono_ms + 2;
            what(&mut report.hosts[0].1);
            books.core.site_report(&report, &at).map(drop)
        };
        self.desk.change(say).await.unwrap();
    }

    /// The target's host has points of a machine, and answers the next question for them.
    pub(super) async fn answers_with(&self, machine: u128, there: &'static [u64]) {
        let (id, before, term) = loop {
            // It may be asked for other things, too.
            let open = |core: &farshore_vault::Core| {
                core.requests().filter(|row| row.ending.is_none()).find_map(|row| match row.request.action {
                    Action::Points { before, .. } => Some((row.id, before, core.term())),
                    _ => None,
                })
            };
            match self.desk.look(move |core, _, _| open(core)).await.unwrap() {
                Some(asked) => break asked,
                None => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            }
        };
        let fits = |number: &u64| before.is_none_or(|before| point(*number) < before);
        let newest = there.iter().copied().filter(fits).max();
        let facts = |number| PointFacts {
            id: point(number),
            age_ms: 61_500,
            consistency: Consistency::Crash,
            changed: 1,
            received: 1,
            pinned_by: Vec::new(),
        };
        let answer = Answer::Points { points: newest.map(facts).into_iter().collect(), more: false };
        self.tells(machine, 1, move |report| {
            let (host, result) = (report.host, Ending::Done { answer });
            report.outcomes = vec![Outcome { id, host, result }];
            // It has not heard yet that its answer is there, as no host has that tells it.
            report.holds.insert(Key::Request(id), Version { term, generation: 1 });
            report.replicas = vec![replica(machine_id(machine), there)];
        })
        .await;
    }

    /// Asks as the owner.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let body = body.map_or_else(Vec::new, |body| serde_json::to_vec(body).unwrap());
        self.send(self.request(method, path).body(Body::from(body)).unwrap()).await
    }

    /// The beginning of a request of the owner.
    pub(super) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        request.header("authorization", format!("Bearer {}", self.token))
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Reply { status, kind: kind.unwrap_or_default(), body }
    }

    /// What must be done.
    pub(super) async fn ok(&self, method: Method, path: &str, body: &Value) -> Value {
        let reply = self.ask(method.clone(), path, Some(body)).await;
        assert!(reply.status.is_success(), "{method} {path}: {reply:?}");
        reply.body
    }

    /// What must be read.
    pub(super) async fn get(&self, path: &str) -> Value {
        let reply = self.ask(Method::GET, path, None).await;
        assert!(reply.status.is_success(), "{path}: {reply:?}");
        reply.body
    }

    /// What must be refused, as a problem of this status and code; nothing is changed by it.
    pub(super) async fn refused(&self, method: Method, path: &str, body: &Value, code: &str) -> Value {
        let before = self.rows().await;
        let reply = self.ask(method.clone(), path, Some(body)).await;
        assert!(reply.status.is_client_error(), "{method} {path}: {reply:?}");
        assert_eq!(reply.kind, "application/problem+json", "{method} {path}");
        assert_eq!(reply.body["code"], code, "{method} {path}: {reply:?}");
        assert!(self.rows().await == before, "{method} {path} was refused, and changed something");
        reply.body
    }

    /// Everything that an operator can change.
    async fn rows(&self) -> String {
        let look = |core: &farshore_vault::Core| {
            let kinds = (core.sites().collect::<Vec<_>>(), core.clouds().collect::<Vec<_>>());
            let more = (core.hosts().collect::<Vec<_>>(), core.policies().collect::<Vec<_>>());
            let rest = (core.protections().collect::<Vec<_>>(), core.tokens().collect::<Vec<_>>());
            let maps = (core.network_maps().collect::<Vec<_>>(), core.storage_maps().collect::<Vec<_>>());
            format!("{kinds:?} {more:?} {rest:?} {maps:?} {:?}", core.associations().collect::<Vec<_>>())
        };
        self.desk.look(move |core, _, _| look(core)).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn add_host(n: u128, cloud: CloudId) -> Command {
    let (name, address) = (format!("host{n}"), format!("host{n}:7411"));
    Command::AddHost { id: Some(host_id(n)), cloud, name, address, principal: None }
}

/// Point `number`.
pub(super) fn point(number: u64) -> PointId {
    PointId { epoch: 1, number }
}

/// A replica with these points.
pub(super) fn replica(machine: MachineId, there: &[u64]) -> ReplicaState {
    let end = |number: Option<&u64>| number.map(|number| PointAge { id: point(*number), age_ms: 9 });
    ReplicaState {
        machine,
        name: String::new(),
        epoch: Epoch { number: 1, token: 1 },
        phase: ReplicaPhase::Receiving,
        newest: end(there.iter().max()),
        consistency: None,
        newest_application: None,
        oldest: end(there.iter().min()),
        points: there.len() as u64,
        stored: 0,
        faults: Vec::new(),
        own_writes: Vec::new(),
    }
}

fn report(n: u128, site: SiteId, clock_ms: u64, machines: Vec<u128>) -> SiteReport {
    let inventory = Inventory {
        host: HostFacts { arch: "x86_64".to_owned(), ..HostFacts::default() },
        machines: machines.into_iter().map(machine).collect(),
        networks: vec!["lan".to_owned()],
        storage: vec![StorageClass { name: "ssd".to_owned(), path: "/srv/ssd".to_owned(), default: true }],
    };
    let space = Space { path: "/r".to_owned(), of: "replicas".to_owned(), free: 1 << 50, total: 1 << 50 };
    let report = HostReport {
        host: host_id(n),
        run: Uuid::from_u128(1),
        sequence: 1,
        urgent: false,
        agent_version: "0.1.0".to_owned(),
        clock_ms,
        transit_ms: 1,
        certificate_until_ms: 0,
        inventory_digest: format!("inventory of {n}"),
        inventory: Some(inventory),
        space: vec![space],
        sources: Vec::new(),
        replicas: Vec::new(),
        lineages: Vec::new(),
        standings: Vec::new(),
        holds: Default::default(),
        documents: Vec::new(),
        unclaimed: Vec::new(),
        outcomes: Vec::new(),
        problems: Vec::new(),
    };
    SiteReport {
        site,
        version: "0.1.0".to_owned(),
        clock_ms,
        transit_ms: 1,
        problems: Vec::new(),
        hosts: vec![(0, report)],
    }
}

fn machine(n: u128) -> MachineFacts {
    let disk = DiskFacts {
        key: "vda".parse().unwrap(),
        size: 1 << 30,
        allocated: None,
        format: "qcow2".to_owned(),
        storage: None,
        tracking: "bitmap".to_owned(),
        why: None,
    };
    MachineFacts {
        id: machine_id(n),
        name: format!("m{n}"),
        power: "running".to_owned(),
        disks: vec![disk],
        networks: vec![Some("lan".to_owned())],
        cards: Vec::new(),
        brought_up_at: None,
        tpm: false,
    }
}
