//! One place to order what is wanted.

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use farshore_channel::{Json, Refusal};
use farshore_vault::{Answer, Command};
use serde::{Deserialize, Serialize};

use super::{Api, caller::Token};
use crate::vault::{desk::Books, issuer::refused};

/// Header by which an order that is sent again is known.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

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

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/api/v1/commands", post(command))
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
    order(&api, &headers, command).await
}

/// Orders something, once under the key that comes with it.
pub(super) async fn order(
    api: &Api,
    headers: &HeaderMap,
    command: Command,
) -> Result<Json<Ordered>, Refusal> {
    let key = headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let run = move |books: &mut Books<'_>| {
        let at = books.at;
        books.core.run(&command, key.as_deref(), &at)
    };
    let mut answer = api.desk.change(run).await.map_err(refused)?;
    let token = answer.secret.take();
    Ok(Json(Ordered { answer, token }))
}
