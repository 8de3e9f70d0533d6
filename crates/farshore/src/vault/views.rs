//! Rows and reports become what the API shows. Ages come from when a report was received,
//! never from another host's clock. This module must never change anything.

mod clouds;
mod hosts;
mod jobs;
mod machines;
mod mappings;
mod policies;
mod protections;
mod sites;
mod status;

use farshore_types::{CloudId, HostId, SiteId};
use farshore_vault::Core;

pub(super) use clouds::clouds;
pub(super) use hosts::hosts;
pub(super) use jobs::{job, job_state};
pub(super) use machines::machines;
pub(super) use mappings::mappings;
pub(super) use policies::policies;
pub(super) use protections::protections;
pub(super) use sites::sites;
pub(super) use status::status;

/// A host that was never heard of is as silent as can be.
const NEVER_MS: u64 = u64::MAX / 4;

fn site_name(core: &Core, id: SiteId) -> String {
    core.site(id).map_or_else(|| id.to_string(), |row| row.name.clone())
}

fn cloud_name(core: &Core, id: CloudId) -> String {
    core.cloud(id).map_or_else(|| id.to_string(), |row| row.name.clone())
}

fn host_name(core: &Core, id: HostId) -> String {
    core.host(id).map_or_else(|| id.to_string(), |row| row.name.clone())
}
