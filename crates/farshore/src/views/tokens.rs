//! Tokens of the API. This module must never know a token itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A token of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Until when it is valid, in milliseconds since the Unix epoch; none: until removed.
    pub expires_ms: Option<u64>,
}

/// A token to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddToken {
    /// Its name; unique.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// Until when it is valid, in milliseconds since the Unix epoch; none: until removed.
    #[serde(default)]
    pub expires_ms: Option<u64>,
}
