//! A protection's past: how old its newest point was, and its cycles.

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use farshore_channel::{Json, Refusal};
use farshore_types::MachineId;
use uuid::Uuid;

use super::{Api, caller::Token};
use crate::{
    vault::{issuer::refused, views},
    views::HistoryView,
};

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/api/v1/protections/{machine}/history", get(show))
}

async fn show(
    State(api): State<Api>,
    _token: Token,
    Path(machine): Path<Uuid>,
) -> Result<Json<HistoryView>, Refusal> {
    let found = api.desk.look(move |core, _, at| views::history(core, MachineId(machine), at)).await;
    found.and_then(std::convert::identity).map(Json).map_err(refused)
}
