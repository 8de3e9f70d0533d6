//! What can be wrong with certificates and keys, and what to do about it.

use std::{io, path::PathBuf};

use thiserror::Error;
use time::OffsetDateTime;

/// A certificate or key that cannot be made, read or used.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A file is not there.
    #[error("{path} is missing: have the certificate issued by the authority and put its files there")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {what} {path}")]
    File {
        /// "read" or "write".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file would be overwritten.
    #[error("{path} exists already: an authority is made once; move its files away to make another")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no certificate or key.
    #[error("{path} holds no {what} in PEM form ({why}): copy the file again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// "certificate" or "private key".
        what: &'static str,
        /// What the parser says.
        why: String,
    },
    /// The time of a certificate is over.
    #[error("the certificate of {name} expired on {}: have a new one issued", show_time(*at))]
    Expired {
        /// Whose.
        name: String,
        /// Seconds since the Unix epoch.
        at: i64,
    },
    /// The time of a certificate has not begun.
    #[error("the certificate of {name} is not valid before {}: check the clocks of both hosts", show_time(*at))]
    NotYetValid {
        /// Whose.
        name: String,
        /// Seconds since the Unix epoch.
        at: i64,
    },
    /// Another authority signed the certificate.
    #[error(
        "the certificate of {name} was not signed by the authority '{authority}': both sites must use one authority"
    )]
    WrongAuthority {
        /// Whose certificate.
        name: String,
        /// The authority that was expected.
        authority: String,
    },
    /// Certificate and key are not a pair.
    #[error("{key} is not the key of {cert}: copy both from the same issue")]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate names no host.
    #[error("the certificate names no host: have one issued for a host name")]
    Nameless,
    /// A name or lifetime for which no certificate can be issued.
    #[error("cannot issue a certificate for '{name}': {why}")]
    Unissuable {
        /// Name of the host or authority.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// A time, in seconds since the Unix epoch, as people read it, in UTC.
#[must_use]
pub fn show_time(unix: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix).map_or_else(
        |_| format!("{unix} seconds after 1970"),
        |t| format!("{} {:02}:{:02} UTC", t.date(), t.hour(), t.minute()),
    )
}
