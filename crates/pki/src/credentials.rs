//! A host's own certificate, key and authority, read and checked before any use.

use std::{path::Path, time::SystemTime};

use crate::{Bundle, CA_CERT, Facts, HOST_CERT, HOST_KEY, IDENTITY, PkiError, Trust, certificate, store};

/// What a host shows to others and judges others by.
#[derive(Clone)]
pub struct Credentials {
    /// The certificate of the authority that signed the host's, DER.
    pub ca_der: Vec<u8>,
    /// The host's certificate, DER.
    pub cert_der: Vec<u8>,
    /// The host's private key, PKCS#8 DER; a secret.
    pub key_der: Vec<u8>,
    /// What the host's certificate says.
    pub facts: Facts,
    /// Whom to believe: all authorities, and what they revoked.
    pub trust: Trust,
}

impl Credentials {
    /// Reads `identity.pem` of a directory, or where there is none `ca.pem`, `host.pem` and
    /// `host.key`, and checks that they belong together. Dates are not checked here: see
    /// [`Credentials::check_time`].
    ///
    /// # Errors
    /// Files missing, unreadable or malformed; key of another certificate; certificate of
    /// another authority.
    pub fn load(dir: &Path) -> Result<Credentials, PkiError> {
        if Bundle::exists(dir) {
            return Bundle::load(dir)?.open(&dir.join(IDENTITY));
        }
        let (ca_path, cert_path, key_path) = (dir.join(CA_CERT), dir.join(HOST_CERT), dir.join(HOST_KEY));
        let ca_pem = store::read(&ca_path)?;
        let ca_der = certificate::der_of(&ca_path, &ca_pem)?;
        let cert_der = certificate::der_of(&cert_path, &store::read(&cert_path)?)?;
        let key = certificate::parse_key(&key_path, &store::read(&key_path)?)?;
        let facts = Facts::of(&cert_der)?;
        if facts.public_key != key.public_key_raw() {
            return Err(PkiError::KeyMismatch { cert: cert_path, key: key_path });
        }
        certificate::check_authority(&facts.name, &cert_der, &ca_der)?;
        let trust = Trust::parse(&ca_pem, "")?;
        Ok(Credentials { ca_der, cert_der, key_der: key.serialize_der(), facts, trust })
    }

    /// The same certificate and key with other trust.
    ///
    /// # Errors
    /// [`PkiError::WrongAuthority`] where the certificate's authority is missing in it.
    pub fn with_trust(self, trust: Trust) -> Result<Credentials, PkiError> {
        let ca_der = trust.authority_of(&self.facts.name, &self.cert_der)?.to_vec();
        Ok(Credentials { ca_der, trust, ..self })
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
