//! Lists of revoked certificates (CRLs): issued by the authority, checked by everybody.
//! A list never stops to hold by age: a site that lost its vault goes on with the last one.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer, revocation_list::CertificateRevocationList,
};

use crate::{Authority, PkiError, Serial, certificate};

/// When a list says that the next one comes. The format wants a date; nobody here acts on
/// it, other tools might.
const NEXT_AFTER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Label of a list in PEM form.
const LABEL: &str = "X509 CRL";

/// One certificate that its authority took back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// When, in seconds since the Unix epoch.
    pub at: i64,
}

impl Authority {
    /// Issues the list of revoked certificates, PEM. `number` must be higher than that of
    /// every list before: holders take no lower one.
    ///
    /// # Errors
    /// [`PkiError::Unissuable`] for a time that no list can carry.
    pub fn revocation_list(
        &self,
        number: u64,
        revoked: &[Revoked],
        now: SystemTime,
    ) -> Result<String, PkiError> {
        let name = || "the list of revoked certificates".to_owned();
        let wrong = |why: String| PkiError::Unissuable { name: name(), why };
        let mut revoked_certs = Vec::with_capacity(revoked.len());
        for entry in revoked {
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(entry.serial.bytes()),
                revocation_time: OffsetDateTime::from_unix_timestamp(entry.at)
                    .map_err(|e| wrong(e.to_string()))?,
                reason_code: None,
                invalidity_date: None,
            });
        }
        let params = CertificateRevocationListParams {
            this_update: OffsetDateTime::from(now),
            next_update: OffsetDateTime::from(now + NEXT_AFTER),
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(self.issuer()).map_err(|e| wrong(e.to_string()))?;
        list.pem().map_err(|e| wrong(e.to_string()))
    }
}

/// A list that was read and whose signature holds.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
    number: u64,
    issuer: Vec<u8>,
    serials: BTreeSet<Serial>,
}

impl RevocationList {
    /// Reads all lists of a PEM text; each must be signed by one of these authorities (DER).
    ///
    /// # Errors
    /// [`PkiError::UnsoundTrust`].
    pub(crate) fn parse_all(pem: &str, authorities: &[Vec<u8>]) -> Result<Vec<RevocationList>, PkiError> {
        let parts = certificate::all_of(LABEL, pem).map_err(unsound)?;
        if parts.is_empty() && !pem.trim().is_empty() {
            return Err(unsound("there is no list of revoked certificates in it".to_owned()));
        }
        parts.into_iter().map(|der| RevocationList::parse(der, authorities)).collect()
    }

    fn parse(der: Vec<u8>, authorities: &[Vec<u8>]) -> Result<RevocationList, PkiError> {
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|e| unsound(e.to_string()))?;
        let signed = authorities.iter().any(|authority| {
            X509Certificate::from_der(authority).is_ok_and(|(_, authority)| {
                authority.subject() == list.issuer() && list.verify_signature(authority.public_key()).is_ok()
            })
        });
        if !signed {
            return Err(unsound("no known authority signed the list of revoked certificates".to_owned()));
        }
        let number = list.crl_number().and_then(|number| u64::try_from(number.clone()).ok());
        let number = number.ok_or_else(|| unsound("the list has no number".to_owned()))?;
        let issuer = list.issuer().as_raw().to_vec();
        let serials = list.iter_revoked_certificates().map(|entry| Serial::of(entry.raw_serial())).collect();
        Ok(RevocationList { number, issuer, serials, der })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its DER form.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it names a certificate of this issuer (the DER form of its name).
    pub(crate) fn names(&self, issuer: &[u8], serial: &Serial) -> bool {
        self.issuer == issuer && self.serials.contains(serial)
    }

    /// The numbers that it names.
    #[must_use]
    pub fn serials(&self) -> &BTreeSet<Serial> {
        &self.serials
    }
}

impl std::fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RevocationList { number, serials, .. } = self;
        write!(f, "RevocationList(number {number}, {} certificates)", serials.len())
    }
}

fn unsound(why: String) -> PkiError {
    PkiError::UnsoundTrust { why }
}
