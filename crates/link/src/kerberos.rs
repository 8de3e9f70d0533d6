//! Kerberos inside TLS. TLS encrypts, under a certificate that this process made for itself
//! and that proves nothing; who the peer is, and that it is at the other end of this very TLS
//! connection, is proved by Kerberos over it, before anything else is sent. What the
//! handshake says is `farshore-kerberos`'s. This module must never know a machine.

mod assignments;
mod config;

use std::{fmt, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use farshore_kerberos::{
    Acceptor, Assigned, Binding, HEAD_BYTES, Head, Initiator, KerberosError, Mechanism, Message, Next,
    Principal, limits::BINDING_BYTES,
};
use rustls::{ClientConfig, ConnectionCommon, ServerConfig, server::ClientHello};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{StartHandshake, TlsConnector};

use crate::{
    Caller, Dial, Endpoint, LinkError, Stream,
    dial::buffered,
    limits::{FAREWELL_DEADLINE, KERBEROS_STEPS_MAX, TLS_BUFFER},
    server::Unproved,
    watched::Watched,
};
pub use assignments::Assignments;

/// By which a caller says that it wants to be known by Kerberos, and the version of that.
const PROTOCOL: &[u8] = b"farshore-kerberos/1";
/// Under which the channel's value is exported (RFC 8446, 7.5).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-farshore-kerberos-binding";

/// Kerberos as this host, ready for both sides of a connection. Clones share it.
#[derive(Clone)]
pub struct Kerberos {
    mechanism: Arc<dyn Mechanism>,
    /// Steps that may still begin.
    steps: Arc<Semaphore>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for Kerberos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kerberos").field("principal", self.mechanism.principal()).finish_non_exhaustive()
    }
}

impl Kerberos {
    /// Makes the certificate under which TLS encrypts; it lives as long as this.
    ///
    /// # Errors
    /// [`LinkError`]: no certificate could be made.
    pub fn new(mechanism: Arc<dyn Mechanism>) -> Result<Kerberos, LinkError> {
        let steps = Arc::new(Semaphore::new(KERBEROS_STEPS_MAX));
        Ok(Kerberos { mechanism, steps, client: config::client()?, server: config::server()? })
    }

    /// This host's own principal.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.mechanism.principal()
    }

    /// Whether a caller asks for it.
    pub(crate) fn is_wanted(hello: &ClientHello<'_>) -> bool {
        hello.alpn().is_some_and(|mut offered| offered.any(|name| name == PROTOCOL))
    }

    /// Proves both ends to each other, as the end that was connected to.
    pub(crate) async fn accept(
        &self,
        start: StartHandshake<BufReader<TcpStream>>,
        assignments: &Assignments,
    ) -> Result<(Box<dyn Stream>, Caller), Unproved> {
        let tune = |tls: &mut rustls::ServerConnection| tls.set_buffer_limit(Some(TLS_BUFFER));
        let mut tls = start.into_stream_with(Arc::clone(&self.server), tune).await?;
        let binding = binding_of(tls.get_ref().1)?;
        let arrival = match self.accept_over(&mut tls, binding, assignments).await {
            Ok(arrival) => arrival,
            Err(Unproved::Kerberos(error)) => {
                tell(&mut tls, &error).await;
                return Err(Unproved::Kerberos(error));
            }
            Err(error) => return Err(error),
        };
        let distrust = assignments.distrust(arrival.principal, arrival.host.clone());
        Ok((Box::new(Watched::new(tls, distrust)), Caller::by_kerberos(arrival.host)))
    }

    async fn accept_over(
        &self,
        stream: &mut impl Stream,
        binding: Binding,
        assignments: &Assignments,
    ) -> Result<farshore_kerberos::Arrival, Unproved> {
        let mechanism = Arc::clone(&self.mechanism);
        let mut end = self.step(move || Acceptor::begin(&*mechanism, binding)).await?;
        loop {
            let Some(message) = receive(stream).await? else { return Err(end.left().into()) };
            let assigned = assignments.clone();
            let next;
            (end, next) = self
                .step(move || {
                    let next = end.receive(message, &assigned)?;
                    Ok((end, next))
                })
                .await?;
            match next {
                Next::Wait => {}
                Next::Send(message) => send(stream, &message).await?,
                Next::Done(last, arrival) => {
                    if let Some(last) = last {
                        send(stream, &last).await?;
                    }
                    return Ok(arrival);
                }
            }
        }
    }

    /// The same as the end that has connected.
    async fn initiate_over(
        &self,
        stream: &mut impl Stream,
        binding: Binding,
        wanted: Principal,
    ) -> Result<(), Unproved> {
        let mechanism = Arc::clone(&self.mechanism);
        let (mut end, hello) = self.step(move || Initiator::begin(&*mechanism, &wanted, binding)).await?;
        send(stream, &hello).await?;
        loop {
            let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "closed in its handshake");
            let message = receive(stream).await?.ok_or_else(gone)?;
            let next;
            (end, next) = self
                .step(move || {
                    let next = end.receive(message)?;
                    Ok((end, next))
                })
                .await?;
            match next {
                Next::Wait => {}
                Next::Send(message) => send(stream, &message).await?,
                Next::Done(..) => return Ok(()),
            }
        }
    }

    /// One call of the library, which may block, on a thread for that. Who gives up waiting
    /// does not free its place before the call has returned.
    async fn step<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> Result<T, KerberosError> + Send + 'static,
    ) -> Result<T, Unproved> {
        let place = Arc::clone(&self.steps).acquire_owned().await.map_err(io::Error::other)?;
        let stepped = tokio::task::spawn_blocking(move || {
            let stepped = step();
            drop(place);
            stepped
        });
        match stepped.await {
            Ok(stepped) => Ok(stepped?),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(io::Error::other(error).into()),
        }
    }
}

