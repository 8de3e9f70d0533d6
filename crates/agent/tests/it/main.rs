//! The agent without libvirt: a simulated hypervisor, real sessions over TLS, real replicas.

mod bring_up;
mod export;
mod points;
mod refusals;
mod socket;
mod source;
mod watchdog;
mod world;
