//! What goes wrong on the channel, and what to do about it.

use std::{error::Error, io, time::Duration};

use farshore_control::{enrolment::EnrolmentError, report::Problem};
use farshore_pki::PkiError;
use rustls::{AlertDescription, CertificateError};
use thiserror::Error;

use crate::tls;

/// A call, or a listener, that failed.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// Nobody answers at the address.
    #[error("{peer} cannot be reached")]
    Unreachable {
        /// The address.
        peer: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// One of both does not believe the other.
    #[error("{why}: {advice}")]
    Untrusted {
        /// Who does not believe whom, and why.
        why: String,
        /// What to do.
        advice: String,
    },
    /// The own certificate, key or trust cannot be used.
    #[error(transparent)]
    Own(#[from] PkiError),
    /// The peer answered that it will not.
    #[error("{peer} refuses: {}", problem.what)]
    Refused {
        /// The address.
        peer: String,
        /// HTTP's status.
        status: u16,
        /// The peer's own words.
        problem: Problem,
        /// Each thing that it found, where it says more.
        findings: Box<[serde_json::Value]>,
    },
    /// The peer did not answer in time.
    #[error("{peer} did not answer within {} s", after.as_secs())]
    Timeout {
        /// The address.
        peer: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {peer} broke ({why})")]
    Broken {
        /// The address.
        peer: String,
        /// What is known of it.
        why: String,
    },
    /// The peer's answer is not what was expected.
    #[error("the answer of {peer} is not what was expected ({why})")]
    Malformed {
        /// The address.
        peer: String,
        /// What is wrong.
        why: String,
    },
    /// A question that cannot be sent.
    #[error("the request to {peer} cannot be sent ({why})")]
    Unusable {
        /// The address.
        peer: String,
        /// What is wrong.
        why: String,
    },
    /// Names or addresses of an applicant that cannot be.
    #[error("the request cannot be sent")]
    Unsendable(#[from] EnrolmentError),
    /// A listener's address cannot be used.
    #[error("cannot listen at {address}")]
    Bind {
        /// The address.
        address: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// TLS does not take the own certificate, key or trust.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl ChannelError {
    /// Whether another attempt may go well without anybody doing anything.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        match self {
            ChannelError::Unreachable { .. } | ChannelError::Timeout { .. } | ChannelError::Broken { .. } => {
                true
            }
            ChannelError::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            _ => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        let fixed = match self {
            ChannelError::Untrusted { advice, .. } => advice,
            ChannelError::Refused { problem, .. } => &problem.advice,
            ChannelError::Unreachable { .. } => {
                "check address and port, whether the server runs, and firewalls on the way"
            }
            ChannelError::Timeout { .. } | ChannelError::Broken { .. } => {
                "look at the load there and at the network between"
            }
            ChannelError::Malformed { .. } => {
                "check the address: does a Farshore server answer there? Compare versions"
            }
            ChannelError::Unusable { .. } => "this is a fault of this program: update it, or report it",
            ChannelError::Own(_) | ChannelError::Tls(_) => {
                "look at the files of this host's identity, or enrol anew"
            }
            ChannelError::Unsendable(_) => "correct this host's name and addresses in its configuration",
            ChannelError::Bind { .. } => "choose another address, or stop what uses this one",
        };
        fixed.to_owned()
    }

    /// What to do about it where who asked goes on asking.
    #[must_use]
    pub fn advice_while_tried(&self) -> String {
        match self {
            ChannelError::Refused { .. } => self.advice(),
            _ if self.is_recoverable() => format!("{}; it is tried again by itself", self.advice()),
            _ => self.advice(),
        }
    }

    /// The code of the peer's refusal, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            ChannelError::Refused { problem, .. } => Some(&problem.code),
            _ => None,
        }
    }
}

/// What an error of TLS, hyper or the system means that came up in talking to `peer`.
pub(crate) fn broken(error: &(dyn Error + 'static), peer: &str) -> ChannelError {
    match tls_error(error) {
        Some(tls) => distrust(tls, peer),
        None => ChannelError::Broken { peer: peer.to_owned(), why: innermost(error) },
    }
}

/// The text of the first cause: the others only say that something failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// TLS's error somewhere in a chain of causes.
pub(crate) fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(tls);
        }
        cause = error.source();
    }
    None
}

fn distrust(error: &rustls::Error, peer: &str) -> ChannelError {
    let (why, advice) = match error {
        rustls::Error::InvalidCertificate(error) => theirs(error, peer),
        rustls::Error::AlertReceived(alert) => ours(*alert, peer),
        rustls::Error::InvalidMessage(_) => (
            format!("{peer} does not speak TLS"),
            "check address and port: does a Farshore server listen there?".to_owned(),
        ),
        other => (format!("{peer} cannot be talked to ({other})"), "compare the versions of both".to_owned()),
    };
    ChannelError::Untrusted { why, advice }
}

/// What is wrong with the peer's certificate.
fn theirs(error: &CertificateError, peer: &str) -> (String, String) {
    if let Some(error) = tls::own_error(error) {
        let text = error.to_string();
        let (why, advice) = text.split_once(": ").unwrap_or((&text, "check the address"));
        return (format!("{peer} is not believed: {why}"), advice.to_owned());
    }
    let date = |secs: u64| farshore_pki::show_time(i64::try_from(secs).unwrap_or(i64::MAX));
    let (why, advice) = match error {
        CertificateError::Expired => {
            (format!("the certificate of {peer} expired"), "look why it was not renewed there")
        }
        CertificateError::ExpiredContext { not_after, .. } => (
            format!("the certificate of {peer} expired on {}", date(not_after.as_secs())),
            "look why it was not renewed there, or check this host's clock",
        ),
        CertificateError::NotValidYet => {
            (format!("the certificate of {peer} is not valid yet"), "check the clocks of both hosts")
        }
        CertificateError::NotValidYetContext { not_before, .. } => (
            format!("the certificate of {peer} is not valid before {}", date(not_before.as_secs())),
            "check the clocks of both hosts: this one's is behind, or that one's was ahead",
        ),
        CertificateError::Revoked => {
            (format!("the certificate of {peer} was revoked"), "enrol it anew, if it is still to be used")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            format!("the certificate of {peer} was not signed by this vault's authority"),
            "check the address: does a server of another installation answer there?",
        ),
        other => {
            (format!("the certificate of {peer} is not acceptable ({other})"), "have a new one issued there")
        }
    };
    (why, advice.to_owned())
}

/// What the peer says of this side's certificate.
fn ours(alert: AlertDescription, peer: &str) -> (String, String) {
    let (why, advice) = match alert {
        AlertDescription::CertificateExpired => (
            format!("{peer} says that this host's certificate is not valid at this time"),
            "compare the clocks of both hosts; look why the certificate was not renewed",
        ),
        AlertDescription::CertificateRevoked => (
            format!("{peer} says that this host's certificate was revoked"),
            "if that was a mistake, enrol this host anew with a new registration key",
        ),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => (
            format!("{peer} does not know the authority of this host's certificate"),
            "check the address: is it a server of another installation? Else enrol this host anew",
        ),
        AlertDescription::CertificateRequired => (
            format!("{peer} answers to members with a certificate only"),
            "enrol at the address that the registration key names",
        ),
        AlertDescription::CertificateUnknown => (
            format!("{peer} takes no certificate like this host's"),
            "a certificate made for use without a vault has no role: enrol with a registration key",
        ),
        other => (
            format!("{peer} does not accept this host's certificate ({other:?})"),
            "look into the log of the peer",
        ),
    };
    (why, advice.to_owned())
}
