//! A site server: between the vault and the agents of one site. It keeps a copy of the site's
//! documents, serves them when the vault is away, and merges what its hosts report.
//!
//! ```text
//! vault ──documents──► core ──by cursor──► agents
//! vault ◄──reports──── core ◄──reports──── agents
//!                       │ records, durable before they count
//!                       ▼
//!                    journal
//! ```
//!
//! It decides nothing: who owns what is the vault's to say, and what is running the agents'.

pub mod above;
pub mod core;
pub mod journal;
pub mod server;

pub use crate::core::{Core, Event};
pub use above::Above;
pub use journal::{Journal, JournalError, Opened, Record};
pub use server::{Server, ServerError, Timing};
