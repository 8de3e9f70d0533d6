//! The agent without libvirt: a simulated hypervisor, real sessions over TLS, real replicas.

#![expect(clippy::unwrap_used, reason = "a test may stop where its set-up fails")]

mod adopt;
mod bring_up;
mod cuts;
mod export;
mod fuzzing;
mod hostile;
mod input;
mod managed;
mod membership;
mod points;
mod probe;
mod refusals;
mod scrub;
mod serving;
mod socket;
mod source;
mod watchdog;
mod world;
