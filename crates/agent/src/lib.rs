//! The agent of one host: takes replication from other hosts, replicates its own machines
//! to them, and answers commands, also those for the day the control plane is gone.
//!
//! ```text
//! cli ──► control (socket, or in the same process) ──► Agent::handle ──► commands
//! membership ─► who this host is to a vault: enrolment, renewal, the channel to its site
//! managed ─► what a vault wants of all this, and what it is told
//! serve ─► target (sessions → replicas) · source (machines → sessions) · control · watchdog
//! ```
//!
//! This crate composes; how a cycle runs, how bytes travel and how they are stored is the
//! engines' to know.

mod agent;
pub mod cli;
mod commands;
pub mod config;
pub mod control;
mod error;
mod kerberos;
mod lock;
pub mod managed;
mod medium;
pub mod membership;
mod metrics;
mod probe;
mod replicas;
mod scrub;
mod serve;
mod source;
mod target;
mod thaw;
pub mod watchdog;

pub use agent::Agent;
pub use config::Config;
pub use error::{AgentError, Fault};
pub use replicas::{OpenReplica, Replicas};
pub use serve::serve;
pub use source::Sources;
pub use target::ReplicaSink;
