//! Alerts, the newest first: looked up, taken note of, and a test of who is told.

use axum::extract::State;
use farshore_channel::Json;
use farshore_health::{Level, Subject};
use farshore_vault::{ProblemKind, rows::AlertRow};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api, Listed,
    asking::{Named, Params},
    lists::{Place, list_params},
    names,
};
use crate::{
    vault::{
        Tested,
        desk::Books,
        issuer::{problem, refused},
        views,
    },
    views::{AlertView, Noted, Page},
};

/// Longest name of who takes note, in bytes.
const BY_MAX: usize = 128;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_alerts))
        .routes(routes!(test_alerts))
        .routes(routes!(show_alert))
        .routes(routes!(acknowledge_alert))
}

/// How alerts can stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum AlertState {
    /// What is wrong goes on.
    #[default]
    Open,
    /// It is over.
    Resolved,
    /// Either.
    All,
}

/// What alerts are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum AlertOf {
    Protection,
    Host,
    Site,
}

list_params! {
    /// Which alerts are listed; all that is said must hold.
    AlertParams {
        /// Only those that stand so; open ones where nothing is said.
        #[param(inline)]
        state: AlertState,
        /// Only those that are so bad.
        #[param(inline)]
        level: Level,
        /// Only those with this code.
        code: String,
        /// Only those about such a thing.
        #[param(inline)]
        of: AlertOf,
        /// Only those about what has this name or id.
        about: String,
        /// Only those of which somebody has, or has not, taken note.
        acknowledged: bool,
    }
}

impl AlertParams {
    fn lets_through(&self, row: &AlertRow) -> bool {
        let (of, id) = match row.subject {
            Subject::Protection(id) => (AlertOf::Protection, id.0),
            Subject::Host(id) => (AlertOf::Host, id.0),
            Subject::Site(id) => (AlertOf::Site, id.0),
        };
        let in_state = match self.state.unwrap_or_default() {
            AlertState::Open => row.is_open(),
            AlertState::Resolved => !row.is_open(),
            AlertState::All => true,
        };
        in_state
            && self.level.is_none_or(|level| row.reason.level == level)
            && self.code.as_ref().is_none_or(|code| row.reason.code == *code)
            && self.of.is_none_or(|wanted| wanted == of)
            && self.about.as_ref().is_none_or(|about| *about == row.name || *about == id.to_string())
            && self.acknowledged.is_none_or(|wanted| wanted == row.acknowledged.is_some())
    }
}

/// Lists alerts, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/alerts",
    tag = "alerts",
    params(AlertParams),
    responses((status = 200, description = "A page of them.", body = Page<AlertView>))
)]
async fn list_alerts(State(api): State<Api>, Params(params): Params<AlertParams>) -> Listed<AlertView> {
    api.look(move |core, _| {
        let part = params.part();
        let rows = core.alerts().filter(|row| part.has(&row.name) && params.lets_through(row));
        let place = |row: &&AlertRow| Place::newest_first(row.raised_ms, row.id);
        part.page(rows, place, |row| Some(views::alert(core, row)))
    })
    .await
}

/// Shows an alert.
#[utoipa::path(
    get,
    path = "/api/v1/alerts/{alert}",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id of an alert.")),
    responses((status = 200, description = "It.", body = AlertView))
)]
async fn show_alert(State(api): State<Api>, Named(id): Named) -> Answered<AlertView> {
    api.look(move |core, _| names::alert(core, &id).map(|row| views::alert(core, row))).await
}

/// Takes note of an alert: it stays open until what is wrong is over.
///
/// Who took note first stays named.
#[utoipa::path(
    post,
    path = "/api/v1/alerts/{alert}/acknowledge",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id of an alert.")),
    request_body = Noted,
    responses((status = 200, description = "It.", body = AlertView))
)]
async fn acknowledge_alert(
    State(api): State<Api>,
    Named(id): Named,
    Json(noted): Json<Noted>,
) -> Answered<AlertView> {
    let take = move |books: &mut Books<'_>| {
        if noted.by.len() > BY_MAX {
            let what = format!("'by' has {} bytes", noted.by.len());
            return Err(problem(ProblemKind::Invalid, "by", what, "use 128 at most"));
        }
        let at = books.at;
        let id = names::alert(books.core, &id)?.id;
        books.core.acknowledge(id, &noted.by, &at)?;
        names::alert(books.core, &id.to_string()).map(|row| views::alert(books.core, row))
    };
    api.desk.change(take).await.map(Json).map_err(refused)
}

/// Sends a test message by every channel, and tells what became of it.
#[utoipa::path(
    post,
    path = "/api/v1/alerts/test",
    tag = "alerts",
    responses((status = 200, description = "Every channel's result.", body = Vec<Tested>))
)]
async fn test_alerts(State(api): State<Api>) -> Answered<Vec<Tested>> {
    Ok(Json(api.channels.test().await))
}
