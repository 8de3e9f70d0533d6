//! Clouds. This module must never know where they come from.

use farshore_types::CloudId;
use serde::{Deserialize, Serialize};

/// A cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
