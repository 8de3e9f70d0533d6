//! A site server: lets hosts in, and hands on what the test's vault says.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use axum::{Router, extract::State, routing::post};
use farshore_channel::{
    Enroller, Json, Keyring, Listener, Peer, Refusal, Serving, Signing, admit, enrolment_router,
};
use farshore_control::{
    HostReport, TrustDocument,
    enrolment::{Enrolled, Enrolment, RENEW_PATH, Renewal, Renewed},
    report::ReportReply,
    sync::{Documents, POLL_PATH, Poll, REPORT_PATH},
};
use farshore_pki::{
    Authority, Bundle, Identity, Lifetime, REGISTRATION_LIFETIME, Registration, RegistrationError,
    RegistrationKey, Role,
};
use farshore_types::{HostId, RegistrationId};
use uuid::Uuid;

use crate::managed::vault::Vault;

struct Inner {
    authority: Authority,
    vault: Arc<Vault>,
    state: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    records: HashMap<RegistrationId, Registration>,
    asked: usize,
    /// Answers that are still to be lost.
    lose: u32,
    /// Certificates are issued as of then; none: as of now.
    as_of: Option<SystemTime>,
}

pub(crate) struct Site {
    pub(crate) vault: Arc<Vault>,
    me: Identity,
    inner: Arc<Inner>,
    serving: Serving,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, Issued> {
        self.state.lock().unwrap()
    }

    fn trust(&self) -> TrustDocument {
        let revoked_pem = self.authority.revocation_list(1, &[], SystemTime::now()).unwrap();
        TrustDocument { authority_pem: self.authority.cert_pem().to_owned(), revoked_pem, revoked_number: 1 }
    }

    fn as_of(&self) -> SystemTime {
        self.state().as_of.unwrap_or_else(SystemTime::now)
    }
}

#[async_trait]
impl Enroller for Inner {
    async fn enrol(&self, request: Enrolment, _from: SocketAddr) -> Result<Enrolled, Refusal> {
        let as_of = self.as_of();
        let mut state = self.state();
        state.asked += 1;
        let record = state.records.get_mut(&request.registration).ok_or(RegistrationError::Unknown)?;
        let member = admit(record, &request, Uuid::new_v4(), SystemTime::now())?;
        record.mark_used(member.used.clone());
        if state.lose > 0 {
            state.lose -= 1;
            return Err(Refusal::unavailable("the answer was lost"));
        }
        let trust = self.trust();
        Ok(Signing { authority: &self.authority, trust: &trust }.enrol(&member, as_of)?.0)
    }
}

async fn poll(
    State(inner): State<Arc<Inner>>,
    peer: Peer,
    Json(poll): Json<Poll>,
) -> Result<Json<Documents>, Refusal> {
    let answer = inner.vault.at(HostId(peer.identity.id)).poll(&poll).await;
    answer.map(Json).map_err(|error| Refusal::unavailable(error.to_string()))
}

async fn report(
    State(inner): State<Arc<Inner>>,
    peer: Peer,
    Json(report): Json<HostReport>,
) -> Result<Json<ReportReply>, Refusal> {
    peer.require_member(Role::Host, report.host.0)?;
    let answer = inner.vault.at(report.host).report(&report).await;
    answer.map(Json).map_err(|error| Refusal::unavailable(error.to_string()))
}

async fn renew(
    State(inner): State<Arc<Inner>>,
    peer: Peer,
    Json(request): Json<Renewal>,
) -> Result<Json<Renewed>, Refusal> {
    let trust = inner.trust();
    let signing = Signing { authority: &inner.authority, trust: &trust };
    Ok(Json(signing.renew(&peer, &request, inner.as_of())?.0))
}

impl Site {
    pub(crate) async fn start() -> Site {
        let authority = Authority::create("CA").unwrap();
        let me = Identity { role: Role::Site, id: Uuid::new_v4(), name: "site.example".to_owned() };
        let lifetime = Lifetime::starting_now(Duration::from_secs(24 * 3600));
        let issued = authority.issue_to(&me, &[], lifetime).unwrap();
        let bundle = Bundle {
            key_pem: issued.key_pem,
            cert_pem: issued.cert_pem,
            authority_pem: issued.ca_pem,
            revoked_pem: String::new(),
        };
        let keyring = Keyring::new(bundle.check(SystemTime::now()).unwrap()).unwrap();
        let vault = Vault::new();
        let inner = Arc::new(Inner { authority, vault: Arc::clone(&vault), state: Mutex::default() });
        let router = Router::new()
            .route(POLL_PATH, post(poll))
            .route(REPORT_PATH, post(report))
            .route(RENEW_PATH, post(renew))
            .with_state(Arc::clone(&inner));
        let listener = Listener::bind("127.0.0.1:0", keyring, router).await.unwrap();
        let strangers = enrolment_router(Arc::<Inner>::clone(&inner));
        let serving = listener.admit(&[Role::Host]).open_to_strangers(strangers).serve().unwrap();
        Site { vault, me, inner, serving }
    }

    pub(crate) fn address(&self) -> String {
        self.serving.address().to_string()
    }

    pub(crate) fn key(&self, role: Role) -> RegistrationKey {
        let fingerprint = self.inner.authority.fingerprint().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now_ms = u64::try_from(now.as_millis()).unwrap();
        let (key, record) =
            Registration::make(role, &self.me, &self.address(), fingerprint, now_ms, REGISTRATION_LIFETIME);
        self.inner.state().records.insert(record.id, record);
        key
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.inner.authority
    }

    pub(crate) fn trust(&self) -> TrustDocument {
        self.inner.trust()
    }

    /// How often somebody asked to be let in.
    pub(crate) fn asked(&self) -> usize {
        self.inner.state().asked
    }

    /// The ids that were given.
    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.inner.state().records.values().filter_map(|record| Some(record.used.as_ref()?.id)).collect()
    }

    /// The next so many that are let in do not hear of it.
    pub(crate) fn lose_answers(&self, count: u32) {
        self.inner.state().lose = count;
    }

    /// Certificates are issued as they would have been then.
    pub(crate) fn issue_as_of(&self, then: SystemTime) {
        self.inner.state().as_of = Some(then);
    }
}
