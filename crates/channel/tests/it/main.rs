//! The channel over real sockets and real TLS.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod calls;
mod enrolment;
mod limits;
mod trust;
mod upkeep;
mod world;
