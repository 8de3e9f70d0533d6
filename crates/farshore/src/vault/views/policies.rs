//! Policies.

use farshore_vault::{Core, rows::PolicyRow};

use super::cloud_name;
use crate::views::PolicyView;

pub(in crate::vault) fn policies(core: &Core) -> Vec<PolicyView> {
    let of =
        |id| core.associations().filter(move |a| a.policy == id).map(|a| cloud_name(core, a.cloud)).collect();
    let view = |row: &PolicyRow| PolicyView {
        id: row.id,
        name: row.name.clone(),
        clouds: of(row.id),
        policy: row.policy.clone(),
    };
    core.policies().map(view).collect()
}
