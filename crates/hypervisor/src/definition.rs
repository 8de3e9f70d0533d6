//! Machine definitions as text: what Farshore reads in them, and what it changes before a
//! machine comes up elsewhere. Text in, text out; this module must never ask a hypervisor.

mod read;
mod rewrite;
mod tree;

pub use read::{DiskSource, DiskText, MachineText, agent_socket, machine};
pub use rewrite::{Overlay, Rewrite, rewrite, unplugged_nics, without_secrets};
pub use tree::{Element, parse};

use thiserror::Error;

/// The definition cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DefinitionError {
    /// It is no well-formed XML.
    #[error("the definition is not well-formed XML at byte {at}: {why}")]
    Malformed {
        /// Where, in bytes from its start.
        at: u64,
        /// The parser's words.
        why: String,
    },
    /// It is larger or deeper than any machine's.
    #[error("the definition exceeds {limit}")]
    TooBig {
        /// Which limit.
        limit: &'static str,
    },
    /// Something that every machine has is missing.
    #[error("the definition has no {what}")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// Something in it has a value that cannot be.
    #[error("the definition's {what} is '{value}', which cannot be")]
    Wrong {
        /// What.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// A change names a disk that is not there.
    #[error("the definition has no disk '{0}'")]
    NoSuchDisk(farshore_types::DiskKey),
}
