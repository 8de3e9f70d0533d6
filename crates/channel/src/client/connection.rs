//! One connection of a client. While a request is under way, its peer is judged anew
//! whenever trust changes.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use farshore_pki::PkiError;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    ChannelError, Expected, Keyring,
    error::{broken, tls_error},
    keyring::State,
    limits::{ANSWER_BODY_MAX, CONNECT_MAX},
    tls,
};

/// A connection to a verified peer.
pub(super) struct Connection {
    address: String,
    cert_der: Vec<u8>,
    sender: SendRequest<Full<Bytes>>,
    /// Drives it; ended with it.
    driver: JoinSet<hyper::Result<()>>,
}

/// An answer that goes on, read as it comes.
pub struct Following {
    body: Incoming,
    connection: Connection,
}

impl Following {
    /// The next bytes; none when the peer has ended it.
    ///
    /// # Errors
    /// That the connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ChannelError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| broken(&error, &self.connection.address))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// An answer, whole.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Connection {
    /// As a member.
    pub(super) async fn open(
        address: &str,
        state: &State,
        expected: Expected,
    ) -> Result<Connection, ChannelError> {
        // Whoever knows that its own certificate is of no use says so better than the peer.
        state.credentials.check_time(SystemTime::now())?;
        let config = tls::client_config(&state.credentials, expected)?;
        Connection::open_with(address, Arc::new(config)).await
    }

    pub(super) async fn open_with(
        address: &str,
        config: Arc<ClientConfig>,
    ) -> Result<Connection, ChannelError> {
        let unreachable = |source| ChannelError::Unreachable { peer: address.to_owned(), source };
        let stream = match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(unreachable)?,
            Err(_) => return Err(ChannelError::Timeout { peer: address.to_owned(), after: CONNECT_MAX }),
        };
        let _ = stream.set_nodelay(true);
        // The name is neither sent nor checked: see `tls`.
        let name = ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into());
        // One that hangs takes connections on, and says nothing more.
        let stream = match timeout(CONNECT_MAX, TlsConnector::from(config).connect(name, stream)).await {
            Ok(shaken) => shaken.map_err(|error| broken(&error, address))?,
            Err(_) => return Err(ChannelError::Timeout { peer: address.to_owned(), after: CONNECT_MAX }),
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let cert_der = shown.map(|cert| cert.to_vec()).unwrap_or_default();
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error, address))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Ok(Connection { address: address.to_owned(), cert_der, sender, driver: tasks })
    }

    /// Whether it can be used for another request.
    pub(super) fn is_reusable(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whether its peer is believed by what is trusted now.
    pub(super) fn is_believed(&self, state: &State) -> bool {
        state.judge(&self.cert_der).is_ok()
    }

    /// Sends a request and waits for its answer, as long as the peer is believed.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        keyring: &Keyring,
    ) -> Result<Reply, ChannelError> {
        let (mut changes, cert_der) = (keyring.subscribe(), self.cert_der.clone());
        let distrusted = async {
            loop {
                if let Err(error) = changes.borrow_and_update().judge(&cert_der) {
                    return error;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let address = self.address.clone();
        tokio::select! {
            error = distrusted => Err(no_longer(&error, &address)),
            reply = self.send_unwatched(request) => reply,
        }
    }

    pub(super) async fn send_unwatched(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, ChannelError> {
        let ready = self.sender.ready().await;
        let sent = match ready {
            Ok(()) => self.sender.send_request(request).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(response) => read(response, &self.address).await,
            Err(error) => Err(self.explain(&error).await),
        }
    }

    /// Sends a request whose answer has no end: it is read as it comes.
    pub(super) async fn follow(mut self, request: Request<Full<Bytes>>) -> Result<Following, ChannelError> {
        let response = match self.sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.explain(&error).await),
        };
        if response.status().is_success() {
            return Ok(Following { body: response.into_body(), connection: self });
        }
        let reply = read(response, &self.address).await?;
        Err(match super::refused(reply, &self.address) {
            Err(refusal) => refusal,
            Ok(_) => ChannelError::Broken { peer: self.address, why: "its answer has no sense".to_owned() },
        })
    }

    /// TLS 1.3 lets a client send before the server has judged its certificate, so a
    /// refusal comes as the end of the connection: its driver has the alert.
    async fn explain(&mut self, error: &hyper::Error) -> ChannelError {
        if tls_error(error).is_none()
            && let Ok(Some(Ok(Err(cause)))) = timeout(CONNECT_MAX, self.driver.join_next()).await
        {
            return broken(&cause, &self.address);
        }
        broken(error, &self.address)
    }
}

fn no_longer(error: &PkiError, address: &str) -> ChannelError {
    let text = error.to_string();
    let (why, advice) = text.split_once(": ").unwrap_or((&text, "look at the log of the vault"));
    ChannelError::Untrusted {
        why: format!("{address} is not believed any more: {why}"),
        advice: advice.to_owned(),
    }
}

async fn read(response: hyper::Response<Incoming>, peer: &str) -> Result<Reply, ChannelError> {
    let (parts, body) = response.into_parts();
    match Limited::new(body, ANSWER_BODY_MAX).collect().await {
        Ok(body) => Ok(Reply { status: parts.status, body: body.to_bytes() }),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ChannelError::Malformed {
            peer: peer.to_owned(),
            why: format!("it has more than {ANSWER_BODY_MAX} bytes"),
        }),
        Err(error) => Err(broken(&*error, peer)),
    }
}
