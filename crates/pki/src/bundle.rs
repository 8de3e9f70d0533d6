//! Everything by which a member is known and knows others, in one file, so that a kill or a
//! full disk never leaves a key without its certificate, or either without its trust.
//!
//! `identity.pem`, mode 0600: private key, own certificate, authorities, lists of revoked
//! certificates. Where it exists it counts, and `host.pem` with its companions does not.

use std::{fs, path::Path, time::SystemTime};

use rcgen::KeyPair;

use crate::{Credentials, Facts, PkiError, Trust, certificate, store};

/// The file, in a member's identity directory.
pub const IDENTITY: &str = "identity.pem";

/// A member's key, certificate and trust, all PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The private key; a secret.
    pub key_pem: String,
    /// The own certificate.
    pub cert_pem: String,
    /// The authorities' certificates.
    pub authority_pem: String,
    /// Their lists of revoked certificates; may be empty.
    pub revoked_pem: String,
}

impl Bundle {
    /// Whether a directory has one.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        fs::symlink_metadata(dir.join(IDENTITY)).is_ok()
    }

    /// Checks that its parts belong together and writes the file, all or nothing.
    ///
    /// # Errors
    /// Parts that do not belong together; a file that cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), PkiError> {
        let path = dir.join(IDENTITY);
        self.open(&path)?;
        let parts = [&self.key_pem, &self.cert_pem, &self.authority_pem, &self.revoked_pem];
        let lines = parts.iter().flat_map(|part| part.lines()).filter(|line| !line.trim().is_empty());
        store::write_secret(&path, &lines.fold(String::new(), |text, line| text + line + "\n"))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Missing, unreadable, malformed.
    pub fn load(dir: &Path) -> Result<Bundle, PkiError> {
        let path = dir.join(IDENTITY);
        let mut bundle = Bundle {
            key_pem: String::new(),
            cert_pem: String::new(),
            authority_pem: String::new(),
            revoked_pem: String::new(),
        };
        for part in parts_of(&store::read(&path)?) {
            let place = match () {
                () if part.contains("PRIVATE KEY-") => &mut bundle.key_pem,
                () if part.contains(" CRL-") => &mut bundle.revoked_pem,
                () if bundle.cert_pem.is_empty() => &mut bundle.cert_pem,
                () => &mut bundle.authority_pem,
            };
            place.push_str(&part);
        }
        Ok(bundle)
    }

    /// As what a connection needs, checked; `path` is for errors.
    ///
    /// # Errors
    /// Malformed; key of another certificate; certificate of another authority.
    pub fn open(&self, path: &Path) -> Result<Credentials, PkiError> {
        let cert_der = certificate::der_of(path, &self.cert_pem)?;
        let key: KeyPair = certificate::parse_key(path, &self.key_pem)?;
        let facts = Facts::of(&cert_der)?;
        if facts.public_key != key.public_key_raw() {
            return Err(PkiError::KeyMismatch { cert: path.to_owned(), key: path.to_owned() });
        }
        let trust = Trust::parse(&self.authority_pem, &self.revoked_pem)?;
        let ca_der = trust.authority_of(&facts.name, &cert_der)?.to_vec();
        Ok(Credentials { ca_der, cert_der, key_der: key.serialize_der(), facts, trust })
    }

    /// Checks that the parts belong together and hold at a time.
    ///
    /// # Errors
    /// As [`Bundle::open`]; expired, not valid yet, revoked.
    pub fn check(&self, now: SystemTime) -> Result<Credentials, PkiError> {
        let credentials = self.open(Path::new(IDENTITY))?;
        credentials.trust.judge(&credentials.cert_der, now)?;
        Ok(credentials)
    }
}

/// The text from each `BEGIN` line to its `END` line.
fn parts_of(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    for line in text.lines() {
        part.push_str(line);
        part.push('\n');
        if line.starts_with("-----END ") {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}
