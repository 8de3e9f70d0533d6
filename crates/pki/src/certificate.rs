//! What a certificate says, and whether it may be believed.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rcgen::KeyPair;
use x509_parser::prelude::*;

use crate::{Identity, PkiError, Serial, error::show_time};

/// What a certificate says of its holder.
#[derive(Clone, Debug)]
pub struct Facts {
    /// First DNS name of the subject's alternative names, else the common name.
    pub name: String,
    /// Role and id; none in a certificate that only names a host.
    pub identity: Option<Identity>,
    /// The authority's number for it.
    pub serial: Serial,
    /// Seconds since the Unix epoch.
    pub not_before: i64,
    /// Seconds since the Unix epoch.
    pub not_after: i64,
    pub(crate) public_key: Vec<u8>,
}

impl Facts {
    /// Reads a certificate in DER form.
    ///
    /// # Errors
    /// [`PkiError::Nameless`] where it names no host or is no certificate at all.
    pub fn of(der: &[u8]) -> Result<Facts, PkiError> {
        let (_, cert) = X509Certificate::from_der(der).map_err(|_| PkiError::Nameless)?;
        facts(&cert).ok_or(PkiError::Nameless)
    }

    /// Role and id.
    ///
    /// # Errors
    /// [`PkiError::NoRole`] in a certificate that only names a host.
    pub fn identity(&self) -> Result<&Identity, PkiError> {
        self.identity.as_ref().ok_or_else(|| PkiError::NoRole { name: self.name.clone() })
    }

    /// Checks that the certificate holds at a time.
    ///
    /// # Errors
    /// [`PkiError::Expired`] or [`PkiError::NotYetValid`].
    pub fn check_time(&self, now: SystemTime) -> Result<(), PkiError> {
        let now = unix(now);
        if now > self.not_after {
            return Err(PkiError::Expired { name: self.name.clone(), at: self.not_after });
        }
        if now < self.not_before {
            return Err(PkiError::NotYetValid { name: self.name.clone(), at: self.not_before });
        }
        Ok(())
    }
}

/// Checks that the authority's key signed the certificate.
pub(crate) fn check_authority(name: &str, der: &[u8], ca_der: &[u8]) -> Result<(), PkiError> {
    let parse = |der| X509Certificate::from_der(der).map(|(_, cert)| cert).map_err(|_| PkiError::Nameless);
    let (cert, ca) = (parse(der)?, parse(ca_der)?);
    if cert.issuer() == ca.subject() && cert.verify_signature(Some(ca.public_key())).is_ok() {
        return Ok(());
    }
    let authority = facts(&ca).map_or_else(|| "unknown".to_owned(), |f| f.name);
    Err(PkiError::WrongAuthority { name: name.to_owned(), authority })
}

/// The facts of a certificate read from a PEM file.
pub(crate) fn parse_file(path: &Path, pem: &str) -> Result<Facts, PkiError> {
    Facts::of(&der_of(path, pem)?)
}

/// The DER forms of all parts of a PEM text that have this label.
///
/// # Errors
/// What the parser says.
pub(crate) fn all_of(label: &str, pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    for part in Pem::iter_from_buffer(pem.as_bytes()) {
        let part = part.map_err(|e| e.to_string())?;
        found.extend((part.label == label).then_some(part.contents));
    }
    Ok(found)
}

/// The DER form of the first certificate of a PEM file.
pub(crate) fn der_of(path: &Path, pem: &str) -> Result<Vec<u8>, PkiError> {
    let malformed = |why: String| PkiError::Malformed { path: path.to_owned(), what: "certificate", why };
    let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|e| malformed(e.to_string()))?;
    if pem.label != "CERTIFICATE" {
        return Err(malformed(format!("it holds a {}", pem.label)));
    }
    X509Certificate::from_der(&pem.contents).map_err(|e| malformed(e.to_string()))?;
    Ok(pem.contents)
}

pub(crate) fn parse_key(path: &Path, pem: &str) -> Result<KeyPair, PkiError> {
    KeyPair::from_pem(pem).map_err(|e| PkiError::Malformed {
        path: path.to_owned(),
        what: "private key",
        why: e.to_string(),
    })
}

/// Whether a certificate is an authority's.
pub(crate) fn is_authority(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, cert)| cert.is_ca())
}

fn facts(cert: &X509Certificate<'_>) -> Option<Facts> {
    let names = cert.subject_alternative_name().ok().flatten();
    let names = || names.iter().flat_map(|names| &names.value.general_names);
    let alternative = names().find_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    let member = names().find_map(|name| match name {
        GeneralName::URI(uri) => Identity::parse_uri(uri),
        _ => None,
    });
    let common = || cert.subject().iter_common_name().find_map(|n| n.as_str().ok()).map(str::to_owned);
    let validity = cert.validity();
    let name = alternative.or_else(common)?;
    Some(Facts {
        identity: member.map(|(role, id)| Identity { role, id, name: name.clone() }),
        name,
        serial: Serial::of(cert.raw_serial()),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        public_key: cert.public_key().subject_public_key.data.to_vec(),
    })
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, valid from {} to {}", self.name, show_time(self.not_before), show_time(self.not_after))
    }
}

pub(crate) fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
