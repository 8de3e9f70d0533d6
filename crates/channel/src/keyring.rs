//! The own certificate and whom to trust, replaced while connections are open. Everybody
//! who holds a keyring sees the replacement; trust only ever moves forward.

use std::{path::Path, sync::Arc, time::SystemTime};

use farshore_pki::{Bundle, Credentials, Facts, Identity, PkiError, Trust};
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::{ChannelError, tls};

/// The own certificate and whom to trust.
#[derive(Clone, Debug)]
pub struct Keyring {
    state: Arc<watch::Sender<Arc<State>>>,
}

/// One moment of a keyring.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) credentials: Credentials,
    pub(crate) identity: Identity,
    /// For members only.
    pub(crate) members: Arc<ServerConfig>,
    /// For members, and strangers that enrol.
    pub(crate) open: Arc<ServerConfig>,
}

impl State {
    fn new(credentials: Credentials) -> Result<State, ChannelError> {
        let identity = credentials.facts.identity()?.clone();
        let members = Arc::new(tls::server_config(&credentials, false)?);
        let open = Arc::new(tls::server_config(&credentials, true)?);
        Ok(State { credentials, identity, members, open })
    }

    /// Judges a peer by what is trusted now.
    pub(crate) fn judge(&self, cert_der: &[u8]) -> Result<Identity, PkiError> {
        self.credentials.trust.judge_member(cert_der, SystemTime::now())
    }
}

impl Keyring {
    /// A keyring of a member's key, certificate and trust.
    ///
    /// # Errors
    /// A certificate without a role; a key or certificate that TLS does not take.
    pub fn new(credentials: Credentials) -> Result<Keyring, ChannelError> {
        let (state, _) = watch::channel(Arc::new(State::new(credentials)?));
        Ok(Keyring { state: Arc::new(state) })
    }

    /// A keyring of a directory's `identity.pem`.
    ///
    /// # Errors
    /// As [`Keyring::new`]; files missing, unreadable, malformed.
    pub fn load(dir: &Path) -> Result<Keyring, ChannelError> {
        Keyring::new(Credentials::load(dir)?)
    }

    /// Whose keyring it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.now().identity.clone()
    }

    /// What the own certificate says.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.now().credentials.facts.clone()
    }

    /// What the certificate of its authority says.
    ///
    /// # Errors
    /// [`PkiError::Nameless`] where it names nobody.
    pub fn authority_facts(&self) -> Result<Facts, PkiError> {
        Facts::of(&self.now().credentials.ca_der)
    }

    /// Number of the list of revoked certificates that is held; 0 before the first.
    #[must_use]
    pub fn revoked_number(&self) -> u64 {
        self.now().credentials.trust.number()
    }

    /// Takes another own certificate and what comes with it. Listeners and clients use it
    /// from now on; open connections whose peer is not trusted any more are closed.
    ///
    /// # Errors
    /// As [`Keyring::new`]; [`PkiError::OlderList`]: nothing is changed then.
    pub fn replace(&self, credentials: Credentials) -> Result<(), ChannelError> {
        let next = Arc::new(State::new(credentials)?);
        let mut checked = Ok(());
        self.state.send_if_modified(|state| {
            checked = state.credentials.trust.check_successor(&next.credentials.trust);
            if checked.is_ok() {
                *state = next;
            }
            checked.is_ok()
        });
        Ok(checked?)
    }

    /// Takes what a directory has now, as [`Keyring::replace`].
    ///
    /// # Errors
    /// As there; files missing, unreadable, malformed.
    pub fn reload(&self, dir: &Path) -> Result<(), ChannelError> {
        self.replace(Credentials::load(dir)?)
    }

    /// Takes other trust, the own certificate staying, as [`Keyring::replace`]; says
    /// whether it was other. To keep it, save the directory's [`Bundle`] first.
    ///
    /// # Errors
    /// As there; trust in which the own certificate's authority is missing.
    pub fn replace_trust(&self, authority_pem: &str, revoked_pem: &str) -> Result<bool, ChannelError> {
        let trust = Trust::parse(authority_pem, revoked_pem)?;
        let now = self.now();
        if trust == now.credentials.trust {
            return Ok(false);
        }
        now.credentials.trust.check_successor(&trust)?;
        self.replace(now.credentials.clone().with_trust(trust)?)?;
        Ok(true)
    }

    /// As [`Keyring::replace_trust`], durable in a directory's `identity.pem` before it is
    /// in force.
    ///
    /// # Errors
    /// As there; files that cannot be read or written.
    pub fn store_trust(
        &self,
        dir: &Path,
        authority_pem: &str,
        revoked_pem: &str,
    ) -> Result<bool, ChannelError> {
        let trust = Trust::parse(authority_pem, revoked_pem)?;
        let now = self.now();
        if trust == now.credentials.trust {
            return Ok(false);
        }
        now.credentials.trust.check_successor(&trust)?;
        let bundle = Bundle {
            authority_pem: authority_pem.to_owned(),
            revoked_pem: revoked_pem.to_owned(),
            ..Bundle::load(dir)?
        };
        bundle.save(dir)?;
        self.reload(dir)?;
        Ok(true)
    }

    /// Takes a renewed certificate and what came with it, durable in a directory's
    /// `identity.pem` before it is in force. Trust that is older than what is held, from a
    /// server that has not heard yet, is left out.
    ///
    /// # Errors
    /// As [`Keyring::new`]; files that cannot be read or written.
    pub fn store(&self, dir: &Path, bundle: Bundle) -> Result<(), ChannelError> {
        let trust = Trust::parse(&bundle.authority_pem, &bundle.revoked_pem)?;
        let bundle = if self.now().credentials.trust.check_successor(&trust).is_ok() {
            bundle
        } else {
            let Bundle { authority_pem, revoked_pem, .. } = Bundle::load(dir)?;
            Bundle { authority_pem, revoked_pem, ..bundle }
        };
        bundle.save(dir)?;
        self.reload(dir)
    }

    pub(crate) fn now(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }
}
