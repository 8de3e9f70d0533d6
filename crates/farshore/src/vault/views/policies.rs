//! Policies.

use farshore_types::Digest;
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
        version: policy_version(row),
    }
}

/// What tells a policy from how it was before: a part of a digest of all that it says.
pub(in crate::vault) fn policy_version(row: &PolicyRow) -> String {
    // A plain value: there is none that has no JSON.
    let text = serde_json::to_vec(&row.policy).unwrap_or_default();
    Digest::of(&text).0[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}
