//! A protection's past: how old its newest point was, and its cycles.

use axum::extract::State;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Answered, Api, asking::Named, names};
use crate::{vault::views, views::HistoryView};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show_history))
}

/// Shows a protection's past: RPO over an hour, a day and a week, and its cycles.
#[utoipa::path(
    get,
    path = "/api/v1/protections/{machine}/history",
    tag = "protections",
    params(("machine" = String, Path, description = "Name or id of a machine.")),
    responses((status = 200, description = "It.", body = HistoryView))
)]
async fn show_history(State(api): State<Api>, Named(name): Named) -> Answered<HistoryView> {
    api.look(move |core, at| names::protection(core, &name).map(|row| views::history(core, row, at))).await
}
