//! Mappings of networks and storage classes. This module must never know where they come from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A mapping of a network or a storage class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MappingView {
    /// Of what.
    pub of: Mapped,
    /// Site where machines come from.
    pub from_site: String,
    /// The name there.
    pub from: String,
    /// Site where replicas are.
    pub to_site: String,
    /// The name here.
    pub to: String,
}

/// What can be mapped.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mapped {
    /// A network.
    Network,
    /// A storage class.
    Storage,
}

impl Mapped {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Mapped::Network => "network",
            Mapped::Storage => "storage",
        }
    }
}
