//! A store's errors in the words of the wire. This module must never decide anything.

use farshore_replica::{CycleRule, ReplicaError};
use farshore_wire::{Failure, FailureCode, Refusal, RefusalCode, limits::TEXT_LEN_MAX};

use crate::AgentError;

/// Told where an error's own text ends with what to do.
const SEE_TEXT: &str = "see the target's log for more";

/// Why a session is refused.
pub(super) fn of(error: &ReplicaError) -> Refusal {
    let code = match error {
        ReplicaError::Locked { .. } => RefusalCode::Locked,
        ReplicaError::OtherMachine { .. } => RefusalCode::WrongMachine,
        ReplicaError::BroughtUp { .. } => RefusalCode::BroughtUp,
        ReplicaError::OlderEpoch { .. } => RefusalCode::OlderEpoch,
        ReplicaError::EpochConflict { .. } => RefusalCode::EpochConflict,
        error if error.is_no_space() => RefusalCode::NoSpace,
        error if is_storage(error) => RefusalCode::Storage,
        _ => RefusalCode::Other,
    };
    tracing::warn!(%error, "session refused");
    Refusal::new(code, text(error), SEE_TEXT)
}

/// Why a session is refused.
pub(super) fn of_agent(error: &AgentError) -> Refusal {
    match error {
        AgentError::Replica(error) => of(error),
        error => Refusal::new(RefusalCode::Other, text(error), SEE_TEXT),
    }
}

/// Why a cycle is dropped.
pub(super) fn failure(error: &ReplicaError) -> Failure {
    let code = match error {
        ReplicaError::Cycle { rule, .. } => match rule {
            CycleRule::Open => FailureCode::NotOpen,
            CycleRule::Base => FailureCode::BaseMismatch,
            CycleRule::Records => FailureCode::BadRecord,
            CycleRule::Size => FailureCode::TooLarge,
            CycleRule::Root => FailureCode::RootMismatch,
        },
        ReplicaError::BroughtUp { .. } => FailureCode::BroughtUp,
        ReplicaError::OlderEpoch { .. } | ReplicaError::EpochConflict { .. } => FailureCode::NotOwner,
        ReplicaError::Patch { .. } => FailureCode::BadPatch,
        error if error.is_no_space() => FailureCode::NoSpace,
        error if is_storage(error) => FailureCode::Storage,
        _ => FailureCode::Other,
    };
    Failure::new(code, text(error), SEE_TEXT)
}

/// Whether it is about what is stored here, and not about who asked for what.
fn is_storage(error: &ReplicaError) -> bool {
    matches!(
        error,
        ReplicaError::Io { .. }
            | ReplicaError::Delta { .. }
            | ReplicaError::Format { .. }
            | ReplicaError::State { .. }
            | ReplicaError::Corrupt { .. }
            | ReplicaError::Uncertain { .. }
            | ReplicaError::Refcounts { .. }
    )
}

/// An error's text, cut to what the wire carries.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let end = (0..=TEXT_LEN_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}