impl From<KerberosError> for Unproved {
    fn from(error: KerberosError) -> Unproved {
        Unproved::Kerberos(error)
    }
}

/// What both ends of this TLS connection have, and no end of any other.
fn binding_of<D>(tls: &ConnectionCommon<D>) -> Result<Binding, Unproved> {
    let exported = tls.export_keying_material([0; BINDING_BYTES], EXPORTER_LABEL, None);
    Ok(Binding(exported.map_err(io::Error::other)?))
}

async fn send(stream: &mut impl Stream, message: &Message) -> Result<(), Unproved> {
    stream.write_all(&message.encode()?).await?;
    Ok(stream.flush().await?)
}

/// The next message; none: the peer has closed between two of them.
async fn receive(stream: &mut impl Stream) -> Result<Option<Message>, Unproved> {
    let mut head = [0; HEAD_BYTES];
    match stream.read_exact(&mut head).await {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let head = Head::parse(head)?;
    let mut content = vec![0; head.content_len()];
    stream.read_exact(&mut content).await?;
    Ok(Some(Message::parse(head, content)?))
}

/// Tells the peer why it ends, where there is something to tell and somebody to hear it.
async fn tell(stream: &mut impl Stream, error: &KerberosError) {
    let Some(refusal) = error.as_refusal() else { return };
    let farewell = async {
        send(stream, &refusal).await.ok();
        stream.shutdown().await.ok();
        // Closing with unread input would reset the connection, and our words with it.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    };
    timeout(FAREWELL_DEADLINE, farewell).await.ok();
}

/// Connects to an [`Endpoint`] that has to prove a principal.
#[derive(Clone, Debug)]
pub struct KerberosDial {
    endpoint: Endpoint,
    wanted: Principal,
    kerberos: Kerberos,
    assignments: Assignments,
    deadline: Duration,
}

impl KerberosDial {
    /// Attempts take no longer than `deadline`. A connection ends when `wanted` is not
    /// assigned to the endpoint's host any more.
    #[must_use]
    pub fn new(
        endpoint: Endpoint,
        wanted: Principal,
        kerberos: Kerberos,
        assignments: Assignments,
        deadline: Duration,
    ) -> KerberosDial {
        KerberosDial { endpoint, wanted, kerberos, assignments, deadline }
    }

    async fn attempt(&self) -> Result<Box<dyn Stream>, LinkError> {
        let (tcp, name) = self.endpoint.reach().await?;
        let connector = TlsConnector::from(Arc::clone(&self.kerberos.client));
        let tune = |tls: &mut rustls::ClientConnection| tls.set_buffer_limit(Some(TLS_BUFFER));
        let tls = connector.connect_with(name, buffered(tcp), tune).await;
        let mut tls = tls.map_err(|e| self.endpoint.unreachable(e))?;
        if tls.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
            return Err(LinkError::NoKerberos { peer: self.peer() });
        }
        let binding = binding_of(tls.get_ref().1).map_err(|e| self.unproved(e))?;
        if let Err(error) = self.kerberos.initiate_over(&mut tls, binding, self.wanted.clone()).await {
            if let Unproved::Kerberos(error) = &error {
                tell(&mut tls, error).await;
            }
            return Err(self.unproved(error));
        }
        let host = self.endpoint.server_name.clone();
        let distrust = self.assignments.distrust(self.wanted.to_string(), host);
        Ok(Box::new(Watched::new(tls, distrust)))
    }

    fn unproved(&self, error: Unproved) -> LinkError {
        match error {
            Unproved::Channel(error) => self.endpoint.unreachable(error),
            Unproved::Kerberos(cause) => LinkError::Kerberos { peer: self.peer(), cause },
        }
    }
}

#[async_trait]
impl Dial for KerberosDial {
    async fn dial(&self) -> Result<Box<dyn Stream>, LinkError> {
        if self.assignments.host_of(self.wanted.as_str()).as_ref() != Some(&self.endpoint.server_name) {
            let cause = KerberosError::NotAssigned { principal: self.wanted.to_string() };
            return Err(LinkError::Kerberos { peer: self.peer(), cause });
        }
        match timeout(self.deadline, self.attempt()).await {
            Ok(result) => result,
            Err(_) => Err(self.endpoint.unreachable(io::ErrorKind::TimedOut.into())),
        }
    }

    fn peer(&self) -> String {
        self.endpoint.to_string()
    }
}
