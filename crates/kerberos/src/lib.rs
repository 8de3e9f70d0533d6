//! Kerberos between two hosts: each proves its principal to the other, and that it speaks
//! over this very channel. What goes back and forth is a pure state machine
//! ([`Initiator`], [`Acceptor`]) over a [`Mechanism`], so that it is tested without a key
//! distribution centre; [`Gss`] is the real mechanism, the system's Kerberos library. This
//! crate must never know what the channel is, nor what is sent over it afterwards.
//!
//! ```text
//! initiator ──Token────► acceptor     who I am, for you alone
//! initiator ◄──Token──── acceptor     who I am
//! initiator ──Binding──► acceptor     the channel as I see it, under what we now share
//! initiator ◄──Binding── acceptor     the same; or Refusal at any time: why not
//! ```
//!
//! The Kerberos library takes a peer that binds no channel at all for one that bound the
//! right one (seen). So nothing is left to it here: without the binding, shown and equal,
//! nobody gets in.

#[cfg(not(feature = "deliberate-bugs"))]
mod bug;
#[cfg(feature = "deliberate-bugs")]
pub mod bug;
mod environment;
mod error;
pub mod fuzz;
mod gss;
mod handshake;
pub mod limits;
mod mechanism;
mod message;

pub use environment::Environment;
pub use error::KerberosError;
pub use farshore_types::Principal;
pub use gss::Gss;
pub use handshake::{Acceptor, Arrival, Assigned, Binding, Initiator, Next};
pub use mechanism::{Context, Mechanism, Step};
pub use message::{HEAD_BYTES, Head, Message};
