//! What hosts ask of a site server: documents, a place for their reports, and to be let in.
//! Who asks, the certificate says, and each host speaks for itself alone. This module must
//! never ask the vault for documents.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use axum::{Router, extract::State, http::StatusCode, routing::post};
use farshore_channel::{ChannelError, Enroller, Json, Peer, Refusal, admit};
use farshore_control::{
    HostReport,
    enrolment::{Enrolled, Enrolment, Introduction, RENEW_PATH, Reach, Renewal, Renewed},
    report::ReportReply,
    sync::{Documents, POLL_PATH, POLL_SECS_MAX, Poll, REPORT_PATH},
};
use farshore_pki::{Fingerprint, Registration, RegistrationError, RegistrationKey, Role};
use farshore_types::HostId;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::Server;
use crate::{JournalError, Record};

/// The routes for hosts that are members.
pub fn router(server: &Arc<Server>) -> Router {
    Router::new()
        .route(POLL_PATH, post(poll))
        .route(REPORT_PATH, post(report))
        .route(RENEW_PATH, post(renew))
        .with_state(Arc::clone(server))
}

/// The door for hosts that are none yet.
#[must_use]
pub fn enroller(server: &Arc<Server>) -> Arc<dyn Enroller> {
    Arc::new(Door(Arc::clone(server)))
}

fn host_of(peer: &Peer) -> Result<HostId, Refusal> {
    peer.require(Role::Host)?;
    Ok(HostId(peer.identity.id))
}

async fn poll(
    State(server): State<Arc<Server>>,
    peer: Peer,
    Json(poll): Json<Poll>,
) -> Result<Json<Documents>, Refusal> {
    let host = host_of(&peer)?;
    let until = Instant::now() + Duration::from_secs(poll.wait_secs.min(POLL_SECS_MAX));
    // Listened to before looking, or a change in between would go unheard.
    let mut changed = server.changed.subscribe();
    loop {
        let now = server.clock.monotonic();
        let found = server.core().poll(host, &poll, now);
        if let Some(documents) = found {
            return Ok(Json(documents));
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = sleep_until(until) => break,
        }
    }
    let nothing = server.core().nothing_new(&poll, server.clock.monotonic());
    nothing.map(Json).ok_or_else(|| Refusal::unavailable("no vault has spoken to this site server yet"))
}

async fn report(
    State(server): State<Arc<Server>>,
    peer: Peer,
    Json(report): Json<HostReport>,
) -> Result<Json<ReportReply>, Refusal> {
    peer.require_member(Role::Host, report.host.0)?;
    let (host, now) = (report.host, server.clock.monotonic());
    let urgent = report.urgent;
    let reply = server.core().take_report(host, report, now);
    server.told.notify_one();
    if urgent {
        server.urgent.notify_one();
    }
    reply.map(Json).ok_or_else(|| Refusal::unavailable("this site server listens to too many hosts"))
}

async fn renew(
    State(server): State<Arc<Server>>,
    peer: Peer,
    Json(request): Json<Renewal>,
) -> Result<Json<Renewed>, Refusal> {
    let id = host_of(&peer)?;
    request.check().map_err(|error| Refusal::bad_request(error.to_string()))?;
    // Whatever name it asks for, it stays who it is.
    let reach = Reach { name: peer.identity.name.clone(), ..request.reach };
    let introduction = Introduction { id, csr_pem: request.csr_pem, reach, version: None, renewal: true };
    let enrolled = server.above.introduce(&introduction).await.map_err(|error| passed_on(&error))?;
    Ok(Json(Renewed { chain_pem: enrolled.chain_pem, trust: enrolled.trust }))
}

struct Door(Arc<Server>);

#[async_trait]
impl Enroller for Door {
    async fn enrol(&self, request: Enrolment, _: SocketAddr) -> Result<Enrolled, Refusal> {
        let server = &self.0;
        if !server.core().registrations().any(|key| key.id == request.registration) {
            // None of this server's own: the vault makes keys for hosts, too.
            return server.above.enrol(&request).await.map_err(|error| passed_on(&error));
        }
        let fresh = Uuid::new_v4();
        let decide = |core: &mut crate::Core| {
            let held = core.registrations().find(|key| key.id == request.registration).cloned();
            let judged = held.ok_or_else(|| Refusal::from(RegistrationError::Unknown)).and_then(|held| {
                admit(&held, &request, fresh, SystemTime::now()).map(|member| (held, member))
            });
            match judged {
                Ok((mut held, member)) => {
                    let first = (!member.again).then(|| {
                        held.mark_used(member.used.clone());
                        Record::Registration(held)
                    });
                    (first.into_iter().collect(), Ok(member.identity.id))
                }
                Err(refusal) => (Vec::new(), Err(refusal)),
            }
        };
        let committed = server.commit(decide, |core, records, _, now| {
            records.into_iter().for_each(|record| core.apply(record, now));
        });
        let id = committed.await.map_err(|error| Refusal::unavailable(error.to_string()))??;
        let introduction = Introduction {
            id: HostId(id),
            csr_pem: request.csr_pem,
            reach: request.reach,
            version: Some(request.version),
            renewal: false,
        };
        server.above.introduce(&introduction).await.map_err(|error| passed_on(&error))
    }
}

impl Server {
    /// Makes a registration key for one host, durable before it is shown.
    ///
    /// # Errors
    /// Where it cannot be kept.
    pub async fn new_host_key(
        &self,
        issuer: &farshore_pki::Identity,
        address: &str,
        fingerprint: Fingerprint,
        valid: Duration,
    ) -> Result<RegistrationKey, JournalError> {
        let now = self.clock.wall_ms();
        let (key, registration) = Registration::make(Role::Host, issuer, address, fingerprint, now, valid);
        let made = |_: &mut crate::Core| (vec![Record::Registration(registration)], ());
        self.commit(made, |core, records, _, now| {
            records.into_iter().for_each(|record| core.apply(record, now));
        })
        .await?;
        Ok(key)
    }
}

/// The vault's own refusal goes on to who asked; that it is silent is for later.
fn passed_on(error: &ChannelError) -> Refusal {
    match error {
        ChannelError::Refused { status, problem, .. } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            Refusal::new(status, &problem.code, problem.what.clone(), problem.advice.clone())
        }
        error => Refusal::unavailable(format!("the vault cannot be asked now: {error}")),
    }
}
