//! The agent's error: what could not be done, where, and what to do about it. This module
//! must never know how it is shown.

use std::path::PathBuf;

use farshore_channel::ChannelError;
use farshore_hypervisor::{HypervisorError, Problem};
use farshore_link::LinkError;
use farshore_pki::PkiError;
use farshore_replica::ReplicaError;
use farshore_types::PointId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A command or a role of the agent failed. Nothing that was whole before is lost by it.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error("configuration {}: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No such machine.
    #[error("there is no {of} of machine '{wanted}' on this host")]
    UnknownMachine {
        /// "machine" or "replica".
        of: &'static str,
        /// What was asked for.
        wanted: String,
        /// Those that there are.
        known: String,
    },
    /// A replica's store.
    #[error(transparent)]
    Replica(ReplicaError),
    /// The hypervisor.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// A session.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A replication from here.
    #[error(transparent)]
    Capture(#[from] farshore_capture::CaptureError),
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Talking to a site server.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The definition that came with a point.
    #[error("point {point} of machine '{machine}': {why}")]
    Definition {
        /// The machine's name.
        machine: String,
        /// The point.
        point: PointId,
        /// What is wrong with it.
        why: String,
    },
    /// This host cannot run the machine.
    #[error("machine '{machine}' cannot start on this host: {}", list(problems))]
    NotStartable {
        /// The machine's name.
        machine: String,
        /// Everything that is in the way.
        problems: Vec<Problem>,
    },
    /// The host has the machine already, and it is not one that was brought up.
    #[error("this host already has machine '{machine}', and it does not run on the replica here")]
    Foreign {
        /// The machine's name on this host.
        machine: String,
    },
    /// The machine was brought up at another point.
    #[error("machine '{machine}' was brought up here at point {at}, not at {asked}")]
    OtherPoint {
        /// The machine's name.
        machine: String,
        /// Where it is.
        at: PointId,
        /// What was asked for.
        asked: PointId,
    },
    /// The machine may run elsewhere.
    #[error("machine '{machine}' may run elsewhere: {why}")]
    MayRunElsewhere {
        /// The machine's name.
        machine: String,
        /// What its own host says, or that it says nothing.
        why: String,
    },
    /// A file would be overwritten.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Too little space.
    #[error("{} has {free} bytes free, {need} are needed", path.display())]
    NoSpace {
        /// The directory.
        path: PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes there are.
        free: u64,
    },
    /// The system refused a file operation.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another agent works with the same records.
    #[error("another agent runs on {}", dir.display())]
    Running {
        /// Its state directory.
        dir: PathBuf,
    },
    /// A file that somebody has open: it may be free later.
    #[error("{} {why}", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// By whom.
        why: String,
    },
    /// The request cannot be.
    #[error("{what}")]
    Request {
        /// What is wrong with it.
        what: String,
        /// What to ask instead.
        advice: String,
    },
    /// It was asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// The running agent's answer.
    #[error("{}", .0.what)]
    Remote(Fault),
}

/// An error as it is told to people and to other programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What could not be done, where and why.
    pub what: String,
    /// What to do about it; empty where `what` says it.
    pub advice: String,
}

impl From<ReplicaError> for AgentError {
    fn from(error: ReplicaError) -> AgentError {
        match error {
            ReplicaError::Stopped => AgentError::Stopped,
            error => AgentError::Replica(error),
        }
    }
}

impl AgentError {
    /// As it is told.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            AgentError::Remote(fault) => fault.clone(),
            _ => Fault { what: chain(self), advice: self.advice() },
        }
    }

    /// Makes an error of a file operation.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> AgentError {
        let path = path.into();
        move |source| AgentError::Io { what, path, source }
    }

    fn advice(&self) -> String {
        match self {
            AgentError::Config { .. } => {
                "correct it, or name another file with --config; `farshore-agent config sample` prints a sample".into()
            }
            AgentError::UnknownMachine { known, .. } if known.is_empty() => "there are none at all".into(),
            AgentError::UnknownMachine { known, .. } => format!("there are: {known}"),
            AgentError::NotStartable { problems, .. } => {
                problems.iter().map(|p| p.advice.as_str()).collect::<Vec<_>>().join("; ")
            }
            AgentError::Foreign { machine } => {
                format!("if '{machine}' may go, stop and undefine it first; its disks are not touched here")
            }
            AgentError::OtherPoint { .. } => {
                "`discard` ends that first, with all that the machine wrote since; or use --replace".into()
            }
            AgentError::MayRunElsewhere { .. } => {
                "two machines over the same data harm both: stop it there; if you know that it does not run, \
                 repeat with --force"
                    .into()
            }
            AgentError::Exists { .. } => "choose another path, or use --force to replace it".into(),
            AgentError::NoSpace { .. } => "free some space, or choose another directory".into(),
            AgentError::Io { .. } => "check that the path is right and this user may write there".into(),
            AgentError::Running { .. } => {
                "stop it first, or give this one other directories; commands go through its socket".into()
            }
            AgentError::InUse { .. } => {
                "end what uses it; a disk that still changes cannot be adopted".to_owned()
            }
            AgentError::Request { advice, .. } => advice.clone(),
            AgentError::Channel(error) => error.advice(),
            // The lower crates' texts end with what to do.
            _ => String::new(),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| p.what.as_str()).collect::<Vec<_>>().join("; ")
}

/// An error with its causes. Some texts tell their cause themselves; it is not told twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
