//! Machines, a view for each host that has one.

use farshore_vault::{Core, rows::MachineRow};

use super::{host_name, site_name};
use crate::views::MachineView;

pub(in crate::vault) fn machine(core: &Core, row: &MachineRow) -> MachineView {
    let host = core.host(row.host);
    MachineView {
        id: row.facts.id,
        name: row.facts.name.clone(),
        host: host_name(core, row.host),
        site: host.map(|h| site_name(core, h.site)).unwrap_or_default(),
        power: row.facts.power.clone(),
        disks: row.facts.disks.iter().map(|d| d.key.to_string()).collect(),
        size: row.facts.disks.iter().map(|d| d.size).sum(),
        protection: core
            .protection(row.facts.id)
            .filter(|p| p.is_live())
            .map(|p| if p.source() == row.host { "source" } else { "replica" }.to_owned()),
    }
}
