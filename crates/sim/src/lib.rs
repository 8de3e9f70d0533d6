//! Test side: a disk that can crash, the model that replicas are judged by, and faults.
//! Sees everything, seen by nothing but tests.

#![expect(clippy::unwrap_used, reason = "a test's tools may stop the test")]

mod crash;
pub mod driver;
mod memory;
mod model;
pub mod mutate;
mod ports;

pub use crash::{Fate, Replay};
pub use memory::{MemoryFiles, Op};
pub use model::{ManualClock, ModelDisk};
pub use ports::free_port;
