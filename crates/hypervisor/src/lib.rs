//! What Farshore needs of a hypervisor, and who provides it: libvirt with QEMU, or a model
//! in memory. Callers see [`contract`] alone; only this crate knows that libvirt exists.
//! It must never know what a cycle, a recovery point or a policy is.

pub mod contract;
pub mod definition;
mod error;
pub mod fuzz;
pub mod libvirt;
pub mod simulated;

pub use contract::{
    Backup, BackupDisk, BackupMode, BackupSpec, BlockJob, Change, Checkpoint, Deletion, Disk, Event, Export,
    Exported, GuestState, HostFacts, Hypervisor, JobState, Machine, Nic, NicSource, PowerState, Problem,
    Start, Tracking,
};
pub use error::{HypervisorError, Kind, Result};
