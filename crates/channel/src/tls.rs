//! TLS 1.3 of both sides: what is shown, and how the other side is verified. webpki checks
//! chain, dates and use; what was revoked, role and id are checked by the pki's judgement,
//! the same that open connections are judged by later.

use std::{sync::Arc, time::Duration, time::SystemTime};

use farshore_pki::{Credentials, Fingerprint, PkiError, Trust};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};

use crate::Expected;

/// What both sides speak inside.
const ALPN: &[u8] = b"http/1.1";

/// A server's side. `open`: who shows no certificate is let in to enrol.
pub(crate) fn server_config(own: &Credentials, open: bool) -> Result<ServerConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::new(roots(own.trust.authorities())?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    let builder = if open { builder.allow_unauthenticated() } else { builder };
    let webpki = builder.build().map_err(|e| Error::General(e.to_string()))?;
    let verifier = Arc::new(MemberVerifier { webpki, trust: own.trust.clone() });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(own), key(own))?;
    // A resumed session would not be verified again.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// A member's side as client.
pub(crate) fn client_config(own: &Credentials, expected: Expected) -> Result<ClientConfig, Error> {
    let pin = Pin::Trust(own.trust.clone());
    let config = verified(pin, expected)?.with_client_auth_cert(chain(own), key(own))?;
    Ok(finished(config))
}

/// A stranger's side: it knows the fingerprint of the other's authority, and nothing else.
pub(crate) fn stranger_config(fingerprint: Fingerprint, expected: Expected) -> Result<ClientConfig, Error> {
    Ok(finished(verified(Pin::Fingerprint(fingerprint), expected)?.with_no_client_auth()))
}

type WantsClientCert = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn verified(pin: Pin, expected: Expected) -> Result<WantsClientCert, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(ServerVerifier { pin, expected, provider: provider.clone() });
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn finished(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Peers are known by role and id; which name they were looked for by is nobody's matter.
    config.enable_sni = false;
    config
}

/// With the authority's own certificate: a stranger knows it by its fingerprint only.
fn chain(own: &Credentials) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from(own.cert_der.clone()), CertificateDer::from(own.ca_der.clone())]
}

fn key(own: &Credentials) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.key_der.clone()))
}

fn roots(authorities: &[Vec<u8>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    authorities.iter().try_for_each(|der| roots.add(CertificateDer::from(der.clone())))?;
    Ok(roots)
}

/// The pki's judgement as TLS takes it; the error itself can be found again by `own_error`.
fn distrusted(error: PkiError) -> Error {
    match error {
        PkiError::Revoked { .. } => CertificateError::Revoked.into(),
        other => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
}

/// The pki's error inside TLS's.
pub(crate) fn own_error(error: &CertificateError) -> Option<&PkiError> {
    match error {
        CertificateError::Other(OtherError(inner)) => inner.downcast_ref::<PkiError>(),
        _ => None,
    }
}

fn system(now: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs())
}

/// Verifies clients.
#[derive(Debug)]
struct MemberVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    trust: Trust,
}

impl ClientCertVerifier for MemberVerifier {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.webpki.verify_client_cert(cert, intermediates, now)?;
        self.trust.judge_member(cert, system(now)).map_err(distrusted)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// By what a server's authority is known.
#[derive(Debug)]
enum Pin {
    Trust(Trust),
    Fingerprint(Fingerprint),
}

impl Pin {
    /// The trust to judge a server by, which showed these certificates.
    fn trust(&self, shown: &[CertificateDer<'_>]) -> Result<Trust, PkiError> {
        match self {
            Pin::Trust(trust) => Ok(trust.clone()),
            Pin::Fingerprint(wanted) => {
                let authority = shown.iter().find(|der| Fingerprint::of(der) == *wanted);
                let found = || shown.last().map(|der| Fingerprint::of(der).to_string()).unwrap_or_default();
                let wrong = || PkiError::WrongFingerprint { expected: wanted.to_string(), found: found() };
                Trust::of_der(vec![authority.ok_or_else(wrong)?.to_vec()])
            }
        }
    }
}

/// Verifies servers.
#[derive(Debug)]
struct ServerVerifier {
    pin: Pin,
    expected: Expected,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = self.pin.trust(intermediates).map_err(distrusted)?;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(cert)?,
            &roots(trust.authorities())?,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        let judged = trust.judge_member(cert, system(now));
        judged.and_then(|found| self.expected.check(&found)).map_err(distrusted)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
