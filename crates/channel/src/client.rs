//! A client of one peer, which is known by role and id. Calls are typed, bounded in time,
//! and tried again where that may help.

mod connection;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use farshore_control::report::Problem;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{sleep, timeout};

use crate::{
    Backoff, ChannelError, Expected, Keyring,
    limits::{ATTEMPTS, BODY_MAX, CALL_MAX, IDLE_MAX, IDLE_TIME_MAX},
    places::Places,
    refusal::ProblemDetails,
};
pub use connection::Following;
use connection::{Connection, Reply};

/// What one that has been superseded says.
const SUPERSEDED: &str = "superseded";

/// Calls one peer. Clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    keyring: Keyring,
    address: String,
    places: Places,
    expected: Expected,
    /// Since when, and to which of the places.
    idle: Mutex<Vec<(Instant, usize, Connection)>>,
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Longest time for one attempt, with connecting.
    pub timeout: Duration,
    /// Attempts.
    pub attempts: u32,
    /// Whether it may happen twice: an idle connection is only used then, since one that
    /// broke does not say whether the request arrived.
    pub repeatable: bool,
}

impl Default for Call {
    fn default() -> Call {
        Call { timeout: CALL_MAX, attempts: ATTEMPTS, repeatable: true }
    }
}

impl Call {
    /// For what must not happen twice.
    #[must_use]
    pub fn once() -> Call {
        Call { attempts: 1, repeatable: false, ..Call::default() }
    }

    /// For who tries again by itself.
    #[must_use]
    pub fn single() -> Call {
        Call { attempts: 1, ..Call::default() }
    }

    /// One attempt, for a question that is held so long when there is nothing new.
    #[must_use]
    pub fn held(wait: Duration) -> Call {
        Call { timeout: wait + CALL_MAX, ..Call::single() }
    }
}

impl Client {
    /// A client of the peer at `address`: `host:port`, or several with commas between, of
    /// which one that answers is used. Nothing is connected yet.
    #[must_use]
    pub fn new(keyring: Keyring, address: &str, expected: Expected) -> Client {
        let (idle, places) = (Mutex::default(), Places::of(address));
        Client { shared: Arc::new(Shared { keyring, address: address.to_owned(), places, expected, idle }) }
    }

    /// Where the peer is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The keyring that it uses.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.shared.keyring
    }

    /// Gets a value.
    ///
    /// # Errors
    /// What went wrong in the last attempt.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, call: Call) -> Result<T, ChannelError> {
        self.call(&Method::GET, path, &Bytes::new(), call).await
    }

    /// Posts a value and gets one.
    ///
    /// # Errors
    /// What went wrong in the last attempt.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
        call: Call,
    ) -> Result<T, ChannelError> {
        let body = encoded(value, self.address())?;
        self.call(&Method::POST, path, &body, call).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
        call: Call,
    ) -> Result<T, ChannelError> {
        let mut backoff = Backoff::default();
        let (mut attempt, mut fresh) = (1, !call.repeatable);
        loop {
            let mut reused = false;
            match self.attempt(method, path, body, call.timeout, fresh, &mut reused).await {
                // It had been idle, and the peer may have closed it meanwhile: that says
                // nothing of the peer now.
                Err(ChannelError::Broken { .. }) if reused => fresh = true,
                Err(error) if error.is_recoverable() && attempt < call.attempts => {
                    tracing::debug!(%error, attempt, path, "a call is tried again");
                    sleep(backoff.pause()).await;
                    (attempt, fresh) = (attempt + 1, true);
                }
                Err(error) => return Err(error),
                Ok(reply) => return decoded(&reply, self.address()),
            }
        }
    }

    async fn attempt(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
        time: Duration,
        fresh: bool,
        reused: &mut bool,
    ) -> Result<Reply, ChannelError> {
        let (peer, places) = (self.address(), &self.shared.places);
        // Where it goes, once that is known.
        let used = AtomicUsize::new(places.at());
        let attempt = async {
            let idle = if fresh { None } else { self.idle() };
            *reused = idle.is_some();
            let (at, mut connection) = match idle {
                Some(idle) => idle,
                None => self.open().await?,
            };
            used.store(at, Relaxed);
            let request = request(method, path, body.clone(), peer)?;
            let reply = tokio::select! {
                reply = connection.send(request, &self.shared.keyring) => reply?,
                () = places.left(at) => return Err(ChannelError::Broken {
                    peer: peer.to_owned(),
                    why: "another address of it is used now".to_owned(),
                }),
            };
            if connection.is_reusable() {
                self.keep(at, connection);
            }
            refused(reply, peer)
        };
        let timed = timeout(time, attempt).await;
        let done =
            timed.unwrap_or_else(|_| Err(ChannelError::Timeout { peer: peer.to_owned(), after: time }));
        // A connection that had been idle may be broken while its place is well.
        let stale = *reused && matches!(done, Err(ChannelError::Broken { .. }));
        if !stale && done.as_ref().is_err_and(is_elsewhere) {
            places.leave(used.load(Relaxed));
        }
        done
    }

    /// A new connection to the first place that answers.
    async fn open(&self) -> Result<(usize, Connection), ChannelError> {
        let Shared { keyring, places, expected, .. } = &*self.shared;
        let mut last = None;
        for (at, place) in places.in_turn() {
            match Connection::open(place, &keyring.now(), *expected).await {
                Ok(connection) => {
                    places.settle(at);
                    return Ok((at, connection));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ChannelError::Unusable {
            peer: self.address().to_owned(),
            why: "it has no address".to_owned(),
        }))
    }

    /// An idle connection to where calls go now, whose peer is still believed.
    fn idle(&self) -> Option<(usize, Connection)> {
        let (state, now) = (self.shared.keyring.now(), self.shared.places.at());
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, at, connection)| {
            let young = since.elapsed() < IDLE_TIME_MAX && *at == now;
            young && connection.is_reusable() && connection.is_believed(&state)
        });
        idle.pop().map(|(_, at, connection)| (at, connection))
    }

    fn keep(&self, at: usize, connection: Connection) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push((Instant::now(), at, connection));
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { address, expected, .. } = &*self.shared;
        f.debug_struct("Client").field("address", address).field("expected", expected).finish_non_exhaustive()
    }
}

