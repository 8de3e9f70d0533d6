//! Sites.

use farshore_vault::{Core, rows::SiteRow};

use crate::views::SiteView;

pub(in crate::vault) fn sites(core: &Core) -> Vec<SiteView> {
    let clouds = |site| core.clouds().filter(move |c| c.site == site).map(|c| c.name.clone()).collect();
    let hosts = |site| core.hosts().filter(|h| h.site == site && !h.removed).count();
    let view =
        |s: &SiteRow| SiteView { id: s.id, name: s.name.clone(), clouds: clouds(s.id), hosts: hosts(s.id) };
    core.sites().map(view).collect()
}
