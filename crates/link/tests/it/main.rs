//! Sessions between two ends, as their owners see them: over real TLS on loopback and over
//! lines in memory that are cut at chosen bytes.

#![allow(clippy::unwrap_used, reason = "what cannot go on in a test fails it")]

mod age;
mod cuts;
mod frames;
mod kerberos;
mod letters;
mod memory;
mod ordinary;
mod revoked;
mod trust;
mod world;
