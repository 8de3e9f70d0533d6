//! Mappings of networks and storage classes. This module must never know where they come from.

use serde::{Deserialize, Serialize};

/// A mapping of a network or a storage class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingView {
    /// `network` or `storage`.
    pub of: String,
    /// Site where machines come from.
    pub from_site: String,
    /// The name there.
    pub from: String,
    /// Site where replicas are.
    pub to_site: String,
    /// The name here.
    pub to: String,
}
