//! A client of one peer, which is known by role and id. Calls are typed, bounded in time,
//! and tried again where that may help.

mod connection;

use std::{
    sync::{Arc, Mutex, PoisonError},
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
    refusal::ProblemDetails,
};
pub use connection::Following;
use connection::{Connection, Reply};

/// Calls one peer. Clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    keyring: Keyring,
    address: String,
    expected: Expected,
    idle: Mutex<Vec<(Instant, Connection)>>,
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
    /// A client of the peer at `address` (`host:port`). Nothing is connected yet.
    #[must_use]
    pub fn new(keyring: Keyring, address: &str, expected: Expected) -> Client {
        let idle = Mutex::default();
        Client { shared: Arc::new(Shared { keyring, address: address.to_owned(), expected, idle }) }
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
        let peer = self.address();
        let attempt = async {
            let idle = if fresh { None } else { self.idle() };
            *reused = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.open().await?,
            };
            let request = request(method, path, body.clone(), peer)?;
            let reply = connection.send(request, &self.shared.keyring).await?;
            if connection.is_reusable() {
                self.keep(connection);
            }
            refused(reply, peer)
        };
        let timed = timeout(time, attempt).await;
        timed.unwrap_or_else(|_| Err(ChannelError::Timeout { peer: peer.to_owned(), after: time }))
    }

    async fn open(&self) -> Result<Connection, ChannelError> {
        let Shared { keyring, address, expected, .. } = &*self.shared;
        Connection::open(address, &keyring.now(), *expected).await
    }

    /// An idle connection whose peer is still believed.
    fn idle(&self) -> Option<Connection> {
        let state = self.shared.keyring.now();
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, connection)| {
            since.elapsed() < IDLE_TIME_MAX && connection.is_reusable() && connection.is_believed(&state)
        });
        idle.pop().map(|(_, connection)| connection)
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push((Instant::now(), connection));
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
        let mut connection = Connection::open_with(address, tls).await?;
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
