//! The registration key's text: everything that a host needs to find the right issuer, to
//! know it, and to be let in. `fsreg1.` and base64 without padding of: role, issuer's role
//! and id, id, secret, the authority's fingerprint, address; then four bytes of a checksum.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use farshore_types::RegistrationId;
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{Fingerprint, Role, random};

/// What the text begins with; the digit is the version of the format.
const PREFIX: &str = "fsreg1.";
/// Bytes of the secret: 160 bits.
const SECRET_LEN: usize = 20;
const CHECKSUM_LEN: usize = 4;
/// Most bytes of an address.
const ADDRESS_MAX: usize = 300;
/// Most bytes of a text that is looked at.
const TEXT_MAX: usize = 1000;
/// Bytes before the address: two roles, two ids, secret, fingerprint.
const FIXED_LEN: usize = 1 + 1 + 16 + 16 + SECRET_LEN + 32;

/// The secret of a registration key. Its text is hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; SECRET_LEN]>);

/// What is given to people, once, to enrol one host or site server.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistrationKey {
    /// What its holder becomes.
    pub role: Role,
    /// Role and id of who is to answer at the address.
    pub issuer: (Role, Uuid),
    /// Where to go, `host:port`.
    pub address: String,
    /// The authority by which the issuer is known.
    pub fingerprint: Fingerprint,
    /// By which the issuer finds its record.
    pub id: RegistrationId,
    /// The secret.
    pub secret: Secret,
}

/// A text that is no registration key.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RegistrationKeyError {
    /// It begins otherwise.
    #[error("this is no registration key: one begins with '{PREFIX}'")]
    Foreign,
    /// It begins as one of a later version.
    #[error("this registration key is of a newer version ('{prefix}'): update Farshore here first")]
    Newer {
        /// How it begins.
        prefix: String,
    },
    /// A part is missing, or something was changed.
    #[error("the registration key was not copied whole, or was changed: copy it again")]
    Damaged,
}

impl Secret {
    pub(super) fn generate() -> Secret {
        Secret(Zeroizing::new(random::bytes()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &*self.0
    }

    /// Its text, to be sent to the issuer and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(random::to_hex(self.bytes()))
    }
}

impl FromStr for Secret {
    type Err = RegistrationKeyError;

    fn from_str(text: &str) -> Result<Secret, RegistrationKeyError> {
        let bytes = random::from_hex(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Secret(Zeroizing::new(bytes))).ok_or(RegistrationKeyError::Damaged)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for RegistrationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RegistrationKey { role, address, id, .. } = self;
        write!(f, "RegistrationKey({id}, for a {role}, at {address})")
    }
}

impl RegistrationKey {
    /// The text to be given to people, without line breaks.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![self.role.number(), self.issuer.0.number()]);
        bytes.extend_from_slice(self.issuer.1.as_bytes());
        bytes.extend_from_slice(self.id.0.as_bytes());
        bytes.extend_from_slice(self.secret.bytes());
        bytes.extend_from_slice(&self.fingerprint.0);
        bytes.extend_from_slice(self.address.as_bytes());
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*bytes)))
    }

    fn decode(bytes: &[u8]) -> Option<RegistrationKey> {
        let (bytes, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>()?;
        if checksum(bytes) != *sum {
            return None;
        }
        let (fixed, address) = bytes.split_first_chunk::<FIXED_LEN>()?;
        let (roles, rest) = fixed.split_first_chunk::<2>()?;
        let (issuer, rest) = rest.split_first_chunk::<16>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (secret, fingerprint) = rest.split_first_chunk::<SECRET_LEN>()?;
        let address = str::from_utf8(address).ok()?;
        Some(RegistrationKey {
            role: Role::of_number(roles[0])?,
            issuer: (Role::of_number(roles[1])?, Uuid::from_bytes(*issuer)),
            address: (1..=ADDRESS_MAX).contains(&address.len()).then(|| address.to_owned())?,
            fingerprint: Fingerprint(fingerprint.try_into().ok()?),
            id: RegistrationId(Uuid::from_bytes(*id)),
            secret: Secret(Zeroizing::new(*secret)),
        })
    }
}

impl FromStr for RegistrationKey {
    type Err = RegistrationKeyError;

    /// White space anywhere is passed over: terminals and mail break long lines.
    fn from_str(text: &str) -> Result<RegistrationKey, RegistrationKeyError> {
        let text: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).take(TEXT_MAX).collect());
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            let newer = text.starts_with("fsreg").then(|| text.split_once('.')).flatten();
            return Err(match newer {
                Some((prefix, _)) => RegistrationKeyError::Newer { prefix: prefix.to_owned() },
                None => RegistrationKeyError::Foreign,
            });
        };
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| RegistrationKeyError::Damaged)?;
        RegistrationKey::decode(&Zeroizing::new(bytes)).ok_or(RegistrationKeyError::Damaged)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, ..] = random::digest_of(&[b"farshore registration key", bytes]);
    [a, b, c, d]
}
