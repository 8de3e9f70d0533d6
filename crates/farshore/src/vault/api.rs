//! The public API, under `/api/v1`, for operators and their tools: what there is, and one
//! place to order what is wanted. Whoever asks brings a token; refusals are problem details
//! (RFC 9457). This module must never decide anything.

use axum::{
    Router,
    extract::{FromRequestParts, Path, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts},
    routing::{get, post},
};
use farshore_channel::{Json, Refusal};
use farshore_pki::Role;
use farshore_types::{HostId, SiteId};
use farshore_vault::{Answer, Command, Core, Enable, Finding, Moment};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    desk::Desk,
    issuer::{Issuer, refused},
    views,
};
use crate::views::*;

/// Header by which an order that is sent again is known.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Clone)]
pub(super) struct Api {
    desk: Desk,
    issuer: Issuer,
}

/// What an order came to; a new token is told here, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ordered {
    /// What was made and what people should know.
    #[serde(flatten)]
    pub answer: Answer,
    /// A new token of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The routes.
pub(super) fn router(desk: Desk, issuer: Issuer) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route(
            "/api/v1/sites",
            get(|api: State<Api>, key: Token| list(api, key, |core, _| views::sites(core))),
        )
        .route(
            "/api/v1/clouds",
            get(|api: State<Api>, key: Token| list(api, key, |core, _| views::clouds(core))),
        )
        .route("/api/v1/hosts", get(|api: State<Api>, key: Token| list(api, key, views::hosts)))
        .route(
            "/api/v1/machines",
            get(|api: State<Api>, key: Token| list(api, key, |core, _| views::machines(core))),
        )
        .route(
            "/api/v1/policies",
            get(|api: State<Api>, key: Token| list(api, key, |core, _| views::policies(core))),
        )
        .route(
            "/api/v1/mappings",
            get(|api: State<Api>, key: Token| list(api, key, |core, _| views::mappings(core))),
        )
        .route("/api/v1/protections", get(|api: State<Api>, key: Token| list(api, key, views::protections)))
        .route("/api/v1/preflight", post(preflight))
        .route("/api/v1/commands", post(command))
        .route("/api/v1/sites/{site}/registration", post(register))
        .route("/api/v1/sites/{site}/revocation", post(revoke_site))
        .route("/api/v1/hosts/{host}/revocation", post(revoke_host))
        .with_state(Api { desk, issuer })
}

/// That who asks brought a token that holds.
pub(super) struct Token;

impl FromRequestParts<Api> for Token {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Token, Refusal> {
        let shown = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
        let known = api.desk.look(move |core, _, at| core.token_of(&shown, at.wall_ms).is_some()).await;
        match known.map_err(refused)? {
            true => Ok(Token),
            false => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "token-required",
                "this is answered to holders of a token only",
                "sign in: farshore context set --token TOKEN; `farshore token add` makes one",
            )),
        }
    }
}

async fn status(State(api): State<Api>, _token: Token) -> Result<Json<StatusView>, Refusal> {
    let uptime = api.desk.uptime().as_secs();
    api.desk.look(move |core, _, at| views::status(core, at, uptime)).await.map(Json).map_err(refused)
}

async fn list<T: Send + 'static>(
    State(api): State<Api>,
    _token: Token,
    view: fn(&Core, &Moment) -> Vec<T>,
) -> Result<Json<Vec<T>>, Refusal> {
    api.desk.look(move |core, _, at| view(core, at)).await.map(Json).map_err(refused)
}

async fn preflight(
    State(api): State<Api>,
    _token: Token,
    Json(enable): Json<Enable>,
) -> Result<Json<Vec<Finding>>, Refusal> {
    api.desk.look(move |core, _, at| core.preflight(&enable, at)).await.map(Json).map_err(refused)
}

async fn command(
    State(api): State<Api>,
    _token: Token,
    headers: HeaderMap,
    Json(command): Json<Command>,
) -> Result<Json<Ordered>, Refusal> {
    if matches!(command, Command::SetTrust { .. }) {
        return Err(Refusal::bad_request("whom to trust is not ordered, it follows from revocations"));
    }
    let key = headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let run = move |books: &mut super::desk::Books<'_>| {
        let at = books.at;
        books.core.run(&command, key.as_deref(), &at)
    };
    let mut answer = api.desk.change(run).await.map_err(refused)?;
    let token = answer.secret.take();
    Ok(Json(Ordered { answer, token }))
}

async fn register(
    State(api): State<Api>,
    _token: Token,
    Path(site): Path<Uuid>,
) -> Result<Json<KeyView>, Refusal> {
    let key = api.issuer.register_site(SiteId(site)).await.map_err(refused)?;
    Ok(Json(KeyView { key: key.reveal().to_string() }))
}

async fn revoke_site(
    State(api): State<Api>,
    _token: Token,
    Path(site): Path<Uuid>,
) -> Result<Json<usize>, Refusal> {
    api.issuer.revoke(Role::Site, SiteId(site).0).await.map(Json).map_err(refused)
}

async fn revoke_host(
    State(api): State<Api>,
    _token: Token,
    Path(host): Path<Uuid>,
) -> Result<Json<usize>, Refusal> {
    api.issuer.revoke(Role::Host, HostId(host).0).await.map(Json).map_err(refused)
}
