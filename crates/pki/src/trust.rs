//! Whom to believe: the authorities and what they revoked, as one value that judges a
//! peer's certificate. It only moves forward: an older list is never taken.

use std::{collections::BTreeSet, time::SystemTime};

use x509_parser::prelude::*;

use crate::{Facts, Fingerprint, Identity, PkiError, RevocationList, Serial, certificate};

/// Most authorities at one time: one, and another while they change.
const AUTHORITIES_MAX: usize = 4;

/// Authorities and their lists of revoked certificates.
#[derive(Clone, PartialEq, Eq)]
pub struct Trust {
    authorities: Vec<Vec<u8>>,
    lists: Vec<RevocationList>,
}

impl Trust {
    /// Reads the authorities' certificates and their lists, both PEM. No list at all means
    /// that nothing was revoked yet.
    ///
    /// # Errors
    /// [`PkiError::UnsoundTrust`]: malformed, no authority, too many, a list that none of
    /// them signed.
    pub fn parse(authority_pem: &str, revoked_pem: &str) -> Result<Trust, PkiError> {
        let unsound = |why: String| PkiError::UnsoundTrust { why };
        let authorities = certificate::all_of("CERTIFICATE", authority_pem).map_err(unsound)?;
        let trust = Trust::of_der(authorities)?;
        let lists = RevocationList::parse_all(revoked_pem, &trust.authorities)?;
        Ok(Trust { lists, ..trust })
    }

    /// Trust in these authorities (DER), of which nothing was revoked yet.
    ///
    /// # Errors
    /// [`PkiError::UnsoundTrust`]: none, too many, or not authorities'.
    pub fn of_der(authorities: Vec<Vec<u8>>) -> Result<Trust, PkiError> {
        let unsound = |why: String| PkiError::UnsoundTrust { why };
        if authorities.is_empty() || authorities.len() > AUTHORITIES_MAX {
            let count = authorities.len();
            return Err(unsound(format!("it has {count} authorities; 1 to {AUTHORITIES_MAX} are possible")));
        }
        if !authorities.iter().all(|der| certificate::is_authority(der)) {
            return Err(unsound("one of its certificates is not an authority's".to_owned()));
        }
        Ok(Trust { authorities, lists: Vec::new() })
    }

    /// The authorities' certificates, DER.
    #[must_use]
    pub fn authorities(&self) -> &[Vec<u8>] {
        &self.authorities
    }

    /// Their lists of revoked certificates.
    #[must_use]
    pub fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// Highest number of a list; 0 before the first.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.lists.iter().map(RevocationList::number).max().unwrap_or(0)
    }

    /// Whether an authority of this fingerprint is among them.
    #[must_use]
    pub fn has(&self, fingerprint: &Fingerprint) -> bool {
        self.authorities.iter().any(|der| Fingerprint::of(der) == *fingerprint)
    }

    /// Whether `newer` may take the place of `self`.
    ///
    /// # Errors
    /// [`PkiError::OlderList`] where its number is lower, or the same with less revoked.
    pub fn check_successor(&self, newer: &Trust) -> Result<(), PkiError> {
        let (held, given) = (self.number(), newer.number());
        if given < held || (given == held && !newer.revoked().is_superset(&self.revoked())) {
            return Err(PkiError::OlderList { held, given });
        }
        Ok(())
    }

    /// Judges a certificate (DER): signed by one of the authorities, within its dates, not
    /// revoked; and says whose it is.
    ///
    /// # Errors
    /// What of this does not hold.
    pub fn judge(&self, cert_der: &[u8], now: SystemTime) -> Result<Facts, PkiError> {
        let facts = Facts::of(cert_der)?;
        self.authority_of(&facts.name, cert_der)?;
        self.check_revoked(&facts, cert_der)?;
        facts.check_time(now)?;
        Ok(facts)
    }

    /// As [`Trust::judge`], for a peer that must have a role.
    ///
    /// # Errors
    /// As there, and [`PkiError::NoRole`].
    pub fn judge_member(&self, cert_der: &[u8], now: SystemTime) -> Result<Identity, PkiError> {
        self.judge(cert_der, now)?.identity().cloned()
    }

    /// The certificate (DER) of the authority that signed this one.
    pub(crate) fn authority_of(&self, name: &str, cert_der: &[u8]) -> Result<&[u8], PkiError> {
        let mut last = PkiError::Nameless;
        for authority in &self.authorities {
            match certificate::check_authority(name, cert_der, authority) {
                Ok(()) => return Ok(authority),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn check_revoked(&self, facts: &Facts, cert_der: &[u8]) -> Result<(), PkiError> {
        let (_, cert) = X509Certificate::from_der(cert_der).map_err(|_| PkiError::Nameless)?;
        let issuer = cert.issuer().as_raw();
        if self.lists.iter().any(|list| list.names(issuer, &facts.serial)) {
            return Err(PkiError::Revoked { name: facts.name.clone() });
        }
        Ok(())
    }

    fn revoked(&self) -> BTreeSet<&Serial> {
        self.lists.iter().flat_map(RevocationList::serials).collect()
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trust({} authorities, lists {:?})", self.authorities.len(), self.lists)
    }
}
