//! The target's end: listens, checks who comes, and serves every session on its own.

mod connection;
mod registry;
mod worker;

use std::{io, net::SocketAddr, sync::Arc};

use farshore_wire::Versions;
use rustls::ServerConnection;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Identity, PeerName, Sink, Stream, Timing,
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

    /// Serves one connection to its end. The peer is who the certificate says.
    pub async fn serve_stream(&self, stream: Box<dyn Stream>, peer: PeerName) {
        connection::run(self, stream, peer).await;
    }
}

/// Accepts connections until `shutdown` is cancelled, and returns when all are ended and
/// their work is done. A connection of an untrusted peer is logged with its reason.
pub async fn serve(
    listener: TcpListener,
    identity: Identity,
    sink: Arc<dyn Sink>,
    limits: ServerLimits,
    shutdown: CancellationToken,
) {
    let server = Server::new(sink, limits, shutdown.clone());
    let (slots, tasks) = (Arc::new(Semaphore::new(limits.connections)), TaskTracker::new());
    // A slot is taken before accepting: too many wait in the kernel's queue, not in ours.
    while let Some(Ok(slot)) = shutdown.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await {
        let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else { break };
        match accepted {
            Ok((tcp, address)) => {
                let (server, identity) = (server.clone(), identity.clone());
                tasks.spawn(async move {
                    admit(&server, &identity, tcp, address).await;
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

async fn admit(server: &Server, identity: &Identity, tcp: TcpStream, address: SocketAddr) {
    let deadline = server.limits.timing.handshake;
    let handshake = server.shutdown.run_until_cancelled(timeout(deadline, shake_hands(identity, tcp)));
    match handshake.await {
        Some(Ok(Ok((stream, peer)))) => server.serve_stream(stream, peer).await,
        Some(Ok(Err(error))) => match distrust(&error, &address.to_string()) {
            Some((why, advice)) => tracing::warn!(%address, why, advice, "untrusted connection"),
            None => tracing::info!(%address, %error, "connection ended in its handshake"),
        },
        Some(Err(_)) => tracing::info!(%address, "no TLS handshake within its deadline"),
        None => {}
    }
}

async fn shake_hands(identity: &Identity, tcp: TcpStream) -> io::Result<(Box<dyn Stream>, PeerName)> {
    tcp.set_nodelay(true)?;
    let tune = |tls: &mut ServerConnection| tls.set_buffer_limit(Some(TLS_BUFFER));
    // What is trusted now, and not what was when the listener began.
    let acceptor = TlsAcceptor::from(identity.server());
    let tls = acceptor.accept_with(buffered(tcp), tune).await?;
    let peer = peer_name(tls.get_ref().1.peer_certificates());
    let peer = peer.ok_or_else(|| io::Error::other("the peer's certificate names no host"))?;
    let distrust = identity.distrust(tls.get_ref().1.peer_certificates());
    Ok((Box::new(Watched::new(tls, distrust)), peer))
}
