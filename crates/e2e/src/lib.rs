//! Test side: the whole data path. [`world`] is one process with a simulated host, a
//! session in memory and a real store; [`host`] is a host of its own on this machine, with
//! a real agent and real machines, whose ends [`orphans`] asks for; [`plane`] is the vault and
//! the site servers above such hosts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's tools may stop the test")]

pub mod desk;
pub mod host;
pub mod orphans;
pub mod plane;
pub mod world;
