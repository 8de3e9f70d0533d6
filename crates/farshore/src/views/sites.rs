//! Sites, and the keys by which their servers enrol. This module must never know where they come from.

use farshore_types::SiteId;
use serde::{Deserialize, Serialize};

/// A site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// The key.
    pub key: String,
}
