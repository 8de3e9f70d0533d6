//! The vault as a whole.

use axum::{Router, extract::State, routing::get};
use farshore_channel::{Json, Refusal};

use super::{Api, caller::Token};
use crate::{
    vault::{issuer::refused, views},
    views::StatusView,
};

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/api/v1/status", get(status))
}

async fn status(State(api): State<Api>, _token: Token) -> Result<Json<StatusView>, Refusal> {
    let uptime = api.desk.uptime().as_secs();
    let view = api.desk.look(move |core, _, at| views::status(core, at, uptime)).await.map_err(refused)?;
    Ok(Json(StatusView { problems: api.issuer.standing().problems(), ..view }))
}
