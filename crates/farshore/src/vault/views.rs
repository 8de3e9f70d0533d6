//! Rows and reports become what the API shows. Ages come from when a report was received,
//! never from another host's clock. This module must never change anything.

mod alerts;
mod clouds;
mod history;
mod hosts;
mod jobs;
mod lives;
mod machines;
mod mappings;
mod policies;
mod protections;
mod replicas;
mod sites;
mod status;

use farshore_types::{CloudId, HostId, SiteId};
use farshore_vault::Core;

pub(super) use alerts::alert;
pub(super) use clouds::cloud;
pub(super) use history::history;
pub(super) use hosts::{host, machines_by_host};
pub(super) use jobs::{job, job_state};
pub(super) use lives::protection_in_all;
pub(super) use machines::machine;
pub(super) use mappings::{mapping, mappings};
pub(super) use policies::{policy, policy_version};
pub(super) use protections::{Seen, protection};
pub(super) use replicas::{replica, role_of};
pub(super) use sites::site;
pub(super) use status::status;

fn site_name(core: &Core, id: SiteId) -> String {
    core.site(id).map_or_else(|| id.to_string(), |row| row.name.clone())
}

fn cloud_name(core: &Core, id: CloudId) -> String {
    core.cloud(id).map_or_else(|| id.to_string(), |row| row.name.clone())
}

fn host_name(core: &Core, id: HostId) -> String {
    core.host(id).map_or_else(|| id.to_string(), |row| row.name.clone())
}
