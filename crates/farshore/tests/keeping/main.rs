//! The control plane kept alive, with real programs: backups and restores, a lost machine,
//! the recovery of the authority, two vaults on one database.

#![expect(clippy::unwrap_used, reason = "a test may stop where its set-up fails")]

mod backups;
mod hosts;
mod postgres;
mod promote;
mod two;
#[path = "../support/world.rs"]
#[allow(dead_code, reason = "other tests use all of it")]
mod world;
