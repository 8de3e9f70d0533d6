//! How TLS is set up where Kerberos proves who is who. The server's certificate is only what
//! TLS needs to begin; the client takes any. That is sound, because neither end believes
//! anything before the peer has sealed this connection's exported value under the Kerberos
//! context: who stands in the middle has two connections, and two values.

use std::{sync::Arc, time::Duration};

use farshore_pki::{Authority, Lifetime};
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    version::TLS13,
};

use super::PROTOCOL;
use crate::{LinkError, identity::provider};

/// In the certificate that nobody looks at.
const NAME: &str = "farshore-kerberos";
/// How long that holds. Nobody looks at it either.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// The end that connects.
pub(super) fn client() -> Result<Arc<ClientConfig>, LinkError> {
    let provider = Arc::new(provider());
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(client))
}

/// The end that is connected to.
pub(super) fn server() -> Result<Arc<ServerConfig>, LinkError> {
    let made = Authority::create(NAME)?.issue(NAME, &[], Lifetime::starting_now(LIFETIME))?;
    let general = |e: rustls::pki_types::pem::Error| rustls::Error::General(e.to_string());
    let cert = CertificateDer::from_pem_slice(made.cert_pem.as_bytes()).map_err(general)?;
    let key = PrivateKeyDer::from_pem_slice(made.key_pem.as_bytes()).map_err(general)?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)?;
    // Tickets would be written into a connection on which the source may not read yet.
    server.send_tls13_tickets = 0;
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(server))
}

/// Takes any certificate whose key the server has: who it is, Kerberos will prove.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
