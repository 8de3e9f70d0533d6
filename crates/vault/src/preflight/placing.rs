//! Where a replica goes, and what it finds there.

use std::collections::BTreeMap;

use farshore_types::{CloudId, HostId};

use super::Look;
use crate::{
    Core,
    rows::{HostRow, MachineRow},
};

/// Of the most room that any host has, the share by which less counts as the same, one part
/// in so many: hosts say it at different moments, and may even share a disk.
const NEAR: u64 = 20;

impl Core {
    /// Replicas that each host is to have, by the protections that there are.
    pub(crate) fn roles(&self) -> BTreeMap<HostId, usize> {
        let mut roles = BTreeMap::new();
        for row in self.tables.protections.rows().filter(|row| row.is_live()) {
            *roles.entry(row.target()).or_default() += 1;
        }
        roles
    }

    /// Bytes free for replicas, as a host said last.
    pub(crate) fn free_for_replicas(&self, host: HostId) -> Option<u64> {
        let observed = self.tables.observed.get(&host)?;
        let places = observed.report.space.iter().filter(|space| space.of == "replicas");
        places.map(|space| space.free).max()
    }
}

impl<'a> Look<'a> {
    /// The host for the replica: the one that was named, or that with the most room.
    pub(super) fn target(&mut self, source: &HostRow, row: &MachineRow) -> Option<&'a HostRow> {
        let (core, name) = (self.core, &row.facts.name);
        let other = self.cloud_of_replicas(source)?;
        let there = core.tables.hosts.rows().filter(|host| !host.removed && host.cloud == Some(other));
        let there = there.filter(|host| host.id != source.id && self.leaves != Some(host.id));
        let there: Vec<&'a HostRow> = there.collect();
        if let Some(wanted) = self.enable.target {
            let host = there.iter().find(|host| host.id == wanted).copied();
            let Some(host) = host else {
                let (wanted, other) = (core.host_name(wanted), core.cloud_name(other));
                let what =
                    format!("host '{wanted}' is not in cloud '{other}', where machine '{name}' would go");
                self.error("target-not-in-cloud", what, "name a host of the paired cloud");
                return None;
            };
            self.usable_target(host);
            return Some(host);
        }
        let at = self.at;
        let there_now = |host: &HostRow| core.may_speak_to(host.id) && !core.is_gone(host.id, at);
        let usable = |host: &&&HostRow| !host.maintenance && there_now(host);
        let free = |host: &HostRow| {
            let promised = self.promised.get(&host.id).copied().unwrap_or(0);
            core.free_for_replicas(host.id).map(|free| free.saturating_sub(promised))
        };
        let usable: Vec<&&'a HostRow> = there.iter().filter(usable).collect();
        let most = usable.iter().map(|host| free(host)).max().flatten();
        let equal = |host: &&&&'a HostRow| is_near(free(host), most);
        let roles = |host: &HostRow| self.roles.get(&host.id).copied().unwrap_or(0);
        // By room; of near-equal ones that with the fewest replicas, and then the first, so that
        // the same question has the same answer.
        let best = usable.iter().filter(equal).min_by_key(|host| (roles(host), host.id));
        let best = best.map(|host| **host);
        if best.is_none() {
            let what = format!("no host of cloud '{}' can take machine '{name}'", core.cloud_name(other));
            self.error("no-target", what, "add a host there, or end its maintenance");
        }
        if let Some(host) = best {
            self.usable_target(host);
        }
        best
    }

    /// The cloud in which the replica belongs.
    fn cloud_of_replicas(&self, source: &HostRow) -> Option<CloudId> {
        if let Some(leaves) = self.leaves {
            return self.core.tables.hosts.get(&leaves)?.cloud;
        }
        let cloud = source.cloud.and_then(|cloud| self.core.tables.clouds.get(&cloud))?;
        cloud.pair.map(|(other, _)| other)
    }

    fn usable_target(&mut self, host: &HostRow) {
        if host.maintenance {
            let what = format!("host '{}' is in maintenance", host.name);
            self.error("target-maintenance", what, "end it, or name another target host");
        }
        if host.address.is_empty() {
            let what = format!("host '{}' has no address for replication", host.name);
            self.error("no-address", what, "set it");
        }
        self.reachable(host);
    }

    pub(super) fn hypervisors(&mut self, source: &HostRow, target: &HostRow, row: &MachineRow) {
        let (name, here, there) = (&row.facts.name, &source.facts, &target.facts);
        if here.arch.is_empty() || there.arch.is_empty() {
            return;
        }
        if here.arch != there.arch {
            let what =
                format!("machine '{name}' runs on {}, host '{}' is {}", here.arch, target.name, there.arch);
            self.error("other-architecture", what, "name a target host of the same architecture");
        }
        if is_older(&there.hypervisor_version, &here.hypervisor_version) {
            let what = format!(
                "host '{}' has {} {}, machine '{name}' runs on {}",
                target.name, there.hypervisor, there.hypervisor_version, here.hypervisor_version
            );
            self.warning(
                "older-hypervisor",
                what,
                "bring it to the same version, or its machine type may be missing",
            );
        }
    }

    pub(super) fn networks(&mut self, source: &HostRow, target: &HostRow, row: &MachineRow) {
        let name = &row.facts.name;
        let mapped = self.core.networks_between(source.id, target.id);
        let mut networks: Vec<&String> = row.facts.networks.iter().flatten().collect();
        networks.sort_unstable();
        networks.dedup();
        for network in networks {
            match mapped.get(network) {
                None => {
                    let what = format!("network '{network}' of machine '{name}' is not mapped");
                    self.warning(
                        "network-unmapped",
                        what,
                        "map it, or the replica's card stays disconnected",
                    );
                }
                Some(to) if !target.networks.is_empty() && !target.networks.contains(to) => {
                    let what = format!(
                        "host '{}' has no network '{to}', to which '{network}' is mapped",
                        target.name
                    );
                    self.error("network-missing", what, "create it there, or map another one");
                }
                Some(_) => {}
            }
        }
    }

    /// Directory for the replica: that of the class to which the class of the first disk is
    /// mapped; the host's default where there is none, which is said.
    pub(super) fn place(&mut self, source: &HostRow, target: &HostRow, row: &MachineRow) -> Option<String> {
        let (core, name) = (self.core, &row.facts.name);
        let (from_site, to_site) = (source.site, target.site);
        let mut place = None;
        for disk in &row.facts.disks {
            let Some(class) = &disk.storage else { continue };
            let map = core.tables.storage.get(&(from_site, to_site, class.clone()));
            let there = map.and_then(|map| target.storage.iter().find(|storage| storage.name == map.to));
            match (map, there) {
                (Some(_), Some(storage)) => {
                    place.get_or_insert_with(|| storage.path.clone());
                }
                (Some(map), None) => {
                    let what = format!(
                        "host '{}' has no storage class '{}', to which '{class}' is mapped",
                        target.name, map.to
                    );
                    self.error("storage-missing", what, "create it there, or map another one");
                }
                (None, _) => {
                    let what = format!(
                        "storage class '{class}' of disk '{}' of machine '{name}' is not mapped",
                        disk.key
                    );
                    self.warning(
                        "storage-unmapped",
                        what,
                        "map it, or the replica goes to the host's default",
                    );
                }
            }
        }
        place
    }

    pub(super) fn former_replica(&mut self, target: &HostRow, row: &MachineRow) {
        let observed = self.core.tables.observed.get(&target.id);
        let is_there = observed.is_some_and(|observed| {
            observed.report.replicas.iter().any(|state| state.machine == row.facts.id)
                || observed
                    .report
                    .unclaimed
                    .iter()
                    .any(|left| left.machine == row.facts.id && left.role == "replica")
        });
        if is_there {
            let what =
                format!("host '{}' has a replica of machine '{}' already", target.name, row.facts.name);
            self.warning(
                "former-replica",
                what,
                "it is used: what it has is not sent again, and its points stay",
            );
        }
    }
}

/// Whether some room is about as much as the most.
fn is_near(free: Option<u64>, most: Option<u64>) -> bool {
    match (free, most) {
        (Some(free), Some(most)) => free >= most - most / NEAR,
        (free, most) => free == most,
    }
}

/// Whether one version is before another, as far as both begin with numbers.
fn is_older(one: &str, other: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> { text.split('.').map_while(|part| part.parse().ok()).collect() };
    let (one, other) = (numbers(one), numbers(other));
    !one.is_empty() && !other.is_empty() && one < other
}
