//! Mappings.

use axum::{Router, routing::get};

use super::{Api, caller::Token, list};
use crate::vault::views;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/mappings", get(|api, key: Token| list(api, key, |core, _| views::mappings(core))))
}
