//! Policies.

use farshore_vault::{Core, rows::PolicyRow};

use super::cloud_name;
use crate::views::PolicyView;

pub(in crate::vault) fn policy(core: &Core, row: &PolicyRow) -> PolicyView {
    let holds = core.associations().filter(|association| association.policy == row.id);
    PolicyView {
        id: row.id,
        name: row.name.clone(),
        clouds: holds.map(|association| cloud_name(core, association.cloud)).collect(),
        policy: row.policy.clone(),
    }
}
