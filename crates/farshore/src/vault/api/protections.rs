//! Protections, and what stands against one.

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use farshore_channel::{Json, Refusal};
use farshore_vault::{Enable, Finding};

use super::{Api, caller::Token, list};
use crate::vault::{issuer::refused, views};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/protections", get(|api, key: Token| list(api, key, views::protections)))
        .route("/api/v1/preflight", post(preflight))
}

async fn preflight(
    State(api): State<Api>,
    _token: Token,
    Json(enable): Json<Enable>,
) -> Result<Json<Vec<Finding>>, Refusal> {
    api.desk.look(move |core, _, at| core.preflight(&enable, at)).await.map(Json).map_err(refused)
}
