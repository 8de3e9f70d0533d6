//! A host's own certificate, key and authority, read and checked before any use.

use std::{path::Path, time::SystemTime};

use crate::{CA_CERT, Facts, HOST_CERT, HOST_KEY, PkiError, certificate, store};

/// What a host shows to others and judges others by.
#[derive(Clone)]
pub struct Credentials {
    /// The authority's certificate, DER.
    pub ca_der: Vec<u8>,
    /// The host's certificate, DER.
    pub cert_der: Vec<u8>,
    /// The host's private key, PKCS#8 DER; a secret.
    pub key_der: Vec<u8>,
    /// What the host's certificate says.
    pub facts: Facts,
}

impl Credentials {
    /// Reads `ca.pem`, `host.pem` and `host.key` of a directory and checks that they
    /// belong together. Dates are not checked here: see [`Credentials::check_time`].
    ///
    /// # Errors
    /// Files missing, unreadable or malformed; key of another certificate; certificate of
    /// another authority.
    pub fn load(dir: &Path) -> Result<Credentials, PkiError> {
        let (ca_path, cert_path, key_path) = (dir.join(CA_CERT), dir.join(HOST_CERT), dir.join(HOST_KEY));
        let ca_der = certificate::der_of(&ca_path, &store::read(&ca_path)?)?;
        let cert_der = certificate::der_of(&cert_path, &store::read(&cert_path)?)?;
        let key = certificate::parse_key(&key_path, &store::read(&key_path)?)?;
        let facts = Facts::of(&cert_der)?;
        if facts.public_key != key.public_key_raw() {
            return Err(PkiError::KeyMismatch { cert: cert_path, key: key_path });
        }
        certificate::check_authority(&facts.name, &cert_der, &ca_der)?;
        Ok(Credentials { ca_der, cert_der, key_der: key.serialize_der(), facts })
    }

    /// Checks that the host's own certificate and its authority's hold at a time.
    ///
    /// # Errors
    /// [`PkiError::Expired`] or [`PkiError::NotYetValid`].
    pub fn check_time(&self, now: SystemTime) -> Result<(), PkiError> {
        Facts::of(&self.ca_der)?.check_time(now)?;
        self.facts.check_time(now)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("facts", &self.facts).finish_non_exhaustive()
    }
}
