//! Sites, and the keys by which their servers enrol. This module must never know where they come from.

use farshore_types::SiteId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteView {
    /// Its id.
    pub id: SiteId,
    /// Its name.
    pub name: String,
    /// Its clouds' names.
    pub clouds: Vec<String>,
    /// How many hosts it has.
    pub hosts: usize,
}

/// A registration key, shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// The key.
    pub key: String,
}

/// A site to add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddSite {
    /// Its name; unique.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// Minutes that its clocks are ahead of UTC, for windows of time in policies.
    #[serde(default)]
    #[schema(minimum = -840, maximum = 840)]
    pub ahead_minutes: i16,
}

/// How many certificates were revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// How many; none that were revoked before.
    pub certificates: usize,
}
