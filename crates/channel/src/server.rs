//! The listener: takes connections, lets TLS verify who it is, and hands each to its own
//! task. It must never know what the routers do.

mod connection;
mod members;
mod strangers;

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use farshore_pki::Role;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ChannelError, Keyring,
    limits::{CONNECTIONS_MAX, HANDSHAKE_MAX, HANDSHAKES_MAX, LINGER_MAX, PAUSE_MIN, STOP_MAX},
};
use members::Members;
use strangers::Strangers;

/// Takes connections at one address.
pub struct Listener {
    tcp: TcpListener,
    keyring: Keyring,
    members: Router,
    admitted: Vec<Role>,
    strangers: Option<Router>,
}

/// A listener at work. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What all connections of a listener share.
struct Shared {
    keyring: Keyring,
    members: Router,
    admitted: Vec<Role>,
    strangers: Option<Router>,
    open: Members,
    unknown: Strangers,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Listener {
    /// Binds an address, `host:port`. Nobody is answered before [`Listener::serve`].
    ///
    /// # Errors
    /// [`ChannelError::Bind`].
    pub async fn bind(address: &str, keyring: Keyring, members: Router) -> Result<Listener, ChannelError> {
        let tcp = TcpListener::bind(address)
            .await
            .map_err(|source| ChannelError::Bind { address: address.to_owned(), source })?;
        let admitted = vec![Role::Vault, Role::Site, Role::Host];
        Ok(Listener { tcp, keyring, members, admitted, strangers: None })
    }

    /// Only members of these roles are answered.
    #[must_use]
    pub fn admit(self, roles: &[Role]) -> Listener {
        Listener { admitted: roles.to_vec(), ..self }
    }

    /// Lets who has no certificate reach this router, and nothing else. Without this,
    /// strangers do not get past the handshake.
    #[must_use]
    pub fn open_to_strangers(self, router: Router) -> Listener {
        Listener { strangers: Some(router), ..self }
    }

    /// Begins to answer.
    ///
    /// # Errors
    /// [`ChannelError::Bind`] where the system does not say which address was bound.
    pub fn serve(self) -> Result<Serving, ChannelError> {
        let address = self
            .tcp
            .local_addr()
            .map_err(|source| ChannelError::Bind { address: "the listener".to_owned(), source })?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            keyring: self.keyring,
            members: self.members,
            admitted: self.admitted,
            strangers: self.strangers,
            open: Members::default(),
            unknown: Strangers::default(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            stop: stop.clone(),
        });
        let (tcp, inner) = (self.tcp, tasks.clone());
        tasks.spawn(async move {
            let stop = shared.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept_all(&tcp, &shared, &inner) => {}
            }
        });
        Ok(Serving { address, stop, tasks })
    }
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: no new connections and requests; those under way get a few seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_MAX + STOP_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!(address = %self.address, "connections are still open after the listener stopped");
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept_all(tcp: &TcpListener, shared: &Arc<Shared>, tasks: &TaskTracker) {
    loop {
        let (stream, address) = match tcp.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, mostly: waiting lets some be closed.
                tracing::warn!(%error, "a connection cannot be taken");
                sleep(PAUSE_MIN).await;
                continue;
            }
        };
        let Ok(place) = shared.connections.clone().try_acquire_owned() else {
            tracing::warn!(%address, "{CONNECTIONS_MAX} connections are open: this one is not taken");
            continue;
        };
        let shared = shared.clone();
        tasks.spawn(async move {
            let stop = shared.stop.clone();
            let _place = place;
            if let Some(connection) = verified(stream, address, &shared, &stop).await {
                connection.serve(&shared).await;
            }
        });
    }
}

/// Shakes hands; none where that fails, or where there is no place for the peer.
async fn verified(
    stream: TcpStream,
    address: SocketAddr,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> Option<connection::Connection> {
    let Ok(_place) = shared.handshakes.clone().try_acquire_owned() else {
        tracing::warn!(%address, "{HANDSHAKES_MAX} peers are not verified yet: this one is not taken");
        return None;
    };
    let Some(stranger) = shared.unknown.enter(address.ip()) else {
        tracing::warn!(%address, "too many connections without a certificate: this one is not taken");
        return None;
    };
    let _ = stream.set_nodelay(true);
    let state = shared.keyring.now();
    let config = if shared.strangers.is_some() { &state.open } else { &state.members };
    let accept = TlsAcceptor::from(config.clone()).accept(stream).into_fallible();
    let handshake = tokio::select! {
        () = stop.cancelled() => return None,
        handshake = timeout(HANDSHAKE_MAX, accept) => handshake,
    };
    match handshake {
        Ok(Ok(tls)) => connection::Connection::new(tls, address, shared, stranger),
        Ok(Err((error, stream))) => {
            tracing::info!(%address, %error, "a peer is not let in");
            linger(stream).await;
            None
        }
        Err(_) => {
            tracing::info!(%address, "a peer did not shake hands in time");
            None
        }
    }
}

/// Lets the peer read the alert that says why: closing at once, with bytes of it unread,
/// would reset the connection and take the alert away.
async fn linger(mut stream: TcpStream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let _ = stream.shutdown().await;
    let mut unread = [0; 1024];
    let drained = async { while matches!(stream.read(&mut unread).await, Ok(1..)) {} };
    let _ = timeout(LINGER_MAX, drained).await;
}
