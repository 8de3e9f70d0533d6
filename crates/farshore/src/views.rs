//! What the API shows: plain values, the same for whoever serves and whoever reads. Times
//! are ages or milliseconds since the Unix epoch, sizes are bytes. This module must never
//! know where they come from.

mod alerts;
mod clouds;
mod events;
mod history;
mod hosts;
mod jobs;
mod lives;
mod machines;
mod mappings;
mod orders;
mod points;
mod policies;
mod protections;
mod replicas;
mod sites;
mod status;
mod tokens;

pub use alerts::{AlertView, Noted};
pub use clouds::{AddCloud, CloudView, Follow, PairWith};
pub use events::{AlertChange, Contact, EventView, StepNow};
pub use history::HistoryView;
pub use hosts::{HostView, PutInto, ReachedAt};
pub use jobs::{CauseView, JobState, JobView, StepView};
pub use lives::{
    AddressOrder, AddressView, CancelOrder, ChangePointOrder, CleanUpOrder, CommitOrder, DrillRecordView,
    DrillView, FailbackOrder, FlattenOrder, LifeView, OperationView, PlannedOrder, TakeBackOrder, TestOrder,
    UnplannedOrder, WinnerOrder,
};
pub use machines::MachineView;
pub use mappings::{Mapped, MappingView};
pub use orders::{Ordered, Page, ProblemView, Rename};
pub use points::PointView;
pub use policies::{AddPolicy, PolicyView};
pub use protections::{ApplicationPoint, EnableMachines, ProtectionState, ProtectionView};
pub use replicas::{MoveTo, ReplicaRole, ReplicaView};
pub use sites::{AddSite, KeyView, Revoked, SiteView};
pub use status::StatusView;
pub use tokens::{AddToken, TokenView};
