//! Clouds and their pairs.

use farshore_types::{CloudId, SiteId};

use super::check_name;
use crate::{
    Answer, Core, Moment, Problem,
    rows::{CloudRow, Role},
};

impl Core {
    pub(super) fn add_cloud(&mut self, site: SiteId, name: &str, at: &Moment) -> Result<Answer, Problem> {
        self.site_row(site)?;
        let here = self.tables.clouds.rows().filter(|row| row.site == site);
        check_name("cloud of this site", name, here.map(|row| row.name.as_str()))?;
        let id = CloudId(at.id("cloud"));
        self.tables.clouds.put(CloudRow { id, site, name: name.to_owned(), pair: None });
        Ok(Answer::made(id.0))
    }

    pub(super) fn rename_cloud(&mut self, cloud: CloudId, name: &str) -> Result<Answer, Problem> {
        let site = self.cloud_row(cloud)?.site;
        let others = self.tables.clouds.rows().filter(|row| row.site == site && row.id != cloud);
        check_name("cloud of this site", name, others.map(|row| row.name.as_str()))?;
        Ok(Answer::changed(self.tables.clouds.change(&cloud, |row| name.clone_into(&mut row.name))))
    }

    pub(super) fn remove_cloud(&mut self, cloud: CloudId) -> Result<Answer, Problem> {
        let row = self.cloud_row(cloud)?.clone();
        let hosts = self.tables.hosts.rows().filter(|host| host.cloud == Some(cloud) && !host.removed);
        let mut users: Vec<String> = hosts.map(|host| format!("host '{}'", host.name)).collect();
        users.extend(row.pair.map(|(other, _)| format!("its pair with cloud '{}'", self.cloud_name(other))));
        users.extend(self.policy_of(cloud).map(|policy| format!("its policy '{}'", policy.name)));
        if !users.is_empty() {
            return Err(Problem::in_use(format!("cloud '{}'", row.name), &users));
        }
        Ok(Answer::changed(self.tables.clouds.remove(&cloud)))
    }

    pub(super) fn pair_clouds(&mut self, source: CloudId, target: CloudId) -> Result<Answer, Problem> {
        let (from, to) = (self.cloud_row(source)?.clone(), self.cloud_row(target)?.clone());
        if source == target {
            let what = format!("cloud '{}' cannot be paired with itself", from.name);
            return Err(Problem::invalid("cloud-pair", what, "name another cloud"));
        }
        if from.pair == Some((target, Role::Source)) && to.pair == Some((source, Role::Target)) {
            return Ok(Answer::changed(false));
        }
        for cloud in [&from, &to] {
            if let Some((other, _)) = cloud.pair {
                let what =
                    format!("cloud '{}' is paired with '{}' already", cloud.name, self.cloud_name(other));
                return Err(Problem::conflict("cloud-paired", what, "a cloud has one pair; unpair it first"));
            }
        }
        self.tables.clouds.put(CloudRow { pair: Some((target, Role::Source)), ..from });
        self.tables.clouds.put(CloudRow { pair: Some((source, Role::Target)), ..to });
        Ok(Answer::changed(true))
    }

    pub(super) fn unpair_cloud(&mut self, cloud: CloudId) -> Result<Answer, Problem> {
        let row = self.cloud_row(cloud)?.clone();
        let Some((other, _)) = row.pair else { return Ok(Answer::changed(false)) };
        let of_pair = |host| {
            let cloud_of = self.tables.hosts.get(&host).and_then(|host| host.cloud);
            cloud_of == Some(cloud) || cloud_of == Some(other)
        };
        let live = self.tables.protections.rows().filter(|row| row.is_live());
        let users = live.filter(|row| row.hosts().into_iter().all(of_pair));
        let users: Vec<String> = users.map(|row| format!("machine '{}'", row.name)).collect();
        if !users.is_empty() {
            return Err(Problem::in_use(format!("the pair of cloud '{}'", row.name), &users));
        }
        for end in [cloud, other] {
            self.tables.clouds.change(&end, |row| row.pair = None);
        }
        Ok(Answer::changed(true))
    }

    pub(super) fn cloud_row(&self, cloud: CloudId) -> Result<&CloudRow, Problem> {
        self.tables.clouds.get(&cloud).ok_or_else(|| Problem::unknown("cloud", cloud))
    }

    pub(crate) fn cloud_name(&self, cloud: CloudId) -> String {
        self.tables.clouds.get(&cloud).map_or_else(|| cloud.to_string(), |row| row.name.clone())
    }
}
