//! What keeps a program from doing what it is asked, with what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why a program, or a command of it, cannot go on.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// A file operation.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A configuration that says what cannot be.
    #[error("{file}: {why}")]
    Settings {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// A configuration file that is no TOML.
    #[error(transparent)]
    Config(#[from] farshore_config::ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] farshore_store::StoreError),
    /// Rows that are no vault's.
    #[error(transparent)]
    Load(#[from] farshore_vault::LoadError),
    /// Certificates and keys.
    #[error(transparent)]
    Pki(#[from] farshore_pki::PkiError),
    /// The network.
    #[error("{0}; {advice}", advice = .0.advice())]
    Channel(#[from] farshore_channel::ChannelError),
    /// What the vault answers instead of doing it.
    #[error("{what}; {advice}")]
    Refused {
        /// A short fixed word for programs.
        code: String,
        /// What and where.
        what: String,
        /// What to do.
        advice: String,
        /// Everything that was found, where there is more than one thing.
        findings: Vec<farshore_vault::Finding>,
    },
    /// What the vault says.
    #[error(transparent)]
    Problem(#[from] farshore_vault::Problem),
    /// There is a vault already.
    #[error("there is a vault in {place} already; start it with `{start}`")]
    Exists {
        /// Where.
        place: String,
        /// The command.
        start: String,
    },
    /// A store without an authority.
    #[error("there is no vault in {place}; make one with `{make}`")]
    NoVault {
        /// Where.
        place: String,
        /// The command.
        make: String,
    },
    /// Anything that an operator has to put right.
    #[error("{what}; {advice}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What to do.
        advice: String,
    },
}

impl ProgramError {
    /// For `map_err` of file operations.
    pub(crate) fn io<'a>(
        what: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> ProgramError + use<'a> {
        let path = path.to_owned();
        move |source| ProgramError::Io { what, path, source }
    }

    /// For programs.
    pub(crate) fn as_json(&self) -> serde_json::Value {
        match self {
            ProgramError::Refused { code, what, advice, findings } => serde_json::json!({
                "error": self.to_string(), "code": code, "detail": what, "advice": advice, "findings": findings,
            }),
            _ => serde_json::json!({ "error": self.to_string() }),
        }
    }

    /// Figures cannot be shown at an address.
    pub(crate) fn metrics(address: &str, error: &io::Error) -> ProgramError {
        let what = format!("cannot listen at metrics_listen = \"{address}\": {error}");
        ProgramError::usage(what, "choose another address and port, such as 127.0.0.1:7410")
    }

    pub(crate) fn usage(what: impl Into<String>, advice: impl Into<String>) -> ProgramError {
        ProgramError::Usage { what: what.into(), advice: advice.into() }
    }
}
