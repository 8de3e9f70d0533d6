//! Who this host is, and who a peer is: mutual TLS 1.3 under one private authority.

use std::{
    fmt, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use farshore_pki::{Credentials, Facts};
use rustls::{
    AlertDescription, CertificateError, CipherSuite, ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};
use tokio::sync::watch;

use crate::{Caller, LinkError, watched::Distrust};

/// A host's certificate, key and trust, ready for both sides of a connection. Clones share
/// them: what one of them reloads is in force for all, for open connections too.
#[derive(Clone)]
pub struct Identity {
    keys: Arc<watch::Sender<Arc<Keys>>>,
}

/// One moment of an identity.
struct Keys {
    credentials: Credentials,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// Draws the process's first random bytes, which takes tens of milliseconds of gathering
/// entropy: before anybody waits for a handshake.
pub fn warm_up() {
    // Where it fails, so does the handshake, and says so.
    let _ = provider().secure_random.fill(&mut [0; 32]);
}

impl Keys {
    fn load(dir: &Path) -> Result<Keys, LinkError> {
        let credentials = Credentials::load(dir)?;
        let provider = Arc::new(provider());
        let mut roots = RootCertStore::empty();
        for authority in credentials.trust.authorities() {
            roots.add(CertificateDer::from(authority.clone()))?;
        }
        let (roots, lists) = (Arc::new(roots), credentials.trust.lists());
        let lists = || lists.iter().map(|list| list.der().to_vec().into());
        let chain = vec![CertificateDer::from(credentials.cert_der.clone())];
        let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(credentials.key_der.clone()));
        let general = |e: VerifierBuilderError| rustls::Error::General(e.to_string());

        // An authority that has revoked nothing yet has no list.
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .with_crls(lists())
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_webpki_verifier(verifier.build().map_err(general)?)
            .with_client_auth_cert(chain.clone(), key())?;
        client.resumption = Resumption::disabled();

        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .with_crls(lists())
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier.build().map_err(general)?)
            .with_single_cert(chain, key())?;
        // Tickets would be written into a connection on which the source may not read yet.
        server.send_tls13_tickets = 0;
        Ok(Keys { credentials, client: Arc::new(client), server: Arc::new(server) })
    }
}

impl Identity {
    /// Reads `identity.pem` of a directory, or `ca.pem`, `host.pem` and `host.key`.
    ///
    /// # Errors
    /// Whatever is wrong with the files: missing, malformed, not belonging together. An
    /// expired certificate is reported when it is used: it may be renewed meanwhile.
    pub fn load(dir: &Path) -> Result<Identity, LinkError> {
        let (keys, _) = watch::channel(Arc::new(Keys::load(dir)?));
        Ok(Identity { keys: Arc::new(keys) })
    }

    /// Takes what a directory holds now. New connections use it; open ones whose peer is
    /// not believed by it any more end.
    ///
    /// # Errors
    /// As [`Identity::load`]; a list of revoked certificates from before the one that is
    /// held: nothing is changed then.
    pub fn reload(&self, dir: &Path) -> Result<(), LinkError> {
        let next = Keys::load(dir)?;
        self.now().credentials.trust.check_successor(&next.credentials.trust)?;
        let same = |held: &Credentials, next: &Credentials| {
            held.cert_der == next.cert_der && held.trust == next.trust
        };
        self.keys.send_if_modified(|held| {
            let changed = !same(&held.credentials, &next.credentials);
            if changed {
                *held = Arc::new(next);
            }
            changed
        });
        Ok(())
    }

