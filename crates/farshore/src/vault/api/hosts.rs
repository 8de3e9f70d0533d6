//! Hosts.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use farshore_channel::{Json, Refusal};
use farshore_pki::Role;
use farshore_types::HostId;
use uuid::Uuid;

use super::{Api, caller::Token, list};
use crate::vault::{issuer::refused, views};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/hosts", get(|api, key: Token| list(api, key, views::hosts)))
        .route("/api/v1/hosts/{host}/revocation", post(revoke_host))
}

async fn revoke_host(
    State(api): State<Api>,
    _token: Token,
    Path(host): Path<Uuid>,
) -> Result<Json<usize>, Refusal> {
    api.issuer.revoke(Role::Host, HostId(host).0).await.map(Json).map_err(refused)
}
