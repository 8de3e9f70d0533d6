//! A vault that a test plays, over real TLS: documents, reports, introductions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use axum::{Router, extract::State, routing::post};
use farshore_channel::{Json, Keyring, Listener, Peer, Refusal, Serving};
use farshore_control::{
    Body, Document, HostReport, Key, Term, TrustDocument, Version,
    enrolment::{Enrolled, INTRODUCE_PATH, Introduction},
    report::ReportReply,
    request::Ending,
    sync::{Cursor, Documents, Poll, SITE_POLL_PATH, SITE_REPORT_PATH, SiteReply, SiteReport},
};
use farshore_pki::{Applicant, Authority, Identity, Lifetime, Role};
use farshore_types::{HostId, RequestId, VaultId};
use tokio::sync::watch;
use uuid::Uuid;

use crate::world::PATIENCE;

pub(crate) const TERM: Term = Term { number: 1, vault: VaultId(Uuid::from_u128(1)) };

pub(crate) struct Vault {
    pub(crate) authority: Authority,
    state: Mutex<State_>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State_ {
    sequence: u64,
    documents: BTreeMap<Key, (u64, Document)>,
    reports: BTreeMap<HostId, HostReport>,
    inventories: Vec<String>,
    endings: BTreeMap<RequestId, Vec<Ending>>,
    introduced: Vec<HostId>,
}

impl Vault {
    pub(crate) fn new() -> Arc<Vault> {
        let authority = Authority::create("Test CA").unwrap();
        Arc::new(Vault { authority, state: Mutex::default(), changed: watch::channel(0).0 })
    }

    pub(crate) async fn listen(self: &Arc<Self>, keyring: &Keyring, address: &str) -> Serving {
        let router = Router::new()
            .route(SITE_POLL_PATH, post(poll))
            .route(SITE_REPORT_PATH, post(report))
            .route(INTRODUCE_PATH, post(introduce))
            .with_state(Arc::clone(self));
        let listener = Listener::bind(address, keyring.clone(), router).await.unwrap();
        listener.admit(&[Role::Site]).serve().unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State_> {
        self.state.lock().unwrap()
    }

    pub(crate) fn put(&self, key: Key, hosts: &[HostId], body: Body) {
        let mut state = self.state();
        let generation = state.documents.get(&key).map_or(1, |(_, held)| held.version.generation + 1);
        let version = Version { term: TERM, generation };
        state.sequence += 1;
        let (sequence, hosts) = (state.sequence, hosts.iter().copied().collect());
        state.documents.insert(key.clone(), (sequence, Document::new(key, version, hosts, body)));
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn endings(&self, id: RequestId) -> Vec<Ending> {
        self.state().endings.get(&id).cloned().unwrap_or_default()
    }

    pub(crate) fn introduced(&self) -> Vec<HostId> {
        self.state().introduced.clone()
    }

    pub(crate) async fn ending(&self, id: RequestId) -> Ending {
        self.wait("an outcome", |state| state.endings.get(&id).and_then(|told| told.first().cloned())).await
    }

    pub(crate) async fn until(
        &self,
        host: HostId,
        what: &str,
        wanted: impl Fn(&HostReport) -> bool,
    ) -> HostReport {
        self.wait(what, |state| state.reports.get(&host).filter(|report| wanted(report)).cloned()).await
    }

    async fn wait<T>(&self, what: &str, look: impl Fn(&State_) -> Option<T>) -> T {
        let begun = std::time::Instant::now();
        loop {
            if let Some(found) = look(&self.state()) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "never: {what}; {:#?}", self.state().reports);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn fresh(&self, poll: &Poll) -> Option<Documents> {
        let state = self.state();
        let since = poll.cursor.map_or(0, |cursor| cursor.sequence);
        let fresh = state.documents.values().filter(|(at, _)| *at > since);
        let documents: Vec<Document> = fresh.map(|(_, document)| document.clone()).collect();
        (poll.cursor.is_none() || !documents.is_empty()).then(|| answer(&state, documents))
    }
}

fn answer(state: &State_, documents: Vec<Document>) -> Documents {
    let cursor = Cursor { term: TERM, sequence: state.sequence };
    Documents { term: TERM, cursor, documents, more: false, clock_ms: Some(now_ms()) }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

async fn poll(
    State(vault): State<Arc<Vault>>,
    peer: Peer,
    Json(poll): Json<Poll>,
) -> Result<Json<Documents>, Refusal> {
    peer.require(Role::Site)?;
    let mut changed = vault.changed.subscribe();
    let wait = tokio::time::sleep(Duration::from_secs(poll.wait_secs));
    tokio::pin!(wait);
    loop {
        if let Some(documents) = vault.fresh(&poll) {
            return Ok(Json(documents));
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = &mut wait => return Ok(Json(answer(&vault.state(), Vec::new()))),
        }
    }
}

async fn report(
    State(vault): State<Arc<Vault>>,
    peer: Peer,
    Json(report): Json<SiteReport>,
) -> Result<Json<SiteReply>, Refusal> {
    peer.require_member(Role::Site, report.site.0)?;
    let mut state = vault.state();
    let mut hosts = Vec::new();
    for (_, report) in report.hosts {
        if report.inventory.is_some() {
            state.inventories.push(report.inventory_digest.clone());
        }
        let ended = report.outcomes.iter().filter(|o| !matches!(o.result, Ending::Running { .. }));
        let acknowledged = ended.clone().map(|outcome| outcome.id).collect();
        for outcome in ended {
            state.endings.entry(outcome.id).or_default().push(outcome.result.clone());
        }
        let wants_inventory = !state.inventories.contains(&report.inventory_digest);
        hosts.push((report.host, ReportReply { wants_inventory, wants_documents: false, acknowledged }));
        state.reports.insert(report.host, report);
    }
    Ok(Json(SiteReply { term: TERM, hosts }))
}

async fn introduce(
    State(vault): State<Arc<Vault>>,
    peer: Peer,
    Json(introduction): Json<Introduction>,
) -> Result<Json<Enrolled>, Refusal> {
    peer.require(Role::Site)?;
    let applicant = Applicant::parse(&introduction.csr_pem).unwrap();
    let id = introduction.id.0;
    let identity = Identity { role: Role::Host, id, name: introduction.reach.name.clone() };
    let addresses: Vec<&str> = introduction.reach.addresses.iter().map(String::as_str).collect();
    let lifetime = Lifetime::of_member(SystemTime::now());
    let signed = vault.authority.sign(&applicant, &identity, &addresses, lifetime).unwrap();
    vault.state().introduced.push(introduction.id);
    let authority_pem = vault.authority.cert_pem().to_owned();
    let trust = TrustDocument { authority_pem, revoked_pem: String::new(), revoked_number: 0 };
    Ok(Json(Enrolled { id, chain_pem: signed.cert_pem, trust, clock_ms: now_ms() }))
}
