//! Hosts.

use farshore_types::{CloudId, HostId, Principal};

use super::check_name;
use crate::{
    Answer, Core, Problem,
    rows::{HostRow, ProtectionRow},
};

impl Core {
    pub(super) fn add_host(
        &mut self,
        id: HostId,
        cloud: CloudId,
        name: &str,
        address: &str,
        principal: Option<&str>,
    ) -> Result<Answer, Problem> {
        let site = self.cloud_row(cloud)?.site;
        if let Some(known) = self.tables.hosts.get(&id) {
            let what = format!("host {id} is known already, as '{}'", known.name);
            return Err(Problem::conflict(
                "host-known",
                what,
                "an id is never used again: enrol the host anew",
            ));
        }
        self.check_host_name(id, name)?;
        check_address(address)?;
        self.check_principal(id, principal.unwrap_or_default())?;
        self.tables.hosts.put(HostRow {
            id,
            site,
            cloud: Some(cloud),
            name: name.to_owned(),
            address: address.to_owned(),
            principal: principal.map(str::to_owned),
            maintenance: false,
            machines_go_on: false,
            removed: false,
            heard_term: 0,
            inventory_digest: String::new(),
            facts: Default::default(),
            networks: Vec::new(),
            storage: Vec::new(),
        });
        self.host_was_enrolled(id);
        Ok(Answer::made(id.0))
    }

    /// An empty one is none. Two hosts of one principal could not be told apart.
    fn check_principal(&self, host: HostId, principal: &str) -> Result<(), Problem> {
        if principal.is_empty() {
            return Ok(());
        }
        if let Err(wrong) = principal.parse::<Principal>() {
            return Err(Problem::invalid("principal-invalid", wrong.to_string(), "correct it"));
        }
        let same =
            |row: &&HostRow| row.id != host && !row.removed && row.principal.as_deref() == Some(principal);
        match self.tables.hosts.rows().find(same) {
            None => Ok(()),
            Some(other) => {
                let what = format!("host '{}' has the principal {principal} already", other.name);
                Err(Problem::conflict("principal-taken", what, "give each host a principal of its own"))
            }
        }
    }

    pub(super) fn rename_host(&mut self, host: HostId, name: &str) -> Result<Answer, Problem> {
        self.host_row(host)?;
        self.check_host_name(host, name)?;
        Ok(Answer::changed(self.tables.hosts.change(&host, |row| name.clone_into(&mut row.name))))
    }

    pub(super) fn set_host_address(
        &mut self,
        host: HostId,
        address: &str,
        principal: Option<&str>,
    ) -> Result<Answer, Problem> {
        self.host_row(host)?;
        check_address(address)?;
        self.check_principal(host, principal.unwrap_or_default())?;
        Ok(Answer::changed(self.tables.hosts.change(&host, |row| {
            address.clone_into(&mut row.address);
            if let Some(principal) = principal {
                row.principal = Some(principal.to_owned()).filter(|principal| !principal.is_empty());
            }
        })))
    }

    /// Puts a host into another cloud of its site; with roles only into the one that it is in.
    pub(super) fn set_host_cloud(&mut self, host: HostId, cloud: CloudId) -> Result<Answer, Problem> {
        let row = self.host_row(host)?.clone();
        let into = self.cloud_row(cloud)?;
        if into.site != row.site {
            let what = format!("host '{}' is in another site than cloud '{}'", row.name, into.name);
            return Err(Problem::invalid("other-site", what, "name a cloud of the host's own site"));
        }
        let users = self.roles_of(host);
        if row.cloud.is_some_and(|old| old != cloud) && !users.is_empty() {
            return Err(Problem::in_use(format!("host '{}'", row.name), &users));
        }
        Ok(Answer::changed(self.tables.hosts.change(&host, |row| row.cloud = Some(cloud))))
    }

    pub(super) fn remove_host(&mut self, host: HostId) -> Result<Answer, Problem> {
        let Some(row) = self.tables.hosts.get(&host) else { return Err(Problem::unknown("host", host)) };
        if row.removed {
            return Ok(Answer::changed(false));
        }
        let (name, users) = (row.name.clone(), self.roles_of(host));
        if !users.is_empty() {
            return Err(Problem::in_use(format!("host '{name}'"), &users));
        }
        let machines = self.tables.machines.rows().filter(|row| row.host == host);
        for key in machines.map(crate::Row::key).collect::<Vec<_>>() {
            self.tables.machines.remove(&key);
        }
        self.tables.observed.remove(&host);
        self.host_was_removed(host);
        Ok(Answer::changed(self.tables.hosts.change(&host, |row| row.removed = true)))
    }

    /// Machines whose protection names a host.
    fn roles_of(&self, host: HostId) -> Vec<String> {
        let rows = self.tables.protections.rows().filter(|row| row.is_live());
        let leaves = |row: &&ProtectionRow| self.leaving(row).is_some_and(|leaving| leaving.host == host);
        let roles = rows.filter(|row| row.hosts().contains(&host) || leaves(row));
        roles.map(|row| format!("machine '{}'", row.name)).collect()
    }

    fn check_host_name(&self, host: HostId, name: &str) -> Result<(), Problem> {
        let others = self.tables.hosts.rows().filter(|row| row.id != host && !row.removed);
        check_name("host", name, others.map(|row| row.name.as_str()))
    }

    pub(super) fn host_row(&self, host: HostId) -> Result<&HostRow, Problem> {
        let row = self.tables.hosts.get(&host).filter(|row| !row.removed);
        row.ok_or_else(|| Problem::unknown("host", host))
    }
}

/// `host:port`.
fn check_address(address: &str) -> Result<(), Problem> {
    let parts = address.rsplit_once(':');
    let port = parts.and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let host = parts.is_some_and(|(host, _)| !host.is_empty() && !host.contains([' ', '/']));
    if port.is_some() && host && address.len() <= 260 {
        return Ok(());
    }
    let what = format!("'{address}' is no address for replication");
    Err(Problem::invalid("address", what, "write it as HOST:PORT, as the other site's hosts reach it"))
}
