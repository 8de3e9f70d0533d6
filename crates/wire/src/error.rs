//! Why bytes are not a frame.

use thiserror::Error;

use crate::record::RecordError;

/// Bytes that are not a frame of this protocol. Nothing after them can be trusted:
/// the connection is given up, and the session resumed over a new one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The first four bytes are not this protocol's.
    #[error("not a replication frame: it begins with {0:#010x}; is something else talking to this port?")]
    Magic(u32),
    /// The header's own checksum does not match.
    #[error("damaged frame header: check {stored:#06x}, computed {computed:#06x}")]
    HeaderCheck {
        /// As it arrived.
        stored: u16,
        /// As it should be.
        computed: u16,
    },
    /// The checksum over header and payload does not match.
    #[error("damaged frame {sequence}: checksum {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// The frame's place in its direction.
        sequence: u64,
        /// As it arrived.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// A byte that must be zero is not.
    #[error(
        "{field} holds {value:#x} where this version knows only 0: the peer is newer or the frame damaged"
    )]
    Reserved {
        /// Which.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// More than a named limit allows.
    #[error("{field} of {value} exceeds the limit of {limit}")]
    TooLarge {
        /// Which.
        field: &'static str,
        /// What the frame says.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The payload ends inside a field.
    #[error("the payload ends inside {field}: {missing} bytes are missing")]
    Short {
        /// Which.
        field: &'static str,
        /// How many bytes more it would need.
        missing: usize,
    },
    /// The payload goes on after its last field.
    #[error("{count} bytes follow the last field of the payload")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// The connection ended inside a frame.
    #[error("the connection ended inside a frame, after {have} bytes of it")]
    Cut {
        /// Bytes of the frame that had arrived.
        have: usize,
    },
    /// No frame of this direction has this type.
    #[error("no frame of type {0:#04x} travels in this direction")]
    Kind(u8),
    /// A field holds a value that means nothing.
    #[error("{field} holds {value}, which means nothing in this version")]
    Value {
        /// Which.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// A text is not UTF-8, or a name not a name.
    #[error("{field} is not valid text: {why}")]
    Text {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Entries that must ascend do not, or something is named twice.
    #[error("{field} are out of order or named twice")]
    Order {
        /// Which.
        field: &'static str,
    },
    /// A record breaks its rules.
    #[error("record {index} of the frame is wrong")]
    Record {
        /// Its place in the frame, from 0.
        index: usize,
        /// The rule.
        #[source]
        source: RecordError,
    },
}
