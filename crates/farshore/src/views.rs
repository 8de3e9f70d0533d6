//! What the API shows: plain values, the same for whoever serves and whoever reads. Times
//! are ages or milliseconds since the Unix epoch, sizes are bytes. This module must never
//! know where they come from.

mod alerts;
mod clouds;
mod history;
mod hosts;
mod jobs;
mod machines;
mod mappings;
mod policies;
mod protections;
mod sites;
mod status;

pub use alerts::AlertView;
pub use clouds::CloudView;
pub use history::HistoryView;
pub use hosts::HostView;
pub use jobs::{CauseView, JobState, JobView, StepView};
pub use machines::MachineView;
pub use mappings::MappingView;
pub use policies::PolicyView;
pub use protections::ProtectionView;
pub use sites::{KeyView, SiteView};
pub use status::StatusView;
