//! What networks and storage classes of one site are at another.

use super::MapTo;
use crate::{
    Answer, Core, Problem,
    rows::{NetworkMapRow, StorageMapRow},
};

/// Longest name of a network or a storage class, in bytes.
const MAPPED_NAME_MAX: usize = 256;

impl Core {
    /// Takes effect on running protections: a replica is connected by it when it is started.
    pub(super) fn map_network(&mut self, map: &MapTo) -> Result<Answer, Problem> {
        self.check_map("network", map)?;
        let (from_site, to_site, from) = (map.from_site, map.to_site, map.from.clone());
        Ok(Answer::changed(match map.to.clone() {
            Some(to) => self.tables.networks.put(NetworkMapRow { from_site, to_site, from, to }),
            None => self.tables.networks.remove(&(from_site, to_site, from)),
        }))
    }

    /// Takes effect on what is enabled from now on: no replica is moved by it.
    pub(super) fn map_storage(&mut self, map: &MapTo) -> Result<Answer, Problem> {
        self.check_map("storage class", map)?;
        let (from_site, to_site, from) = (map.from_site, map.to_site, map.from.clone());
        Ok(Answer::changed(match map.to.clone() {
            Some(to) => self.tables.storage.put(StorageMapRow { from_site, to_site, from, to }),
            None => self.tables.storage.remove(&(from_site, to_site, from)),
        }))
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
}
