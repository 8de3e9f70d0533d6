//! Ports for programs that a test starts: what it tells others before the program listens. This
//! module must never know which program.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// A port of 127.0.0.1 that is free now, between 10,000 and 29,999: below those that the system
/// gives to connections, of which one could be taken before the program listens. Each process,
/// which is a test, begins to look elsewhere.
///
/// # Panics
/// Where none of a thousand is free.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() * 16 % 20_000).unwrap();
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = (0..1000).map(|_| 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000);
    ports.find(free).unwrap()
}
