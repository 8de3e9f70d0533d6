//! The vault as a whole.

use farshore_health::Level;
use farshore_vault::{Core, Moment};

use super::{host_name, hosts, protections};
use crate::views::StatusView;

pub(in crate::vault) fn status(core: &Core, at: &Moment, uptime_secs: u64) -> StatusView {
    let count = |levels: &mut dyn Iterator<Item = Level>| {
        levels.fold([0; 3], |mut counts: [u64; 3], level| {
            counts[level as usize] += 1;
            counts
        })
    };
    let term = core.term();
    StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        vault: term.vault,
        term: term.number,
        uptime_secs,
        learning_from: core.silent_hosts().map(|host| host_name(core, host)).collect(),
        problems: Vec::new(),
        protections: count(&mut protections(core, at).iter().map(|p| p.health.level)),
        hosts: count(&mut hosts(core, at).iter().map(|h| h.health.level)),
    }
}
