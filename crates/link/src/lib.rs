//! Replication sessions between two agents over TLS 1.3: connecting, proving who one is,
//! keeping the line full, healing cuts, holding a bandwidth limit. What may be said when
//! is `farshore-wire`'s; what is sent and where it is stored is the owner's. This crate
//! must never know a hypervisor or a replica's files.
//!
//! Two hosts know each other by certificates, or by Kerberos inside TLS: the owner says which
//! of them counts for a machine.
//!
//! Source side: [`Session`]. Target side: [`serve`] with a [`Sink`]. Beside sessions, [`ask`]
//! sends a letter to the host's agent and gives its answer.

mod backoff;
mod caller;
mod dial;
mod error;
mod identity;
mod kerberos;
mod letter;
pub mod limits;
mod pipe;
mod rate;
mod server;
mod session;
mod sink;
mod watched;

pub use caller::{Caller, Proof};
pub use dial::{Dial, Endpoint, Stream, TlsDial};
pub use error::{CycleOver, LinkError};
pub use identity::{Identity, warm_up};
pub use kerberos::{Assignments, Kerberos, KerberosDial};
pub use letter::ask;
pub use limits::Timing;
pub use rate::RateLimit;
pub use server::{Proofs, Server, ServerLimits, serve};
pub use session::{Greeting, Session, SessionOptions};
pub use sink::{Receiver, Sink, Welcomed};
