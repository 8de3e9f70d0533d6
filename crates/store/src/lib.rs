//! The vault's store: rows of any kind, events and samples, in SQLite or PostgreSQL. It must
//! never know what a row means: kinds, keys and bodies are its callers'.

mod apply;
mod backup;
mod batch;
mod behind;
mod bug;
mod changes;
mod error;
mod fault;
pub mod fuzz;
mod glance;
mod head;
mod hold;
mod link;
mod load;
mod location;
mod options;
mod prune;
mod read;
mod record;
mod schema;
mod session;
mod status;
mod store;
mod writer;

pub use backup::{BackupInfo, BackupLabel, Counts, Force, backup, restore, verify};
pub use behind::{SAMPLES_BYTES_MAX, SAMPLES_MAX};
#[cfg(feature = "deliberate-bugs")]
pub use bug::Bug;
pub use changes::{
    BODY_MAX, CHANGES_BYTES_MAX, CHANGES_MAX, Changes, Expect, INSTANT_MAX_MS, KEY_MAX, KIND_MAX,
};
pub use error::StoreError;
pub use glance::glance;
pub use location::{Location, PostgresLocation};
pub use options::{Options, Retention, Table, Wait};
pub use read::{EventQuery, From, READ_MAX};
pub use record::{Event, EventId, Learn, LearnReason, Loaded, Row, RowId, Sample, Version};
pub use schema::SCHEMA;
pub use status::{Figures, Status};
pub use store::Store;
