//! Control traffic: JSON over HTTP/1.1 over mutual TLS 1.3, between agent and site server
//! and between site server and vault. Who a peer is, its certificate says ([`Peer`] in a
//! request's extensions); what it may do is the handlers' to decide. This crate must never
//! know what the messages mean, and never trusts anything that the system trusts.
//!
//! ```text
//! Keyring ── own certificate, whom to trust; replaced while everything runs
//!    │
//!    ├─► Listener   a Router for members; another one for strangers who enrol
//!    └─► Client     one peer, known by its role and id, not by its address
//! ```
//!
//! Decisions:
//! - A peer is known by role and id, never by host name: addresses change, and stand behind
//!   NAT; whoever has *some* certificate of the authority is still nobody else.
//! - HTTP/1.1: each peer has two or three connections, a cut one cuts one request, and what
//!   a request may cost is easy to bound.
//! - Revoking reaches open connections: each judges its peer anew when trust changes.
//! - Messages may arrive twice (nothing in the control path depends on once), so a client
//!   retries unless it is told not to.

mod backoff;
mod body;
mod client;
mod enrol;
mod error;
mod json;
mod keyring;
pub mod limits;
mod peer;
mod places;
mod refusal;
mod server;
mod tls;
mod upkeep;
mod visitor;

pub use backoff::Backoff;
pub use client::{Call, Client, Following};
pub use enrol::{Applicant, Enroller, Member, Signing, admit, enrol, enrolment_router, renew};
pub use error::ChannelError;
pub use json::Json;
pub use keyring::Keyring;
pub use peer::{Expected, Peer};
pub use refusal::Refusal;
pub use server::{Listener, Serving};
pub use upkeep::{Renewer, Upkeep};
pub use visitor::Visitor;
