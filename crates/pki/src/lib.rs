//! A small private certificate authority: it makes the certificates by which vault, site
//! servers and agents know each other, and reads and checks them before they are used, so
//! that a wrong one is named with its cause. This crate must never know the network.
//!
//! Without a vault an authority is a directory (`ca.pem`, `ca.key`), and a host has
//! `ca.pem`, `host.pem`, `host.key`. With one, the authority's key is kept sealed
//! ([`Authority::seal`]), members are let in by [`RegistrationKey`]s, and each has
//! everything in one file ([`Bundle`]).

mod authority;
mod bundle;
mod certificate;
mod credentials;
mod error;
mod fingerprint;
mod lifetime;
mod random;
mod recovery;
mod registration;
mod request;
mod revocation;
mod role;
mod sealed;
mod serial;
mod store;
mod trust;

pub use authority::{Authority, Issued, Signed};
pub use bundle::{Bundle, IDENTITY};
pub use certificate::Facts;
pub use credentials::Credentials;
pub use error::{PkiError, show_time};
pub use fingerprint::Fingerprint;
pub use lifetime::{ALONE_MIN, Lifetime, MEMBER_LIFETIME, Renewal};
pub use recovery::{RecoveryKey, RecoveryKeyError};
pub use registration::{
    Admission, Claim, REGISTRATION_LIFETIME, Registration, RegistrationError, RegistrationKey,
    RegistrationKeyError, Secret, Use,
};
pub use request::{Applicant, KeyRequest, REQUEST_BYTES_MAX};
pub use revocation::{RevocationList, Revoked};
pub use role::{Identity, Role};
pub use sealed::{SealingKey, UnlockKey};
pub use serial::Serial;
pub use store::{read, write_secret};
pub use trust::Trust;

/// The authority's certificate, at the authority and at every host.
pub const CA_CERT: &str = "ca.pem";
/// The authority's private key; only at the authority, mode 0600.
pub const CA_KEY: &str = "ca.key";
/// A host's certificate.
pub const HOST_CERT: &str = "host.pem";
/// A host's private key, mode 0600.
pub const HOST_KEY: &str = "host.key";

#[cfg(test)]
mod tests;
