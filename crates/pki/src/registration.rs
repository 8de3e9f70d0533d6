//! Registration keys: single-use secrets by which a host or a site server that has nothing
//! yet is let in. The key itself is shown once; its issuer keeps a [`Registration`], with a
//! digest of the secret only. This module must never know how either travels.

mod key;

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use farshore_types::RegistrationId;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::{Fingerprint, Identity, Role, random, show_time};

pub use key::{RegistrationKey, RegistrationKeyError, Secret};

/// How long a registration key can be used unless its maker says otherwise.
pub const REGISTRATION_LIFETIME: Duration = Duration::from_secs(5 * 24 * 3600);
/// Clocks of issuers differ: a key made this far in the future is still taken.
const CLOCK_TOLERANCE_MS: u64 = 10 * 60 * 1000;
/// For so long after its use the same holder, by the same public key, gets its answer once
/// more: the first answer may have been lost on its way.
const AGAIN_MS: u64 = 24 * 3600 * 1000;
/// Milliseconds after its end for which it is told what became of a key: a month.
const TOLD_MS: u64 = 30 * 24 * 3600 * 1000;

/// What the issuer keeps of a registration key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// By which it is found.
    pub id: RegistrationId,
    /// What its holder becomes.
    pub role: Role,
    /// Digest of the secret, hexadecimal.
    pub secret_digest: String,
    /// Milliseconds since the Unix epoch when it was made.
    pub made_ms: u64,
    /// Milliseconds since the Unix epoch until which it can be used.
    pub expires_ms: u64,
    /// Who used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Use>,
    /// Whether it was withdrawn, or its holder revoked.
    #[serde(default)]
    pub withdrawn: bool,
}

/// How a registration key was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The id that its holder was given.
    pub id: Uuid,
    /// The holder's name.
    pub name: String,
    /// Digest of the holder's public key, as [`crate::Applicant::key_digest`] gives it.
    pub key_digest: String,
}

/// Someone who asks to be let in.
#[derive(Debug)]
pub struct Claim<'a> {
    /// As what.
    pub role: Role,
    /// The secret of the key.
    pub secret: &'a Secret,
    /// Digest of the public key to be certified.
    pub key_digest: &'a str,
}

/// Whether a claim is the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is: give an id, and keep that with [`Registration::mark_used`] before answering.
    First,
    /// The same holder asks again: give the same id.
    Again(Use),
}

/// Why a registration key is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum RegistrationError {
    /// The issuer has none of this id.
    #[error(
        "no such registration key is known here: it was made by another vault, or deleted; make a new one"
    )]
    Unknown,
    /// The id is right, the secret is not.
    #[error("the registration key's secret is wrong: copy the key again, whole, or make a new one")]
    WrongSecret,
    /// The key is for something else.
    #[error("the registration key is for a {wanted}, and this is a {found}: make one of the right kind")]
    WrongRole {
        /// For which.
        wanted: String,
        /// Who came.
        found: String,
    },
    /// Its time is over.
    #[error("the registration key expired on {}: make a new one", show_time(*at))]
    Expired {
        /// Seconds since the Unix epoch.
        at: i64,
    },
    /// By the issuer's clock it was not made yet.
    #[error("the registration key is not valid before {}: the issuer's clock went back; set it", show_time(*at))]
    NotYetValid {
        /// Seconds since the Unix epoch.
        at: i64,
    },
    /// Somebody used it.
    #[error(
        "the registration key was used by '{by}' on {}: a key enrols once; make a new one, and look into it if '{by}' is not yours",
        show_time(*at)
    )]
    Used {
        /// The name under which it was used.
        by: String,
        /// Seconds since the Unix epoch.
        at: i64,
    },
    /// It was withdrawn.
    #[error("the registration key was withdrawn: make a new one")]
    Withdrawn,
}

impl Registration {
    /// A new key for one member of this role, to be used at `address` (`host:port`) of
    /// `issuer`, whose authority has this fingerprint.
    #[must_use]
    pub fn make(
        role: Role,
        issuer: &Identity,
        address: &str,
        fingerprint: Fingerprint,
        now_ms: u64,
        valid: Duration,
    ) -> (RegistrationKey, Registration) {
        let id = RegistrationId(Uuid::from_bytes(random::bytes()));
        let key = RegistrationKey {
            role,
            issuer: (issuer.role, issuer.id),
            address: address.to_owned(),
            fingerprint,
            id,
            secret: Secret::generate(),
        };
        let valid_ms = u64::try_from(valid.as_millis()).unwrap_or(u64::MAX);
        let registration = Registration {
            id,
            role,
            secret_digest: digest_of(id, &key.secret),
            made_ms: now_ms,
            expires_ms: now_ms.saturating_add(valid_ms),
            used: None,
            withdrawn: false,
        };
        (key, registration)
    }

    /// Whether a claim is admitted now. Who does not know the secret learns nothing else.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, claim: &Claim<'_>, now_ms: u64) -> Result<Admission, RegistrationError> {
        let given = digest_of(self.id, claim.secret);
        if verify_slices_are_equal(given.as_bytes(), self.secret_digest.as_bytes()).is_err() {
            return Err(RegistrationError::WrongSecret);
        }
        if self.withdrawn {
            return Err(RegistrationError::Withdrawn);
        }
        if claim.role != self.role {
            let (wanted, found) = (self.role.to_string(), claim.role.to_string());
            return Err(RegistrationError::WrongRole { wanted, found });
        }
        match &self.used {
            Some(used) => self.admit_again(used, claim, now_ms),
            None if now_ms > self.expires_ms => {
                Err(RegistrationError::Expired { at: seconds(self.expires_ms) })
            }
            None if now_ms.saturating_add(CLOCK_TOLERANCE_MS) < self.made_ms => {
                Err(RegistrationError::NotYetValid { at: seconds(self.made_ms) })
            }
            None => Ok(Admission::First),
        }
    }

    fn admit_again(
        &self,
        used: &Use,
        claim: &Claim<'_>,
        now_ms: u64,
    ) -> Result<Admission, RegistrationError> {
        let same = used.key_digest == claim.key_digest;
        if same && now_ms <= used.at_ms.saturating_add(AGAIN_MS) {
            return Ok(Admission::Again(used.clone()));
        }
        Err(RegistrationError::Used { by: used.name.clone(), at: seconds(used.at_ms) })
    }

    /// Whether nobody can use it, for so long that nobody asks why any more: it may be
    /// forgotten, and is not known then.
    #[must_use]
    pub fn is_over(&self, now_ms: u64) -> bool {
        let used = self.used.as_ref().map_or(0, |used| used.at_ms.saturating_add(AGAIN_MS));
        now_ms > used.max(self.expires_ms).saturating_add(TOLD_MS)
    }

    /// Notes who used it; to be durable before the answer goes out.
    pub fn mark_used(&mut self, by: Use) {
        self.used = Some(by);
    }
}

/// With the id, so that digests of equal secrets differ.
fn digest_of(id: RegistrationId, secret: &Secret) -> String {
    random::to_hex(&random::digest_of(&[b"farshore registration", id.0.as_bytes(), secret.bytes()]))
}

fn seconds(ms: u64) -> i64 {
    i64::try_from(ms / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
