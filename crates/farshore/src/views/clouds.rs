//! Clouds. This module must never know where they come from.

use farshore_types::CloudId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CloudView {
    /// Its id.
    pub id: CloudId,
    /// Its name.
    pub name: String,
    /// Its site's name.
    pub site: String,
    /// The cloud that it is paired with.
    pub paired_with: Option<String>,
    /// `source` or `target`, in that pair.
    pub role: Option<String>,
    /// The policy that holds for it.
    pub policy: Option<String>,
    /// How many hosts it has.
    pub hosts: usize,
}

/// A cloud to add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddCloud {
    /// Name or id of its site.
    pub site: String,
    /// Its name; unique within the site.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
}

/// With what a cloud is paired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PairWith {
    /// Name or id of the cloud that keeps the replicas.
    pub target: String,
}

/// What holds for a cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// Name or id of the policy.
    pub policy: String,
}
