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
    /// The certificate names a host, but not what it is.
    #[error(
        "the certificate of {name} has no role: it was issued for use without a vault; enrol {name} with a registration key"
    )]
    NoRole {
        /// Whose.
        name: String,
    },
    /// The holder is something else than what is needed here.
    #[error("{found} showed its certificate where {wanted} is expected: check the address")]
    WrongRole {
        /// Who it is.
        found: String,
        /// What is expected.
        wanted: String,
    },
    /// The authority is not the one that a registration key names.
    #[error(
        "the authority found there has the fingerprint {found}, not {expected} as the registration key says: it is another installation, or somebody stands in between; compare the fingerprint with what the issuer shows"
    )]
    WrongFingerprint {
        /// What the key says.
        expected: String,
        /// What was shown.
        found: String,
    },
    /// The authority took the certificate back.
    #[error("the certificate of {name} was revoked: if that was a mistake, enrol {name} anew")]
    Revoked {
        /// Whose.
        name: String,
    },
    /// A request for a certificate cannot be used.
    #[error("the request for a certificate is not sound ({why}): make it anew")]
    UnsoundRequest {
        /// What is wrong.
        why: String,
    },
    /// Authorities or a list of revoked certificates cannot be used.
    #[error("what was given as trust is not sound ({why}): have it sent again")]
    UnsoundTrust {
        /// What is wrong.
        why: String,
    },
    /// A list of revoked certificates from before the one that is held.
    #[error(
        "the list of revoked certificates number {given} is not taken: number {held} is held, and the number only rises"
    )]
    OlderList {
        /// Number of the list that is held.
        held: u64,
        /// Number of the one that was given.
        given: u64,
    },
    /// A sealed key cannot be read.
    #[error("the sealed key of the authority is damaged ({why}): take it from another copy")]
    UnsoundSeal {
        /// What is wrong.
        why: String,
    },
    /// A sealed key does not open.
    #[error(
        "the key does not open the sealed key of the authority '{authority}': it is of another vault, or the sealed key was changed"
    )]
    WrongSealingKey {
        /// Name of the authority.
        authority: String,
    },
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
