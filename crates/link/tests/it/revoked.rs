//! Hosts that are members no more: not let in, and not kept in.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use farshore_link::{Endpoint, Identity, LinkError, ServerLimits, Session, SessionOptions, serve};
use farshore_pki::{Authority, Bundle, PkiError, Revoked, Role};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    memory::Memory,
    world::{EPOCH, a_day, greeting},
};

/// Within which a revoked host's session must be over.
const SECONDS: Duration = Duration::from_secs(5);

/// A member with everything in one file.
struct Host {
    bundle: Bundle,
    dir: TempDir,
    identity: Identity,
}

impl Host {
    fn of(authority: &Authority, id: u128, name: &str) -> Host {
        let who =
            farshore_pki::Identity { role: Role::Host, id: uuid::Uuid::from_u128(id), name: name.to_owned() };
        let issued = authority.issue_to(&who, &[], a_day()).unwrap();
        let bundle = Bundle {
            key_pem: issued.key_pem,
            cert_pem: issued.cert_pem,
            authority_pem: issued.ca_pem,
            revoked_pem: authority.revocation_list(1, &[], SystemTime::now()).unwrap(),
        };
        let dir = tempfile::tempdir().unwrap();
        bundle.save(dir.path()).unwrap();
        let identity = Identity::load(dir.path()).unwrap();
        Host { bundle, dir, identity }
    }

    /// It learns that another is a member no more.
    fn learn_of(&self, authority: &Authority, revoked: &Host) {
        let facts = revoked.bundle.open("identity.pem".as_ref()).unwrap().facts;
        let revoked = [Revoked { serial: facts.serial, at: 1_700_000_000 }];
        let revoked_pem = authority.revocation_list(2, &revoked, SystemTime::now()).unwrap();
        Bundle { revoked_pem, ..self.bundle.clone() }.save(self.dir.path()).unwrap();
        self.identity.reload(self.dir.path()).unwrap();
    }
}

struct Pair {
    authority: Authority,
    source: Host,
    target: Host,
    address: String,
    _serving: AbortOnDropHandle<()>,
}

impl Pair {
    async fn start() -> Pair {
        let authority = Authority::create("CA").unwrap();
        let source = Host::of(&authority, 1, "source.example");
        let target = Host::of(&authority, 2, "target.example");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let sink = Arc::new(Memory::default());
        let limits = ServerLimits::default();
        let serving = serve(listener, target.identity.clone(), sink, limits, CancellationToken::new());
        let _serving = AbortOnDropHandle::new(tokio::spawn(serving));
        Pair { authority, source, target, address, _serving }
    }

    async fn connect(&self) -> Result<Session, LinkError> {
        let endpoint = Endpoint { address: self.address.clone(), server_name: "target.example".to_owned() };
        Session::connect(&endpoint, &self.source.identity, greeting(EPOCH), SessionOptions::default()).await
    }
}

/// The error that a session ends with.
async fn end_of(mut session: Session) -> LinkError {
    let begun = Instant::now();
    loop {
        match session.ping().await {
            Err(error) => return error,
            Ok(_) => assert!(begun.elapsed() < SECONDS, "it goes on"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Also where the session tells of what ended it.
fn reason(error: &LinkError) -> String {
    assert!(!error.is_recoverable(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_revoked_source_is_cut_off_and_not_let_in_again() {
    let pair = Pair::start().await;
    let mut session = pair.connect().await.unwrap();
    session.ping().await.unwrap();
    pair.target.learn_of(&pair.authority, &pair.source);
    let error = end_of(session).await;
    assert!(reason(&error).contains("this host's certificate was revoked"), "{error}");
    let error = pair.connect().await.err().unwrap();
    assert!(reason(&error).contains("this host's certificate was revoked"), "{error}");
}

#[tokio::test]
async fn a_revoked_target_gets_nothing_more() {
    let pair = Pair::start().await;
    let mut session = pair.connect().await.unwrap();
    session.ping().await.unwrap();
    pair.source.learn_of(&pair.authority, &pair.target);
    let error = end_of(session).await;
    assert!(reason(&error).contains("certificate of target.example was revoked"), "{error}");
    let error = pair.connect().await.err().unwrap();
    assert!(reason(&error).contains("certificate of target.example was revoked"), "{error}");
}

#[tokio::test]
async fn others_go_on_when_one_is_revoked_and_an_older_list_is_not_taken() {
    let pair = Pair::start().await;
    let mut session = pair.connect().await.unwrap();
    let other = Host::of(&pair.authority, 3, "other.example");
    pair.target.learn_of(&pair.authority, &other);
    for _ in 0..5 {
        session.ping().await.unwrap();
    }
    pair.target.bundle.save(pair.target.dir.path()).unwrap();
    let error = pair.target.identity.reload(pair.target.dir.path()).unwrap_err();
    assert!(matches!(error, LinkError::Identity(PkiError::OlderList { held: 2, given: 1 })), "{error}");
}
