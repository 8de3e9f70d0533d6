//! Policies. This module must never know where they come from.

use farshore_policy::{Policy, PolicyPatch};
use farshore_types::PolicyId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: String,
    /// Clouds that it holds for.
    pub clouds: Vec<String>,
    /// What it says.
    pub policy: Policy,
    /// A word for what it says: another one after every change. Given with a change, that is
    /// refused where somebody else has changed it meanwhile.
    pub version: String,
}

/// A policy to add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPolicy {
    /// Its name; unique.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// What differs from the defaults.
    #[serde(default)]
    pub settings: PolicyPatch,
}
