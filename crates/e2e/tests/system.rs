//! The data path as a whole, on a simulated host: every point is judged by the guest's
//! own bytes at that instant.
#![allow(clippy::unwrap_used, reason = "what cannot go on in a test fails it")]

#[path = "system/adoption.rs"]
mod adoption;
#[path = "system/changed.rs"]
mod changed;
#[path = "system/disks.rs"]
mod disks;
#[path = "system/faults.rs"]
mod faults;
#[path = "system/frozen.rs"]
mod frozen;
#[path = "system/replication.rs"]
mod replication;
#[path = "system/room.rs"]
mod room;
#[path = "system/small_writes.rs"]
mod small_writes;
