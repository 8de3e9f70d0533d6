//! A target that takes Kerberos, and sources for it, in a test's realm.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use farshore_kdc::{environment, place, principal_of};
use farshore_kerberos::Gss;
use farshore_link::{
    Assignments, Endpoint, Kerberos, KerberosDial, LinkError, Proofs, ServerLimits, Session, serve,
};
use farshore_pki::Authority;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::greets;
use crate::{
    memory::Memory,
    world::{a_day, identity},
};

pub(super) const TARGET: &str = "target.example";
const DEADLINE: Duration = Duration::from_secs(20);

/// The library as one of the realm's hosts.
pub(super) fn gss(host: &str) -> Gss {
    let place = place();
    Gss::new(principal_of(host).parse().unwrap(), place.join("hosts.keytab"), &environment(&place)).unwrap()
}

pub(super) fn kerberos(host: &str) -> Kerberos {
    Kerberos::new(Arc::new(gss(host))).unwrap()
}

/// What the vault says: who is the source, who the target.
fn assigned(source: &str) -> Assignments {
    let one = |host: &str| (principal_of(host), host.to_owned());
    Assignments::new(BTreeMap::from([one(source), one(TARGET)]))
}

pub(super) struct Target {
    pub(super) memory: Memory,
    pub(super) address: String,
    pub(super) assignments: Assignments,
    _serving: AbortOnDropHandle<()>,
}

impl Target {
    pub(super) async fn start() -> Target {
        Target::taking(true).await
    }

    pub(super) async fn without_kerberos() -> Target {
        Target::taking(false).await
    }

    async fn taking(taken: bool) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (identity, _dir) = identity(&Authority::create("CA").unwrap(), TARGET, a_day());
        let assignments = assigned("source.example");
        let kerberos = taken.then(|| (kerberos(TARGET), assignments.clone()));
        let (memory, proofs) = (Memory::default(), Proofs { identity, kerberos });
        let sink = Arc::new(memory.clone());
        let serving = serve(listener, proofs, sink, ServerLimits::default(), CancellationToken::new());
        Target { memory, address, assignments, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    pub(super) async fn connect(&self, host: &str) -> Result<Session, LinkError> {
        connect(&self.address, host, &principal_of(TARGET)).await
    }

    /// As the source, to whom another principal was named for the target.
    pub(super) async fn connect_wanting(&self, principal: &str) -> Result<Session, LinkError> {
        connect(&self.address, "source.example", principal).await
    }

    /// For a process of the same realm.
    pub(super) fn tell_address(&self) {
        let path = place().join("address");
        fs::write(path.with_extension("new"), &self.address).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }
}

pub(super) async fn connect(address: &str, host: &str, wanted: &str) -> Result<Session, LinkError> {
    let endpoint = Endpoint { address: address.to_owned(), server_name: TARGET.to_owned() };
    let assignments = Assignments::new(BTreeMap::from([(wanted.to_owned(), TARGET.to_owned())]));
    let dial = KerberosDial::new(endpoint, wanted.parse().unwrap(), kerberos(host), assignments, DEADLINE);
    let (greeting, options) = greets();
    Session::over(Arc::new(dial), greeting, options).await
}

pub(super) async fn connect_to_told(host: &str) -> Result<Session, LinkError> {
    let address = fs::read_to_string(place().join("address")).unwrap();
    connect(&address, host, &principal_of(TARGET)).await
}

/// Why there is no trust, and what to do about it.
pub(super) fn why(error: &LinkError) -> (String, String) {
    let LinkError::Kerberos { cause, .. } = error else { panic!("{error:?}") };
    (cause.to_string(), cause.advice().to_owned())
}
