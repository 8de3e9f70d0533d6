//! The vault as a whole.

use axum::extract::State;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Answered, Api};
use crate::{vault::views, views::StatusView};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show_status))
}

/// Shows the vault as a whole.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "status",
    responses((status = 200, description = "It.", body = StatusView))
)]
async fn show_status(State(api): State<Api>) -> Answered<StatusView> {
    let uptime = api.desk.uptime().as_secs();
    let problems = api.issuer.standing().problems();
    api.look(move |core, at| {
        let mut status = views::status(core, at, uptime);
        status.problems.extend(problems);
        Ok(status)
    })
    .await
}
