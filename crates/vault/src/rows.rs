//! What the vault keeps: one type a kind of row. Bodies are JSON in which unknown keys are
//! passed over and new ones have defaults, so that a step back to an older vault reads them.
//! This module must never know what follows from a row.

mod alerts;
mod inventory;
mod job;
mod keys;
mod protection;
mod vault;

pub use alerts::{Acknowledged, AlertRow, Event, NoticeRow};
pub use inventory::{AssociationRow, CloudRow, HostRow, MachineRow, Role, SiteRow};
pub use job::{About, JobRow};
pub use protection::{DRILLS_KEPT, DrillRecord, Ended, EpochRow, Leaving, ProtectionRow, ReplicaFate};
pub use vault::{
    DocumentRow, HeadRow, LearningRow, NetworkMapRow, ObservedRow, OperationRow, PolicyRow, RequestRow,
    StorageMapRow, SuspectRow, TokenRow, TrustRow,
};
