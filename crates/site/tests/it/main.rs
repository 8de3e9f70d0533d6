//! A real site server over real TLS on loopback: a vault that a test plays above it, real
//! agents below.

#![expect(clippy::unwrap_used, reason = "a test may stop where its set-up fails")]

mod agents;
mod enrolling;
mod vault;
mod world;
