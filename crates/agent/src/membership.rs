//! What this host is to a vault: enrolled once by a registration key, known by its
//! certificate from then on, renewing that by itself, following whom to trust. This module
//! must never know what documents and reports say.
//!
//! In `identity_dir`, all mode 0600:
//! - `identity.pem`: key, certificate and trust, one file ([`farshore_pki::Bundle`]);
//! - `membership.json`: which servers to talk to, and how this host is reached;
//! - `enrolment.json`: the key of an enrolment under way. It is written before the first
//!   attempt and goes after the last step, so that a cut enrolment goes on with the same
//!   key, and the issuer knows that it is the same host.

mod enrol;
mod record;
mod upkeep;
mod upstream;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use farshore_channel::{Client, Expected, Keyring};
use farshore_pki::{Bundle, Role};
use farshore_types::HostId;

use crate::{AgentError, managed::Upstream};
use record::Record;

pub use enrol::{Enrolled, Wanted, enrol, parse_key};
pub(crate) use upkeep::upkeep;
use upstream::SiteServer;

/// An enrolled host's place among the vault's members.
pub struct Membership {
    dir: PathBuf,
    record: Record,
    keyring: Keyring,
}

impl Membership {
    /// What a directory holds; none where this host was never enrolled.
    ///
    /// # Errors
    /// Files that are damaged or do not belong together; an enrolment that was cut.
    pub fn load(dir: &Path) -> Result<Option<Membership>, AgentError> {
        let record = Record::load(dir)?;
        match (record, Bundle::exists(dir)) {
            (None, _) => Ok(None),
            (Some(_), false) => Err(AgentError::Request {
                what: "the enrolment of this host was cut".to_owned(),
                advice: "repeat `farshore-agent enrol` with the same key".to_owned(),
            }),
            (Some(record), true) => {
                let keyring = Keyring::load(dir)?;
                check_host(&keyring)?;
                Ok(Some(Membership { dir: dir.to_owned(), record, keyring }))
            }
        }
    }

    /// Which host this is.
    #[must_use]
    pub fn host(&self) -> HostId {
        HostId(self.keyring.identity().id)
    }

    /// Its certificate and whom it trusts.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Whom to ask and tell, the first first.
    #[must_use]
    pub fn upstreams(&self) -> Vec<Arc<dyn Upstream>> {
        self.clients().map(|client| Arc::new(SiteServer::new(client)) as Arc<dyn Upstream>).collect()
    }

    fn clients(&self) -> impl Iterator<Item = Client> {
        self.record.servers.iter().map(|server| {
            let expected = Expected { role: server.role, id: Some(server.id) };
            Client::new(self.keyring.clone(), &server.address, expected)
        })
    }
}

/// Another member's certificate in a host's place would be let in nowhere.
fn check_host(keyring: &Keyring) -> Result<(), AgentError> {
    let identity = keyring.identity();
    if identity.role == Role::Host {
        return Ok(());
    }
    Err(AgentError::Request {
        what: format!("the certificate here is that of {identity}, not of a host"),
        advice: "give the agent an `identity_dir` of its own, and enrol it".to_owned(),
    })
}
