//! The target's end: listens, checks who comes, and serves every session on its own.

mod connection;
mod registry;
mod worker;

use std::{io, net::SocketAddr, sync::Arc};

use farshore_kerberos::KerberosError;
use farshore_wire::Versions;
use rustls::{ServerConnection, server::Acceptor};
use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Assignments, Caller, Identity, Kerberos, Sink, Stream, Timing,
    dial::buffered,
    identity::{distrust, peer_name},
    limits::{ACCEPT_PAUSE, CONNECTIONS_MAX, TLS_BUFFER},
    watched::Watched,
};
use registry::Registry;

/// What a target allows.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Most connections at once, those still greeting included.
    pub connections: usize,
    /// Deadlines of each connection.
    pub timing: Timing,
    /// Versions of the protocol that are spoken; fewer than ours, to be as an older target.
    pub versions: Versions,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits { connections: CONNECTIONS_MAX, timing: Timing::default(), versions: Versions::OURS }
    }
}

/// By what callers may prove who they are.
#[derive(Clone)]
pub struct Proofs {
    /// Certificates, as this host.
    pub identity: Identity,
    /// Kerberos, and whose principals count; none: it is not taken.
    pub kerberos: Option<(Kerberos, Assignments)>,
}

impl From<Identity> for Proofs {
    fn from(identity: Identity) -> Proofs {
        Proofs { identity, kerberos: None }
    }
}

/// Serves sessions over any streams; [`serve`] feeds it from a TLS listener.
#[derive(Clone)]
pub struct Server {
    sink: Arc<dyn Sink>,
    limits: ServerLimits,
    registry: Arc<Registry>,
    shutdown: CancellationToken,
}

impl Server {
    /// A server that ends its sessions when `shutdown` is cancelled.
    #[must_use]
    pub fn new(sink: Arc<dyn Sink>, limits: ServerLimits, shutdown: CancellationToken) -> Server {
        Server { sink, limits, registry: Arc::default(), shutdown }
    }

    /// Serves one connection to its end, of a peer that has proved who it is.
    pub async fn serve_stream(&self, stream: Box<dyn Stream>, peer: Caller) {
        connection::run(self, stream, peer).await;
    }
}

/// Accepts connections until `shutdown` is cancelled, and returns when all are ended and
/// their work is done. A connection of an untrusted peer is logged with its reason.
pub async fn serve(
    listener: TcpListener,
    proofs: impl Into<Proofs>,
    sink: Arc<dyn Sink>,
    limits: ServerLimits,
    shutdown: CancellationToken,
) {
    let proofs = proofs.into();
    let server = Server::new(sink, limits, shutdown.clone());
    let (slots, tasks) = (Arc::new(Semaphore::new(limits.connections)), TaskTracker::new());
    // A slot is taken before accepting: too many wait in the kernel's queue, not in ours.
    while let Some(Ok(slot)) = shutdown.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await {
        let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else { break };
        match accepted {
            Ok((tcp, address)) => {
                let (server, proofs) = (server.clone(), proofs.clone());
                tasks.spawn(async move {
                    admit(&server, &proofs, tcp, address).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn admit(server: &Server, proofs: &Proofs, tcp: TcpStream, address: SocketAddr) {
    let deadline = server.limits.timing.handshake;
    let handshake = server.shutdown.run_until_cancelled(timeout(deadline, shake_hands(proofs, tcp)));
    match handshake.await {
        Some(Ok(Ok((stream, peer)))) => server.serve_stream(stream, peer).await,
        Some(Ok(Err(Unproved::Channel(error)))) => match distrust(&error, &address.to_string()) {
            Some((why, advice)) => tracing::warn!(%address, why, advice, "untrusted connection"),
            None => tracing::info!(%address, %error, "connection ended in its handshake"),
        },
        Some(Ok(Err(Unproved::Kerberos(error)))) => {
            tracing::warn!(%address, why = %error, advice = error.advice(), "untrusted connection by Kerberos");
        }
        Some(Err(_)) => tracing::info!(%address, "no handshake within its deadline"),
        None => {}
    }
}

/// Why a caller is not known.
pub(crate) enum Unproved {
    Channel(io::Error),
    Kerberos(KerberosError),
}

impl From<io::Error> for Unproved {
    fn from(error: io::Error) -> Unproved {
        Unproved::Channel(error)
    }
}

async fn shake_hands(proofs: &Proofs, tcp: TcpStream) -> Result<(Box<dyn Stream>, Caller), Unproved> {
    tcp.set_nodelay(true)?;
    // What the caller wants to be known by decides how TLS goes on.
    let start = LazyConfigAcceptor::new(Acceptor::default(), buffered(tcp)).await?;
    match &proofs.kerberos {
        Some((kerberos, assignments)) if Kerberos::is_wanted(&start.client_hello()) => {
            kerberos.accept(start, assignments).await
        }
        // Who wants it in vain sees so by the answer, and that no certificate can help it.
        _ => Ok(by_certificate(&proofs.identity, start).await?),
    }
}

async fn by_certificate(
    identity: &Identity,
    start: StartHandshake<BufReader<TcpStream>>,
) -> io::Result<(Box<dyn Stream>, Caller)> {
    let tune = |tls: &mut ServerConnection| tls.set_buffer_limit(Some(TLS_BUFFER));
    // What is trusted now, and not what was when the listener began.
    let tls = start.into_stream_with(identity.server(), tune).await?;
    let peer = peer_name(tls.get_ref().1.peer_certificates());
    let peer = peer.ok_or_else(|| io::Error::other("the peer's certificate names no host"))?;
    let distrust = identity.distrust(tls.get_ref().1.peer_certificates());
    Ok((Box::new(Watched::new(tls, distrust)), peer))
}
