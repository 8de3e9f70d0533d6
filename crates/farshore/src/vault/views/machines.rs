//! Machines, a view for each host that has one.

use farshore_vault::{Core, Moment, rows::MachineRow};

use super::{host_name, site_name};
use crate::views::MachineView;

pub(in crate::vault) fn machine(core: &Core, row: &MachineRow, at: &Moment) -> MachineView {
    let host = core.host(row.host);
    MachineView {
        id: row.facts.id,
        name: row.facts.name.clone(),
        host: host_name(core, row.host),
        site: host.map(|h| site_name(core, h.site)).unwrap_or_default(),
        power: match core.is_heard_now(row.host, at) {
            true => row.facts.power.clone(),
            // What it said last is not of now: the machine may run elsewhere since.
            false => "unknown".to_owned(),
        },
        disks: row.facts.disks.iter().map(|d| d.key.to_string()).collect(),
        size: row.facts.disks.iter().map(|d| d.size).sum(),
        protection: core
            .protection(row.facts.id)
            .filter(|p| p.is_live())
            .map(|p| if p.source() == row.host { "source" } else { "replica" }.to_owned()),
    }
}
