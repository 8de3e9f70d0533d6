//! Machines. This module must never know where they come from.

use farshore_types::MachineId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A machine on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MachineView {
    /// Its id.
    pub id: MachineId,
    /// Its name.
    pub name: String,
    /// Its host's name.
    pub host: String,
    /// Its site's name.
    pub site: String,
    /// `running`, `paused`, `off`, or the hypervisor's word; `unknown` where its host is silent.
    pub power: String,
    /// Names of its disks.
    pub disks: Vec<String>,
    /// Bytes of them.
    pub size: u64,
    /// What it is in a protection: `source`, `replica`, or none.
    pub protection: Option<String>,
}
