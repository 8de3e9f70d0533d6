//! A request for a certificate: its holder makes the key, and the key never travels.

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PublicKey, PublicKeyData};

use crate::{PkiError, random};

/// Most bytes of a request's text.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// A new key and the request to have it certified.
pub struct KeyRequest {
    /// The private key, PEM; a secret that stays with its holder.
    pub key_pem: String,
    /// The request, PEM.
    pub csr_pem: String,
}

impl KeyRequest {
    /// A new key.
    ///
    /// # Errors
    /// [`PkiError::UnsoundRequest`] where no key can be made.
    pub fn generate() -> Result<KeyRequest, PkiError> {
        KeyRequest::of(&KeyPair::generate().map_err(unsound)?)
    }

    /// Once more, for a key that exists.
    ///
    /// # Errors
    /// [`PkiError::UnsoundRequest`] where the text is no private key.
    pub fn of_key(key_pem: &str) -> Result<KeyRequest, PkiError> {
        KeyRequest::of(&KeyPair::from_pem(key_pem).map_err(unsound)?)
    }

    /// It names nobody: what a certificate says is the signer's alone.
    fn of(key: &KeyPair) -> Result<KeyRequest, PkiError> {
        let request = CertificateParams::default().serialize_request(key).map_err(unsound)?;
        Ok(KeyRequest { key_pem: key.serialize_pem(), csr_pem: request.pem().map_err(unsound)? })
    }
}

impl std::fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRequest").field("csr_pem", &self.csr_pem).finish_non_exhaustive()
    }
}

/// The holder of a key who asked for a certificate and proved to have the key.
#[derive(Clone, Debug)]
pub struct Applicant {
    key: PublicKey,
}

impl Applicant {
    /// Reads a request and checks that it is signed by the key it is about.
    ///
    /// # Errors
    /// [`PkiError::UnsoundRequest`].
    pub fn parse(csr_pem: &str) -> Result<Applicant, PkiError> {
        if csr_pem.len() > REQUEST_BYTES_MAX {
            let why = format!("it has {} bytes, more than {REQUEST_BYTES_MAX}", csr_pem.len());
            return Err(PkiError::UnsoundRequest { why });
        }
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(unsound)?;
        Ok(Applicant { key: request.public_key })
    }

    /// SHA-256 of the public key, hexadecimal: by it a repeated request is known again.
    #[must_use]
    pub fn key_digest(&self) -> String {
        random::to_hex(&random::sha256(self.key.der_bytes()))
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.key
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unsound(error: rcgen::Error) -> PkiError {
    PkiError::UnsoundRequest { why: error.to_string() }
}
