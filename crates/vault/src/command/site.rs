//! Sites, and whom they trust.

use farshore_types::SiteId;

use super::check_name;
use crate::{
    Answer, Core, Moment, Problem,
    rows::{SiteRow, TrustRow},
};

/// Most minutes that a site's clocks can be ahead of UTC, or behind.
const AHEAD_MINUTES_MAX: i16 = 14 * 60;

impl Core {
    pub(super) fn add_site(
        &mut self,
        name: &str,
        ahead_minutes: i16,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        check_name("site", name, self.tables.sites.rows().map(|row| row.name.as_str()))?;
        if !(-AHEAD_MINUTES_MAX..=AHEAD_MINUTES_MAX).contains(&ahead_minutes) {
            let what = format!("clocks of site '{name}' would be {ahead_minutes} minutes ahead of UTC");
            return Err(Problem::invalid("ahead-minutes", what, "use -840 to 840"));
        }
        let id = SiteId(at.id("site"));
        self.tables.sites.put(SiteRow { id, name: name.to_owned(), ahead_minutes });
        Ok(Answer::made(id.0))
    }

    pub(super) fn rename_site(&mut self, site: SiteId, name: &str) -> Result<Answer, Problem> {
        self.site_row(site)?;
        let others = self.tables.sites.rows().filter(|row| row.id != site);
        check_name("site", name, others.map(|row| row.name.as_str()))?;
        Ok(Answer::changed(self.tables.sites.change(&site, |row| name.clone_into(&mut row.name))))
    }

    pub(super) fn remove_site(&mut self, site: SiteId) -> Result<Answer, Problem> {
        let name = self.site_row(site)?.name.clone();
        let clouds = self.tables.clouds.rows().filter(|row| row.site == site);
        let mut users: Vec<String> = clouds.map(|row| format!("cloud '{}'", row.name)).collect();
        let hosts = self.tables.hosts.rows().filter(|row| row.site == site && !row.removed);
        users.extend(hosts.map(|row| format!("host '{}'", row.name)));
        if !users.is_empty() {
            return Err(Problem::in_use(format!("site '{name}'"), &users));
        }
        let of_site = |row: &&crate::rows::NetworkMapRow| row.from_site == site || row.to_site == site;
        for key in self.tables.networks.rows().filter(of_site).map(crate::Row::key).collect::<Vec<_>>() {
            self.tables.networks.remove(&key);
        }
        let of_site = |row: &&crate::rows::StorageMapRow| row.from_site == site || row.to_site == site;
        for key in self.tables.storage.rows().filter(of_site).map(crate::Row::key).collect::<Vec<_>>() {
            self.tables.storage.remove(&key);
        }
        Ok(Answer::changed(self.tables.sites.remove(&site)))
    }

    pub(super) fn site_row(&self, site: SiteId) -> Result<&SiteRow, Problem> {
        self.tables.sites.get(&site).ok_or_else(|| Problem::unknown("site", site))
    }

    pub(super) fn set_trust(
        &mut self,
        authority_pem: &str,
        revoked_pem: &str,
        number: u64,
    ) -> Result<Answer, Problem> {
        let row = TrustRow {
            authority_pem: authority_pem.to_owned(),
            revoked_pem: revoked_pem.to_owned(),
            revoked_number: number,
        };
        match self.tables.trust.get(&()) {
            Some(held) if held.revoked_number > number => {
                let what = format!(
                    "the list of revoked certificates has number {}, not {number}",
                    held.revoked_number
                );
                Err(Problem::conflict(
                    "revoked-number",
                    what,
                    "revocations are never taken back: use a higher number",
                ))
            }
            Some(held) if held.revoked_number == number && held.revoked_pem != revoked_pem => {
                let what = format!("another list of revoked certificates has number {number}");
                Err(Problem::conflict("revoked-number", what, "use a higher number"))
            }
            _ => Ok(Answer::changed(self.tables.trust.put(row))),
        }
    }
}
