//! What networks and storage classes of one site are at another.

use farshore_types::SiteId;

use super::MapTo;
use crate::{
    Answer, Core, Finding, Problem, Severity,
    rows::{HostRow, NetworkMapRow, StorageMapRow},
};

/// Longest name of a network or a storage class, in bytes.
const MAPPED_NAME_MAX: usize = 256;

impl Core {
    /// Takes effect on running protections: a replica is connected by it when it is started.
    pub(super) fn map_network(&mut self, map: &MapTo) -> Result<Answer, Problem> {
        self.check_map("network", map)?;
        let warnings = self.unknown_names("network", map, |host| host.networks.clone());
        let (from_site, to_site, from) = (map.from_site, map.to_site, map.from.clone());
        let changed = match map.to.clone() {
            Some(to) => self.tables.networks.put(NetworkMapRow { from_site, to_site, from, to }),
            None => self.tables.networks.remove(&(from_site, to_site, from)),
        };
        Ok(Answer { warnings, ..Answer::changed(changed) })
    }

    /// Takes effect on what is enabled from now on: no replica is moved by it.
    pub(super) fn map_storage(&mut self, map: &MapTo) -> Result<Answer, Problem> {
        self.check_map("storage class", map)?;
        let warnings = self.unknown_names("storage class", map, |host| {
            host.storage.iter().map(|class| class.name.clone()).collect()
        });
        let (from_site, to_site, from) = (map.from_site, map.to_site, map.from.clone());
        let changed = match map.to.clone() {
            Some(to) => self.tables.storage.put(StorageMapRow { from_site, to_site, from, to }),
            None => self.tables.storage.remove(&(from_site, to_site, from)),
        };
        Ok(Answer { warnings, ..Answer::changed(changed) })
    }

    fn check_map(&self, what: &str, map: &MapTo) -> Result<(), Problem> {
        self.site_row(map.from_site)?;
        self.site_row(map.to_site)?;
        let fits = |name: &str| (1..=MAPPED_NAME_MAX).contains(&name.len());
        if !fits(&map.from) || map.to.as_deref().is_some_and(|to| !fits(to)) {
            let wrong = format!("a {what} cannot have that name");
            return Err(Problem::invalid("name", wrong, "use 1 to 256 bytes, as the hosts report it"));
        }
        Ok(())
    }

    /// Names of a mapping that no host of their site has, where all of these have told what they
    /// have: most often a slip, else something that is made later.
    fn unknown_names(&self, kind: &str, map: &MapTo, of: impl Fn(&HostRow) -> Vec<String>) -> Vec<Finding> {
        let Some(to) = &map.to else { return Vec::new() };
        let unknown = |site: SiteId, name: &String| {
            let hosts = self.tables.hosts.rows().filter(|host| host.site == site && !host.removed);
            let hosts: Vec<&HostRow> = hosts.collect();
            let told = !hosts.is_empty() && hosts.iter().all(|host| !host.inventory_digest.is_empty());
            let mut there: Vec<String> = hosts.into_iter().flat_map(&of).collect();
            there.sort();
            there.dedup();
            (told && !there.contains(name)).then_some(there)
        };
        let finding = |(site, name): (SiteId, &String)| {
            let there = unknown(site, name)?;
            let site = self.tables.sites.get(&site).map(|row| row.name.clone()).unwrap_or_default();
            let advice = match there.as_slice() {
                [] => "its hosts show none; the mapping is kept".to_owned(),
                some => format!("there are: {}; the mapping is kept", some.join(", ")),
            };
            let what = format!("no host of site '{site}' shows a {kind} '{name}'");
            let (severity, code) = (Severity::Warning, "name-unknown".to_owned());
            Some(Finding { severity, code, machine: None, what, advice })
        };
        [(map.from_site, &map.from), (map.to_site, to)].into_iter().filter_map(finding).collect()
    }
}
