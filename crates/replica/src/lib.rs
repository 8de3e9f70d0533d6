//! The replica store: one machine's disks as plain qcow2 files, its recovery points as a
//! chain of sealed deltas beside them.
//!
//! ```text
//! records ─► append (images) ─► seal: sync images, write delta, sync, rename, sync ─► acknowledged
//!                                      │
//!                    chain of deltas ──┴─► map of any point ─► read, verify, export
//!                          │                      └─► publish: qcow2 tables, snapshot
//!                          └─► prune: merge deltas, free what nothing refers to
//! ```
//!
//! The chain is the truth; all qcow2 tables are derived from it. This crate must never
//! know where records come from, nor what a hypervisor is.

mod adopt;
mod adopted;
mod aside;
mod base;
mod bring_up;
#[cfg(feature = "deliberate-bugs")]
pub mod bug;
#[cfg(not(feature = "deliberate-bugs"))]
mod bug;
mod chain;
mod cycle;
mod error;
mod flat;
mod handles;
mod image;
mod layout;
mod open;
mod own;
mod prune;
mod publish;
mod read;
mod report;
mod rescued;
mod retention;
mod retire;
mod scrub;
mod sectors;
mod shelf;
mod space;
mod stage;
mod state;
mod store;

pub use adopted::AdoptedDisk;
pub use base::{BaseReader, Patch, Patched};
pub use bring_up::OverlayDisk;
pub use cycle::{CycleStart, Incoming, SealRequest};
pub use error::{CycleRule, ReplicaError};
pub use image::{Stored, unpacked};
pub use layout::NVRAM;
pub use own::{Known, Own};
pub use read::{PointReader, Progress, Verified};
pub use report::{Dropped, OpenReport, PointInfo};
pub use retention::{Kept, Retention, plan as plan_retention};
pub use scrub::{Decay, Scrub, ScrubPlace, TableCheck};
pub use shelf::{Aside, Shelved};
pub use state::{Adopted, Phase, Pin};
pub use store::{Options, Replica, Usage};
