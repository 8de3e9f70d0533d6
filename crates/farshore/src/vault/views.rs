//! Rows and reports become what the API shows. Ages come from when a report was received,
//! never from another host's clock. This module must never change anything.

mod clouds;
mod hosts;
mod machines;
mod mappings;
mod policies;
mod protections;
mod sites;
mod status;

use farshore_types::{CloudId, HostId, SiteId};
use farshore_vault::Core;

pub(super) use clouds::cloud;
pub(super) use hosts::{health_of_host, host, machines_by_host};
pub(super) use machines::machine;
pub(super) use mappings::{mapping, mappings};
pub(super) use policies::policy;
pub(super) use protections::{Seen, protection};
pub(super) use sites::site;
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
