//! Why a session could not be had or kept, sorted by what the owner can do about it.

use std::{io, time::Duration};

use farshore_kerberos::KerberosError;
use farshore_pki::PkiError;
use farshore_wire::{Failure, FailureCode, Misuse, Refusal, RefusalCode, Violation};
use thiserror::Error;

/// A session's error. [`LinkError::is_recoverable`] tells whether trying again may help.
#[derive(Debug, Error)]
pub enum LinkError {
    /// This host's own certificate or key.
    #[error("this host cannot identify itself")]
    Identity(#[from] PkiError),
    /// TLS would not take certificates that were read well.
    #[error("the certificates cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// No TCP connection.
    #[error("cannot connect to {peer}: {advice}")]
    Connect {
        /// Address and name.
        peer: String,
        /// What to do.
        advice: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The peers do not accept each other.
    #[error("no trusted connection with {peer}: {why}; {advice}")]
    Untrusted {
        /// Address and name.
        peer: String,
        /// Whose certificate, and what is wrong with it.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// The peers do not know each other by Kerberos.
    #[error("no trusted connection with {peer} by Kerberos: {cause}; {}", cause.advice())]
    Kerberos {
        /// Address and name.
        peer: String,
        /// Why.
        cause: KerberosError,
    },
    /// The target takes no Kerberos.
    #[error(
        "{peer} does not take Kerberos: set [kerberos] in its configuration, or let the policy choose certificates"
    )]
    NoKerberos {
        /// Address and name.
        peer: String,
    },
    /// The target will not have the session.
    #[error("{peer} refused the session: {refusal}")]
    Refused {
        /// Address and name.
        peer: String,
        /// Its reason.
        refusal: Refusal,
    },
    /// The open cycle is over without being sealed; the session lives.
    #[error("the cycle is over: {0}")]
    Cycle(CycleOver),
    /// The connection was cut and could not be healed in the time given.
    #[error("connection with {peer} lost ({why}) and not healed within {} s: check network and target", tried.as_secs())]
    Cut {
        /// Address and name.
        peer: String,
        /// The last thing that went wrong.
        why: String,
        /// The time given.
        tried: Duration,
    },
    /// The target broke the protocol.
    #[error("{peer} broke the protocol")]
    Violation {
        /// Address and name.
        peer: String,
        /// How.
        #[source]
        source: Violation,
    },
    /// The owner asked for what the session's state does not allow.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// The session had ended before.
    #[error("the session with {peer} is over: {why}")]
    Ended {
        /// Address and name.
        peer: String,
        /// What had ended it.
        why: String,
        /// As [`LinkError::is_recoverable`] of that.
        recoverable: bool,
    },
}

/// How a cycle ended other than sealed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CycleOver {
    /// The target dropped it.
    #[error("the target dropped cycle {cycle}: {failure}")]
    Failed {
        /// Its number.
        cycle: u64,
        /// Why.
        failure: Failure,
    },
    /// It did not survive a cut: the target had lost it.
    #[error("the target lost cycle {cycle} in a restart: run it again")]
    Lost {
        /// Its number.
        cycle: u64,
    },
}

impl LinkError {
    /// Whether the same thing tried again later, with nothing changed by a person, may
    /// succeed.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        match self {
            LinkError::Connect { .. } | LinkError::Cut { .. } => true,
            LinkError::Cycle(CycleOver::Lost { .. }) => true,
            LinkError::Cycle(CycleOver::Failed { failure, .. }) => {
                !matches!(failure.code, FailureCode::BadRecord | FailureCode::RootMismatch)
            }
            LinkError::Refused { refusal, .. } => refusal_heals(refusal.code),
            LinkError::Kerberos { cause, .. } => cause.is_recoverable(),
            LinkError::Ended { recoverable, .. } => *recoverable,
            LinkError::Identity(_)
            | LinkError::Tls(_)
            | LinkError::Untrusted { .. }
            | LinkError::NoKerberos { .. }
            | LinkError::Violation { .. }
            | LinkError::Misuse(_) => false,
        }
    }
}

/// Whether a refusal passes by itself.
pub(crate) fn refusal_heals(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::Busy
            | RefusalCode::Locked
            | RefusalCode::NoSpace
            | RefusalCode::Superseded
            | RefusalCode::Storage
            | RefusalCode::Other
    )
}
