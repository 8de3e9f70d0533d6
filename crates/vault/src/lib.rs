//! The vault's core: what is wanted, what is known, and what follows from a command or a
//! report. Rows in memory, documents made of rows, and the rules of ownership kept; no store
//! and no network. This crate must never carry disk data, nor act on a host but by documents.
//!
//! ```text
//! command ─┐                     ┌─► changes(): one transaction of the store ─► commit()
//! report  ─┼─► rows ─► publish ──┤                                └─ failed ─► roll_back()
//! tick    ─┘                     └─► documents, asked for by cursor
//! ```
//!
//! The caller owns the [`Core`] alone. It calls one of [`Core::run`], [`Core::site_report`]
//! and [`Core::tick`], stores what [`Core::changes`] gives in one transaction, and calls
//! [`Core::commit`] or, where that failed, [`Core::roll_back`]. Answers and documents leave
//! only after the commit: what is acknowledged is durable. A call that fails has changed
//! nothing. What hosts report all the time is in memory only and costs no write.
//!
//! [`Core::watch_over`] looks over all of it every few seconds: histories, health, alerts.
//!
//! Decisions, where the design leaves room:
//! - A document goes to a host only after it has told this term all that it holds; until
//!   then `hosts` of a document leaves it out, and each newly heard host has its documents
//!   written anew under the term. Nothing is withdrawn by that: hosts keep what they have.
//! - Of a document that was told late, after the vault wrote its own anew without it, each part
//!   counts as it was decided last: every document says in which version its parts were.
//! - Settings that a learned document has and its policy has not stay with the protection
//!   until the policy is changed or associated again: retention is never lowered by a restore.
//! - An owner that the hosts know and the vault does not (break-glass) turns the protection
//!   round and pauses it: replication the other way begins only when somebody says so.
//! - A removed host, an ended protection and a withdrawn request stay as rows or documents:
//!   they say that something ended, and no generation is ever given twice.
//! - Enabling publishes `Replicate` at once; a target that has not heard of it yet refuses,
//!   and the source tries again. Whether the machine could start there is found out meanwhile
//!   by the command's job, which takes it all back where it could not.
//! - What takes time is a job (`jobs`), whose row is written with what it goes with. A job
//!   looks again and again whether its steps are reached; nothing it waits for is a message.

mod answer;
mod command;
mod core;
mod jobs;
mod moment;
mod preflight;
mod problem;
pub mod rows;
mod table;
pub mod watch;

pub use answer::Answer;
pub use command::{Command, Enable, MachinesThen, Maintenance, MapTo, ReplicasThen};
#[cfg(feature = "deliberate-bugs")]
pub use core::Bug;
pub use core::{Core, LoadError, Start};
pub use jobs::JobNow;
pub use moment::Moment;
pub use problem::{Finding, Problem, ProblemKind, Severity};
pub use table::{Change, Row};

#[cfg(test)]
mod tests;
