//! A small private certificate authority: it makes the certificates by which agents (and
//! later the vault) know each other, and reads and checks them before they are used, so
//! that a wrong one is named with its cause. This crate must never know the network.
//!
//! Files of a host: `ca.pem`, `host.pem`, `host.key`; of the authority: `ca.pem`, `ca.key`.

mod authority;
mod certificate;
mod credentials;
mod error;
mod store;

pub use authority::{Authority, Issued, Lifetime};
pub use certificate::Facts;
pub use credentials::Credentials;
pub use error::{PkiError, show_time};

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
