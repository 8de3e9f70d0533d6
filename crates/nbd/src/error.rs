//! What can go wrong between this client and a server.

use std::{io, path::PathBuf, time::Duration};

use thiserror::Error;

/// Result of a client's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An NBD operation failed.
#[derive(Debug, Error)]
pub enum Error {
    /// Nobody listens on the socket.
    #[error("cannot connect to the NBD server at {path}: is it running, and may this user write to the socket?", path = .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The connection ended, for this request and all others on it.
    #[error("the connection to the NBD server is lost: {why}; connect again")]
    Lost {
        /// How it ended.
        why: String,
    },
    /// The server said something that the protocol does not allow. The connection is given up.
    #[error("the NBD server broke the protocol: {what}")]
    Protocol {
        /// What was wrong with it.
        what: String,
    },
    /// The server does not do what was asked of it when connecting.
    #[error("the NBD server refused {option}: {why}")]
    Refused {
        /// What was asked for.
        option: String,
        /// Its reason.
        why: String,
    },
    /// The server answered a request with an error; the connection goes on.
    #[error("the NBD server could not {command} {len} bytes at offset {offset}: {why} (error {errno})")]
    Server {
        /// What was asked for.
        command: &'static str,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// The protocol's number, equal to Linux's.
        errno: u32,
        /// The server's words, or the error's name.
        why: String,
    },
    /// No answer in time; the connection goes on and a late answer is dropped.
    #[error("the NBD server did not {command} {len} bytes at offset {offset} within {deadline:?}")]
    Deadline {
        /// What was asked for.
        command: &'static str,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// How long was waited.
        deadline: Duration,
    },
    /// The request cannot be sent at all.
    #[error("cannot {command} {len} bytes at offset {offset}: {why}")]
    Invalid {
        /// What was asked for.
        command: &'static str,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// Which rule it breaks.
        why: String,
    },
}

impl Error {
    /// A breach of the protocol.
    pub(crate) fn protocol(what: impl Into<String>) -> Error {
        Error::Protocol { what: what.into() }
    }

    /// The connection failed while doing `what`.
    pub(crate) fn lost(what: &str, source: &io::Error) -> Error {
        Error::Lost { why: format!("{what}: {source}") }
    }
}
