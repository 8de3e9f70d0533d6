//! From libvirt's words to ours. Which of its codes and texts mean what was found out by
//! provoking each; the tests provoke them again. This module must never see a connection.

use virt::error::{Error, ErrorNumber};

use crate::{HypervisorError, Kind, definition::DefinitionError};

/// Why a call failed, before it is known of which operation it was part.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) detail: String,
    pub(super) advice: Option<&'static str>,
}

/// Result of a call.
pub(super) type Call<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Fault {
        Fault { kind, detail: detail.into(), advice: None }
    }

    pub(super) fn advise(mut self, advice: &'static str) -> Fault {
        self.advice = Some(advice);
        self
    }

    /// The whole error, now that the operation is known.
    pub(super) fn during(self, operation: &'static str) -> HypervisorError {
        let error = HypervisorError::new(operation, self.kind, self.detail);
        match self.advice {
            Some(advice) => error.advise(advice),
            None => error,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        tracing::debug!(code = ?error.code(), text = error.message(), "libvirt refused");
        Fault::new(kind(error.code(), error.message()), error.message())
    }
}

impl From<DefinitionError> for Fault {
    fn from(error: DefinitionError) -> Fault {
        Fault::new(Kind::Invalid, error.to_string())
    }
}

/// What a code and a text mean. Texts decide first: libvirt hands on QEMU's refusals as
/// "internal error", and a full lock as "timeout".
fn kind(code: ErrorNumber, text: &str) -> Kind {
    TEXTS.iter().find(|(part, _)| text.contains(part)).map_or_else(|| kind_of_code(code), |(_, kind)| *kind)
}

/// Parts of messages, the more telling first.
const TEXTS: &[(&str, Kind)] = &[
    ("QEMU guest agent is not", Kind::NoAgent),
    ("agent is in frozen state", Kind::Busy),
    ("has been disabled", Kind::Unsupported),
    ("Failed to acquire pid file", Kind::Busy),
    ("cannot acquire state change lock", Kind::Busy),
    ("another job is active", Kind::Busy),
    ("another block job", Kind::Busy),
    ("has a blockjob assigned", Kind::Busy),
    ("already in active block job", Kind::Busy),
    ("there's already a backup job running", Kind::Busy),
    ("is being used", Kind::Busy),
    ("missing or broken bitmap", Kind::BitmapBroken),
    ("inconsistent", Kind::BitmapBroken),
    ("Bitmap already exists", Kind::AlreadyExists),
    ("already exists", Kind::AlreadyExists),
    ("Permission denied", Kind::Denied),
    ("domain is not running", Kind::NotRunning),
    // QEMU ended this moment, and libvirt has not yet taken note.
    ("Unable to write to monitor", Kind::NotRunning),
    ("End of file from qemu monitor", Kind::NotRunning),
    ("monitor unexpectedly closed", Kind::NotRunning),
    ("inactive domain", Kind::NotRunning),
    ("domain is already running", Kind::AlreadyRunning),
    ("Cannot undefine", Kind::AlreadyRunning),
    ("bitmap", Kind::BitmapBroken),
];

fn kind_of_code(code: ErrorNumber) -> Kind {
    match code {
        ErrorNumber::NoDomain => Kind::NoSuchMachine,
        ErrorNumber::NoDomainCheckpoint => Kind::NoSuchCheckpoint,
        ErrorNumber::CheckpointInconsistent => Kind::BitmapBroken,
        ErrorNumber::DomExist => Kind::AlreadyExists,
        ErrorNumber::OperationTimeout | ErrorNumber::AgentUnresponsive | ErrorNumber::AgentCommandTimeout => {
            Kind::Timeout
        }
        ErrorNumber::OperationDenied
        | ErrorNumber::AuthFailed
        | ErrorNumber::AuthCancelled
        | ErrorNumber::AuthUnavailable
        | ErrorNumber::AccessDenied => Kind::Denied,
        ErrorNumber::ResourceBusy | ErrorNumber::BlockCopyActive => Kind::Busy,
        ErrorNumber::NoConnect | ErrorNumber::InvalidConn | ErrorNumber::Rpc => Kind::Connection,
        ErrorNumber::NoSupport
        | ErrorNumber::ConfigUnsupported
        | ErrorNumber::OperationUnsupported
        | ErrorNumber::ArgumentUnsupported
        | ErrorNumber::CpuIncompatible => Kind::Unsupported,
        ErrorNumber::XmlError
        | ErrorNumber::XmlDetail
        | ErrorNumber::XmlInvalidSchema
        | ErrorNumber::InvalidArg
        | ErrorNumber::InvalidMac => Kind::Invalid,
        _ => Kind::Other,
    }
}
