//! From a guest's write to records on the wire: one machine's replication, as its source.
//!
//! ```text
//! tick ─► begin backup (one instant, new checkpoint) ─► dirty runs ─► clusters
//!      ─► digest, compare with the digest map, compress ─► session
//!      ─► pending digests durable ─► seal ─► durable ack ─► map moves on, old checkpoint goes
//! ```
//!
//! What has been sent is known by the **digest map**, which belongs to exactly one sealed
//! element; what may have changed is known by the hypervisor's bitmaps, which are never
//! trusted after anything unclean. This crate must never know how a replica is stored.

mod apps;
pub mod bug;
mod cluster;
mod cycle;
mod definition;
mod error;
mod freeze;
mod handed;
mod hurry;
mod map;
mod plan;
mod reading;
mod replicator;
mod resync;
mod schedule;
mod settings;
mod started;
mod status;
mod watch;

pub use apps::AppFrequency;
pub use definition::{Definition, DefinitionError, read_nvram};
pub use error::CaptureError;
pub use freeze::{FreezeLimits, Unthawed};
pub use handed::{Learning, Left, digests, left_at, newest_known, take_checkpoint};
pub use hurry::{Hurry, Still};
pub use replicator::Replicator;
pub use resync::ResyncGate;
pub use settings::{Compression, Parts, Places, Settings};
pub use started::{put_back, was_started_for_a_cycle};
pub use status::{Activity, AppPoints, CycleReport, Status, Totals};
