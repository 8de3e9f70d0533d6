//! Sites.

use farshore_vault::{Core, rows::SiteRow};

use crate::views::SiteView;

pub(in crate::vault) fn site(core: &Core, row: &SiteRow) -> SiteView {
    SiteView {
        id: row.id,
        name: row.name.clone(),
        clouds: core.clouds().filter(|cloud| cloud.site == row.id).map(|cloud| cloud.name.clone()).collect(),
        hosts: core.hosts().filter(|host| host.site == row.id && !host.removed).count(),
    }
}
