//! Reaching a target: TCP, then TLS 1.3 with both certificates checked.

use std::{fmt, io, time::Duration};

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    Identity, LinkError,
    identity::distrust,
    limits::{SOCKET_READ, TLS_BUFFER},
    watched::Watched,
};

/// Any stream of bytes that a session can run over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// TLS asks its socket for 4 KiB at a time; this asks the kernel for many records at once.
pub(crate) fn buffered(tcp: TcpStream) -> BufReader<TcpStream> {
    BufReader::with_capacity(SOCKET_READ, tcp)
}

/// Makes connections to one target, again and again.
#[async_trait]
pub trait Dial: Send + Sync {
    /// One attempt.
    ///
    /// # Errors
    /// [`LinkError`], recoverable where another attempt may help.
    async fn dial(&self) -> Result<Box<dyn Stream>, LinkError>;

    /// The target's name and address, for errors and logs.
    fn peer(&self) -> String;
}

/// Where a target listens and what its certificate must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`, `address:port` or `[address]:port`.
    pub address: String,
    /// A name in the target's certificate.
    pub server_name: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.server_name, self.address)
    }
}

impl Endpoint {
    /// A TCP connection, and the name to ask for over it.
    pub(crate) async fn reach(&self) -> Result<(TcpStream, ServerName<'static>), LinkError> {
        let tcp = TcpStream::connect(&self.address).await.map_err(|e| self.unreachable(e))?;
        tcp.set_nodelay(true).map_err(|e| self.unreachable(e))?;
        let name = ServerName::try_from(self.server_name.clone()).map_err(|_| LinkError::Untrusted {
            peer: self.to_string(),
            why: format!("'{}' is not a host name", self.server_name),
            advice: "correct the target's name in the configuration",
        })?;
        Ok((tcp, name))
    }

    /// An error of the network, with what to do.
    pub(crate) fn unreachable(&self, source: io::Error) -> LinkError {
        let advice = match source.kind() {
            io::ErrorKind::ConnectionRefused => "no agent listens there: is it running, and the port right?",
            io::ErrorKind::TimedOut => "nothing answers: check the network and firewalls between the sites",
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "the target closed the connection: look into its log"
            }
            _ => "check the target's address and the network",
        };
        LinkError::Connect { peer: self.to_string(), advice, source }
    }
}

/// Connects to an [`Endpoint`] as an [`Identity`].
#[derive(Clone, Debug)]
pub struct TlsDial {
    endpoint: Endpoint,
    identity: Identity,
    deadline: Duration,
}

impl TlsDial {
    /// Attempts take no longer than `deadline`.
    #[must_use]
    pub fn new(endpoint: Endpoint, identity: Identity, deadline: Duration) -> TlsDial {
        TlsDial { endpoint, identity, deadline }
    }

    async fn attempt(&self) -> Result<Box<dyn Stream>, LinkError> {
        let (tcp, name) = self.endpoint.reach().await?;
        let connector = TlsConnector::from(self.identity.client());
        let tune = |tls: &mut rustls::ClientConnection| tls.set_buffer_limit(Some(TLS_BUFFER));
        match connector.connect_with(name, buffered(tcp), tune).await {
            Ok(tls) => {
                let distrust = self.identity.distrust(tls.get_ref().1.peer_certificates());
                Ok(Box::new(Watched::new(tls, distrust)))
            }
            Err(e) => Err(self.untrusted(&e).unwrap_or_else(|| self.endpoint.unreachable(e))),
        }
    }

    /// Trust is not regained by trying again.
    fn untrusted(&self, error: &io::Error) -> Option<LinkError> {
        let (why, advice) = distrust(error, &self.endpoint.server_name)?;
        Some(LinkError::Untrusted { peer: self.peer(), why, advice })
    }
}

#[async_trait]
impl Dial for TlsDial {
    async fn dial(&self) -> Result<Box<dyn Stream>, LinkError> {
        self.identity.check_time()?;
        match timeout(self.deadline, self.attempt()).await {
            Ok(result) => result,
            Err(_) => Err(self.endpoint.unreachable(io::ErrorKind::TimedOut.into())),
        }
    }

    fn peer(&self) -> String {
        self.endpoint.to_string()
    }
}
