//! Clouds.

use farshore_vault::{
    Core,
    rows::{CloudRow, Role},
};

use super::{cloud_name, site_name};
use crate::views::CloudView;

pub(in crate::vault) fn cloud(core: &Core, row: &CloudRow) -> CloudView {
    CloudView {
        id: row.id,
        name: row.name.clone(),
        site: site_name(core, row.site),
        paired_with: row.pair.map(|(other, _)| cloud_name(core, other)),
        role: row.pair.map(|(_, role)| if role == Role::Source { "source" } else { "target" }.to_owned()),
        policy: core.policy_of(row.id).map(|policy| policy.name.clone()),
        hosts: core.hosts().filter(|h| h.cloud == Some(row.id) && !h.removed).count(),
    }
}
