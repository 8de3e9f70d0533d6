//! Sites, and the servers of sites.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use farshore_channel::{Json, Refusal};
use farshore_pki::Role;
use farshore_types::SiteId;
use uuid::Uuid;

use super::{Api, caller::Token, list};
use crate::{
    vault::{issuer::refused, views},
    views::KeyView,
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/sites", get(|api, key: Token| list(api, key, |core, _| views::sites(core))))
        .route("/api/v1/sites/{site}/registration", post(register))
        .route("/api/v1/sites/{site}/host-registration", post(register_host))
        .route("/api/v1/sites/{site}/revocation", post(revoke_site))
}

async fn register(
    State(api): State<Api>,
    _token: Token,
    Path(site): Path<Uuid>,
) -> Result<Json<KeyView>, Refusal> {
    let key = api.issuer.register_site(SiteId(site)).await.map_err(refused)?;
    Ok(Json(KeyView { key: key.reveal().to_string() }))
}

async fn register_host(
    State(api): State<Api>,
    _token: Token,
    Path(site): Path<Uuid>,
) -> Result<Json<KeyView>, Refusal> {
    let key = api.issuer.register_host(SiteId(site)).await.map_err(refused)?;
    Ok(Json(KeyView { key: key.reveal().to_string() }))
}

async fn revoke_site(
    State(api): State<Api>,
    _token: Token,
    Path(site): Path<Uuid>,
) -> Result<Json<usize>, Refusal> {
    api.issuer.revoke(Role::Site, SiteId(site).0).await.map(Json).map_err(refused)
}