/// One call of a stranger, over a connection of its own.
pub(crate) async fn call_as_stranger<T: DeserializeOwned>(
    address: &str,
    tls: rustls::ClientConfig,
    path: &str,
    value: &impl Serialize,
) -> Result<T, ChannelError> {
    let body = encoded(value, address)?;
    call_alone(address, Arc::new(tls), request(&Method::POST, path, body, address)?).await
}

/// One call over a connection of its own.
pub(crate) async fn call_alone<T: DeserializeOwned>(
    address: &str,
    tls: Arc<rustls::ClientConfig>,
    request: Request<Full<Bytes>>,
) -> Result<T, ChannelError> {
    let attempt = async {
        let (mut opened, places) = (None, Places::of(address));
        for (_, place) in places.in_turn() {
            opened = Some(Connection::open_with(place, Arc::clone(&tls)).await);
            if matches!(opened, Some(Ok(_))) {
                break;
            }
        }
        let nowhere = || {
            let why = "it has no address".to_owned();
            Err(ChannelError::Unusable { peer: address.to_owned(), why })
        };
        let mut connection = opened.unwrap_or_else(nowhere)?;
        let reply = connection.send_unwatched(request).await?;
        decoded(&refused(reply, address)?, address)
    };
    let timed = timeout(CALL_MAX, attempt).await;
    timed.unwrap_or_else(|_| Err(ChannelError::Timeout { peer: address.to_owned(), after: CALL_MAX }))
}

/// A call over a connection of its own whose answer is read as it comes.
pub(crate) async fn follow_alone(
    address: &str,
    tls: Arc<rustls::ClientConfig>,
    request: Request<Full<Bytes>>,
) -> Result<Following, ChannelError> {
    let attempt = async {
        let connection = Connection::open_with(address, tls).await?;
        connection.follow(request).await
    };
    let timed = timeout(CALL_MAX, attempt).await;
    timed.unwrap_or_else(|_| Err(ChannelError::Timeout { peer: address.to_owned(), after: CALL_MAX }))
}

/// Whether another address of the same peer may do better: this one is dead, hangs, or leads
/// to one that has been superseded.
fn is_elsewhere(error: &ChannelError) -> bool {
    match error {
        ChannelError::Timeout { .. } | ChannelError::Broken { .. } | ChannelError::Unreachable { .. } => true,
        error => error.code() == Some(SUPERSEDED),
    }
}

pub(crate) fn request(
    method: &Method,
    path: &str,
    body: Bytes,
    peer: &str,
) -> Result<Request<Full<Bytes>>, ChannelError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, peer)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| ChannelError::Malformed { peer: peer.to_owned(), why: error.to_string() })
}

pub(crate) fn encoded(value: &impl Serialize, peer: &str) -> Result<Bytes, ChannelError> {
    let wrong = |why: String| ChannelError::Unusable { peer: peer.to_owned(), why };
    let body = serde_json::to_vec(value).map_err(|error| wrong(error.to_string()))?;
    if body.len() > BODY_MAX {
        return Err(wrong(format!("it has {} bytes, more than {BODY_MAX}", body.len())));
    }
    Ok(Bytes::from(body))
}

fn decoded<T: DeserializeOwned>(reply: &Reply, peer: &str) -> Result<T, ChannelError> {
    serde_json::from_slice(&reply.body)
        .map_err(|error| ChannelError::Malformed { peer: peer.to_owned(), why: error.to_string() })
}

/// A reply that is no refusal.
fn refused(reply: Reply, peer: &str) -> Result<Reply, ChannelError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let unknown = || Problem {
        code: "unknown".to_owned(),
        what: match reply.status {
            StatusCode::NOT_FOUND => "it does not know what was asked for".to_owned(),
            status => format!("it answers {status}"),
        },
        advice: "compare the versions of both, and check the address".to_owned(),
    };
    let told = serde_json::from_slice(&reply.body).map(ProblemDetails::into_problem);
    let (problem, findings) = told.unwrap_or_else(|_| (unknown(), Vec::new()));
    Err(ChannelError::Refused {
        peer: peer.to_owned(),
        status: reply.status.as_u16(),
        problem,
        findings: findings.into(),
    })
}
