//! One connection: whose it is, what it may reach, and when it ends — with its peer's
//! certificate, too, and not only with its peer.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response},
    response::IntoResponse,
};
use farshore_pki::{Facts, Identity};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tokio::{
    net::TcpStream,
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use super::{Shared, members, strangers};
use crate::{
    Peer, Refusal,
    body::Bounded,
    limits::{
        ANSWER_MAX, BODY_MAX, BODY_TIME_MAX, HEAD_BYTES_MAX, HEAD_MAX, HEADERS_MAX, JUDGE_EVERY, STOP_MAX,
        STRANGER_BODY_MAX, STRANGER_MAX,
    },
    peer::wrong_role,
};

/// A connection whose handshake is done.
pub(super) struct Connection {
    tls: TlsStream<TcpStream>,
    who: Who,
}

/// Who is at the other end.
enum Who {
    Member { cert_der: CertificateDer<'static>, door: Door, place: members::Place },
    Stranger { door: Door, _place: strangers::Place },
}

/// What a peer's requests meet.
#[derive(Clone)]
struct Door {
    peer: Option<Peer>,
    address: SocketAddr,
    answer: Answer,
}

#[derive(Clone)]
enum Answer {
    Router(Router),
    Refusal(Refusal),
}

/// Why a connection ended.
#[derive(Debug, Error)]
enum End {
    #[error("the peer left")]
    Closed,
    #[error("the listener stops")]
    Stopped,
    #[error("the member has too many, and newer ones")]
    Displaced,
    #[error(transparent)]
    Distrusted(farshore_pki::PkiError),
    #[error("without a certificate none lasts longer")]
    TooLong,
}

impl Connection {
    pub(super) fn new(
        tls: TlsStream<TcpStream>,
        address: SocketAddr,
        shared: &Arc<Shared>,
        stranger: strangers::Place,
    ) -> Option<Connection> {
        let shown = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let who = match (shown, &shared.strangers) {
            (Some(cert), _) => {
                let cert_der = cert.clone().into_owned();
                member(cert_der, address, shared)?
            }
            (None, Some(router)) => {
                let answer = Answer::Router(router.clone());
                Who::Stranger { door: Door { peer: None, address, answer }, _place: stranger }
            }
            (None, None) => return None,
        };
        Some(Connection { tls, who })
    }

    /// Answers until the peer goes, or has to.
    pub(super) async fn serve(self, shared: &Arc<Shared>) {
        let door = match &self.who {
            Who::Member { door, .. } | Who::Stranger { door, .. } => door.clone(),
        };
        let address = door.address;
        let service = service_fn(move |request| answer(door.clone(), request));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        let mut serving = pin!(http.serve_connection(TokioIo::new(self.tls), service));
        let end = tokio::select! {
            served = serving.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%address, %error, "a connection broke");
                }
                End::Closed
            }
            end = self.who.must_go(shared) => end,
        };
        match end {
            End::Closed => {}
            End::Stopped => {
                serving.as_mut().graceful_shutdown();
                let _ = timeout(STOP_MAX, serving).await;
            }
            // What is under way is cut: whoever is not believed any more gets nothing more.
            end => tracing::info!(%address, why = %end, "a connection is closed"),
        }
    }
}

fn member(cert_der: CertificateDer<'static>, address: SocketAddr, shared: &Arc<Shared>) -> Option<Who> {
    let facts = Facts::of(&cert_der).ok()?;
    let (answer, identity) = match facts.identity() {
        Ok(identity) if shared.admitted.contains(&identity.role) => {
            (Answer::Router(shared.members.clone()), identity.clone())
        }
        Ok(identity) => {
            let roles: Vec<String> = shared.admitted.iter().map(ToString::to_string).collect();
            (Answer::Refusal(wrong_role(identity, &roles.join(" or "))), identity.clone())
        }
        // TLS let nobody in without a role.
        Err(_) => return None,
    };
    let place = shared.open.enter(identity.id);
    let door = Door { peer: Some(Peer { identity, address }), address, answer };
    Some(Who::Member { cert_der, door, place })
}

impl Who {
    /// Waits for a reason to close the connection from this side.
    async fn must_go(&self, shared: &Arc<Shared>) -> End {
        match self {
            Who::Member { cert_der, place, .. } => tokio::select! {
                () = shared.stop.cancelled() => End::Stopped,
                () = place.displaced.cancelled() => End::Displaced,
                error = distrusted(cert_der, shared) => End::Distrusted(error),
            },
            Who::Stranger { .. } => tokio::select! {
                () = shared.stop.cancelled() => End::Stopped,
                () = sleep(STRANGER_MAX) => End::TooLong,
            },
        }
    }
}

/// Judges the peer anew whenever trust changes, and by the clock; gives why it is not
/// believed any more.
async fn distrusted(cert_der: &[u8], shared: &Arc<Shared>) -> farshore_pki::PkiError {
    let mut changes = shared.keyring.subscribe();
    let mut clock = interval_at(Instant::now() + JUDGE_EVERY, JUDGE_EVERY);
    loop {
        // Also at first: trust may have changed since the handshake began.
        if let Err(error) = changes.borrow_and_update().judge(cert_der) {
            return error;
        }
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            _ = clock.tick() => {}
        }
    }
}

async fn answer(door: Door, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let router = match door.answer {
        Answer::Router(router) => router,
        Answer::Refusal(refusal) => return Ok(refusal.into_response()),
    };
    let stranger = door.peer.is_none();
    let (max, time): (usize, Duration) =
        if stranger { (STRANGER_BODY_MAX, BODY_TIME_MAX) } else { (BODY_MAX, BODY_TIME_MAX) };
    let announced = request.headers().get(hyper::header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Ok(Refusal::too_large(max).into_response());
    }
    let mut request = request.map(|body| Body::new(Bounded::new(body, max, time)));
    request.extensions_mut().insert(door.address);
    if let Some(peer) = door.peer {
        request.extensions_mut().insert::<Identity>(peer.identity.clone());
        request.extensions_mut().insert(peer);
    }
    let answered = timeout(ANSWER_MAX, router.oneshot(request)).await;
    Ok(match answered {
        // Nothing is there for who has no certificate; a handler's own word stands.
        Ok(Ok(response)) if stranger && is_no_route(&response) => {
            Refusal::certificate_required().into_response()
        }
        Ok(Ok(response)) => response,
        Err(_) => Refusal::unavailable("the answer took too long").into_response(),
    })
}

/// Whether nobody has answered: a handler says what there is not.
fn is_no_route(response: &Response<Body>) -> bool {
    response.status() == hyper::StatusCode::NOT_FOUND
        && !response.headers().contains_key(hyper::header::CONTENT_TYPE)
}
