//! What two agents say to each other while one replicates a machine to the other: the
//! frames, how they are laid out in bytes, and the two session machines that say which
//! frame may come when. Pure: bytes and events in, bytes and effects out. This crate
//! must never know sockets, threads, time or files.
//!
//! ```text
//!   source agent                                target agent
//!   ────────────                                ────────────
//!   Hello            ────────────────────────►
//!                    ◄────────────────────────  Welcome (or Refuse)
//!   OpenCycle        ────────────────────────►
//!   Data 0, 1, 2 …   ────────────────────────►
//!                    ◄────────────────────────  Credit …
//!   Seal             ────────────────────────►
//!                    ◄────────────────────────  Sealed (durable) or Failed (cycle dropped)
//!   OpenCycle …
//! ```
//!
//! Beside sessions there are letters: one frame there, one back.
//!
//! Layers, lowest first: `limits`, `codec`, `header` (32 bytes, checksums), `record`
//! (one cluster), `messages` and `frame` (what is said), `source` and `target` (when);
//! `letter` stands by itself.

#[cfg(any(test, feature = "deliberate-bugs"))]
pub mod bug;
mod codec;
mod error;
mod frame;
pub mod fuzz;
mod header;
mod letter;
pub mod limits;
mod messages;
mod record;
mod refusal;
mod source;
mod stream;
mod target;
mod violation;

pub use error::FrameError;
pub use frame::{SourceFrame, TargetFrame};
pub use header::{HEADER_LEN, Header};
pub use letter::Letter;
pub use messages::{
    Abort, Credit, CycleKind, Data, DigestPage, DiskSize, Hello, OpenCycle, OpenHint, Outcome, Seal,
    SessionId, Versions, WantDigests, Welcome,
};
pub use record::{Body, Patch, Record, RecordError};
pub use refusal::{Failure, FailureCode, Refusal, RefusalCode};
pub use source::{CycleEnd, Misuse, Notice, Resumption, Source};
pub use stream::{Encoded, Inbox, RawFrame};
pub use target::{Acceptance, Effect, Held, Target, Ticket};
pub use violation::{Rejected, Violation};

#[cfg(test)]
mod tests;
