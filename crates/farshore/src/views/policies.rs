//! Policies. This module must never know where they come from.

use farshore_policy::Policy;
use farshore_types::PolicyId;
use serde::{Deserialize, Serialize};

/// A policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: String,
    /// Clouds that it holds for.
    pub clouds: Vec<String>,
    /// What it says.
    pub policy: Policy,
}