    fn now(&self) -> Arc<Keys> {
        self.keys.borrow().clone()
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.now().client)
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.now().server)
    }

    /// Waits until the holder of a certificate is not believed any more.
    pub(crate) fn distrust(&self, chain: Option<&[CertificateDer<'_>]>) -> Distrust {
        let cert = chain.and_then(<[_]>::first).map(|cert| cert.to_vec()).unwrap_or_default();
        let mut changes = self.keys.subscribe();
        Box::pin(async move {
            loop {
                // Also at first: trust may have changed since the handshake began.
                let judged = changes.borrow_and_update().credentials.trust.judge(&cert, SystemTime::now());
                if let Err(error) = judged {
                    return error.to_string();
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    /// Name in this host's own certificate.
    #[must_use]
    pub fn host_name(&self) -> String {
        self.now().credentials.facts.name.clone()
    }

    /// Until when this host's own certificate is valid.
    #[must_use]
    pub fn valid_until(&self) -> SystemTime {
        let secs = u64::try_from(self.now().credentials.facts.not_after).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    /// Checks the dates of this host's own certificate and its authority's.
    ///
    /// # Errors
    /// [`LinkError::Identity`] with whose certificate and which date.
    pub fn check_time(&self) -> Result<(), LinkError> {
        Ok(self.now().credentials.check_time(SystemTime::now())?)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("credentials", &self.now().credentials).finish_non_exhaustive()
    }
}

/// AES-128 before AES-256: as safe for this century's data on its way, and a quarter cheaper.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// The host name in a peer's certificate, which TLS has verified.
pub(crate) fn peer_name(chain: Option<&[CertificateDer<'_>]>) -> Option<Caller> {
    let facts = Facts::of(chain?.first()?).ok()?;
    Some(Caller::by_certificate(facts.name))
}

/// What a failed handshake means: whose certificate, what is wrong, what to do. `None`
/// where the failure was not about trust.
pub(crate) fn distrust(error: &io::Error, peer: &str) -> Option<(String, &'static str)> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match tls {
        rustls::Error::InvalidCertificate(error) => theirs(error, peer),
        rustls::Error::AlertReceived(alert) => ours(*alert, peer),
        rustls::Error::NoCertificatesPresented => {
            (format!("{peer} showed no certificate"), "is something else connecting to this port?")
        }
        rustls::Error::InvalidMessage(_) => {
            (format!("{peer} does not speak TLS"), "check address and port: is it a replication agent?")
        }
        other => (other.to_string(), "check the certificates of both hosts"),
    })
}

fn theirs(error: &CertificateError, peer: &str) -> (String, &'static str) {
    match error {
        CertificateError::Expired => {
            (format!("the certificate of {peer} expired"), "have a new one issued there")
        }
        CertificateError::ExpiredContext { not_after, .. } => (
            format!(
                "the certificate of {peer} expired on {}",
                farshore_pki::show_time(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX))
            ),
            "have a new one issued there, or check this host's clock",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (format!("the certificate of {peer} is not valid yet"), "check the clocks of both hosts")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            format!("the certificate of {peer} was not signed by this host's authority"),
            "both sites must use one authority: compare the files ca.pem",
        ),
        CertificateError::Revoked => (
            format!("the certificate of {peer} was revoked"),
            "the host is no member any more: if that was a mistake, enrol it anew",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("the certificate shown is not one of {peer}: {error}"),
            "check address and name of the target: another host answers there",
        ),
        other => {
            (format!("the certificate of {peer} is not acceptable: {other}"), "have a new one issued there")
        }
    }
}

fn ours(alert: AlertDescription, peer: &str) -> (String, &'static str) {
    match alert {
        AlertDescription::CertificateExpired => (
            format!("{peer} says that this host's certificate expired"),
            "have a new one issued here, or check the clock there",
        ),
        AlertDescription::CertificateRevoked => (
            format!("{peer} says that this host's certificate was revoked"),
            "if that was a mistake, enrol this host anew",
        ),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => (
            format!("{peer} does not know the authority of this host's certificate"),
            "both sites must use one authority: compare the files ca.pem",
        ),
        other => (
            format!("{peer} does not accept this host's certificate ({other:?})"),
            "look into the log of the peer",
        ),
    }
}
