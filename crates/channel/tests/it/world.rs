//! An authority, members of it, a site server that listens, and peers that behave badly.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use farshore_channel::{Client, Expected, Json, Keyring, Listener, Peer, Refusal, Serving};
use farshore_pki::{Authority, Bundle, Credentials, Identity, Lifetime, Revoked, Role};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    version::TLS13,
};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use uuid::Uuid;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const SITE: u128 = 1;

pub(crate) fn identity(role: Role, id: u128) -> Identity {
    Identity { role, id: Uuid::from_u128(id), name: format!("member{id}.example") }
}

pub(crate) fn site() -> Expected {
    Expected { role: Role::Site, id: Some(Uuid::from_u128(SITE)) }
}

/// An authority and what it revoked.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) revoked: String,
}

impl World {
    pub(crate) fn new() -> World {
        World { authority: Authority::create("CA").unwrap(), revoked: String::new() }
    }

    pub(crate) fn bundle(&self, identity: &Identity, lifetime: Lifetime) -> Bundle {
        let issued = self.authority.issue_to(identity, &["127.0.0.1"], lifetime).unwrap();
        Bundle {
            key_pem: issued.key_pem,
            cert_pem: issued.cert_pem,
            authority_pem: issued.ca_pem,
            revoked_pem: self.revoked.clone(),
        }
    }

    pub(crate) fn credentials(&self, role: Role, id: u128) -> Credentials {
        self.aged(role, id, Lifetime::starting_now(DAY))
    }

    pub(crate) fn aged(&self, role: Role, id: u128, lifetime: Lifetime) -> Credentials {
        self.bundle(&identity(role, id), lifetime).open("identity.pem".as_ref()).unwrap()
    }

    pub(crate) fn keyring(&self, role: Role, id: u128) -> Keyring {
        Keyring::new(self.credentials(role, id)).unwrap()
    }

    /// The list of revoked certificates with this one on it.
    pub(crate) fn revoking(&self, number: u64, keyring: &Keyring) -> String {
        let revoked = [Revoked { serial: keyring.facts().serial, at: 1_700_000_000 }];
        self.authority.revocation_list(number, &revoked, SystemTime::now()).unwrap()
    }

    pub(crate) async fn listen(&self, keyring: &Keyring) -> Serving {
        Listener::bind("127.0.0.1:0", keyring.clone(), router()).await.unwrap().serve().unwrap()
    }

    /// One that comes back to its address.
    pub(crate) async fn listen_for_long(&self, keyring: &Keyring) -> Serving {
        let address = free_address();
        Listener::bind(&address, keyring.clone(), router()).await.unwrap().serve().unwrap()
    }

    /// One that also answers `/held` late, and tells of each such question once it has come.
    pub(crate) async fn listen_and_tell(&self, keyring: &Keyring) -> (Serving, UnboundedReceiver<()>) {
        let (tell, told) = unbounded_channel();
        let held = move || {
            // Nobody may wait to hear of it any more.
            let _ = tell.send(());
            later()
        };
        let held: Router = Router::new().route("/held", get(held));
        let all = router().merge(held);
        let listener = Listener::bind("127.0.0.1:0", keyring.clone(), all).await.unwrap();
        (listener.serve().unwrap(), told)
    }

    pub(crate) fn client(&self, serving: &Serving, id: u128) -> Client {
        Client::new(self.keyring(Role::Host, id), &serving.address().to_string(), site())
    }
}

pub(crate) fn expired() -> Lifetime {
    let now = SystemTime::now();
    Lifetime { from: now - 3 * DAY, until: now - DAY }
}

pub(crate) fn early() -> Lifetime {
    let now = SystemTime::now();
    Lifetime { from: now + DAY, until: now + 3 * DAY }
}

/// An address at which nobody listens, nor will before it is wanted.
pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", farshore_sim::free_port())
}

/// Says who asks; answers late; fails twice and then does not.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/whoami", get(async |peer: Peer| Json(peer.identity)))
        .route("/port", get(async |peer: Peer| Json(peer.address.port())))
        .route("/echo", post(async |Json(text): Json<String>| Json(text)))
        .route("/later", get(later))
        .route("/third", get(third))
        .route("/vault-only", get(async |peer: Peer| peer.require(Role::Vault).map(|()| Json(1))))
        .with_state(Arc::new(AtomicUsize::new(0)))
}

/// As a question for documents is held.
async fn later() -> Json<&'static str> {
    tokio::time::sleep(Duration::from_secs(6)).await;
    Json("late")
}

async fn third(State(count): State<Arc<AtomicUsize>>) -> Result<Json<usize>, Refusal> {
    match count.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Err(Refusal::unavailable("not yet")),
        count => Ok(Json(count)),
    }
}

/// TLS by hand: believes every server, shows what it is given.
pub(crate) async fn raw(address: SocketAddr, own: Option<&Credentials>) -> TlsStream<TcpStream> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.key_der.clone()));
            builder.with_client_auth_cert(vec![CertificateDer::from(own.cert_der.clone())], key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("any.example").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// What comes until the other side closes, or an error's text; fails if it stays open.
pub(crate) async fn until_closed(stream: &mut TlsStream<TcpStream>, within: Duration) -> String {
    let mut all = Vec::new();
    match timeout(within, stream.read_to_end(&mut all)).await {
        Err(_) => panic!("still open after {within:?}: {}", String::from_utf8_lossy(&all)),
        Ok(Err(error)) => format!("{}{error}", String::from_utf8_lossy(&all)),
        Ok(Ok(_)) => String::from_utf8_lossy(&all).into_owned(),
    }
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("only TLS 1.3 is offered")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
