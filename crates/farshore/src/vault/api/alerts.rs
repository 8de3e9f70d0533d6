//! Alerts: looked up, taken note of, and a test of who is told.

use axum::{
    Router,
    extract::{Path, Query, State},
    routing::{get, post},
};
use farshore_channel::{Json, Refusal};
use serde::Deserialize;
use uuid::Uuid;

use super::{Api, caller::Token};
use crate::{
    vault::{Tested, issuer::refused, views},
    views::AlertView,
};

/// Which alerts are wanted; all that is said must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::vault) struct AlertFilter {
    /// `open`, `resolved` or `all`; open ones where nothing is said.
    pub(in crate::vault) state: Option<String>,
    /// `warning` or `critical`.
    pub(in crate::vault) level: Option<String>,
    /// The reason's code.
    pub(in crate::vault) code: Option<String>,
    /// `protection`, `host` or `site`.
    pub(in crate::vault) of: Option<String>,
    /// Name or id of what it is about.
    pub(in crate::vault) about: Option<String>,
    /// Whether somebody has taken note.
    pub(in crate::vault) acknowledged: Option<bool>,
}

/// Who takes note.
#[derive(Clone, Debug, Default, Deserialize)]
struct Note {
    #[serde(default)]
    by: String,
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/alerts", get(list))
        .route("/api/v1/alerts/test", post(test))
        .route("/api/v1/alerts/{id}", get(show))
        .route("/api/v1/alerts/{id}/acknowledge", post(acknowledge))
}

async fn list(
    State(api): State<Api>,
    _token: Token,
    filter: Result<Query<AlertFilter>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<AlertView>>, Refusal> {
    let Query(filter) = filter.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let found = api.desk.look(move |core, _, _| views::alerts(core, &filter)).await.map_err(refused)?;
    found.map(Json).map_err(Refusal::bad_request)
}

async fn show(
    State(api): State<Api>,
    _token: Token,
    Path(id): Path<Uuid>,
) -> Result<Json<AlertView>, Refusal> {
    let found = api.desk.look(move |core, _, _| views::alert(core, id)).await;
    found.and_then(std::convert::identity).map(Json).map_err(refused)
}

async fn acknowledge(
    State(api): State<Api>,
    _token: Token,
    Path(id): Path<Uuid>,
    Json(note): Json<Note>,
) -> Result<Json<AlertView>, Refusal> {
    let take = move |books: &mut crate::vault::desk::Books<'_>| {
        let at = books.at;
        books.core.acknowledge(id, &note.by, &at)?;
        views::alert(books.core, id)
    };
    api.desk.change(take).await.map(Json).map_err(refused)
}

async fn test(State(api): State<Api>, _token: Token) -> Result<Json<Vec<Tested>>, Refusal> {
    Ok(Json(api.channels.test().await))
}
