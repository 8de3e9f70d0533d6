//! Tokens of the API.

use axum::extract::State;
use farshore_channel::Json;
use farshore_vault::{Command, rows::TokenRow};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api, Listed,
    asking::{Key, Named, Params},
    lists::{Place, list_params},
    names,
};
use crate::views::{AddToken, Ordered, Page, TokenView};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_tokens, add_token))
        .routes(routes!(remove_token))
        .routes(routes!(confirm_token))
}

list_params! {
    /// Which tokens are listed.
    TokenParams {}
}

/// Lists the tokens of the API; none is shown.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    tag = "tokens",
    params(TokenParams),
    responses((status = 200, description = "A page of them.", body = Page<TokenView>))
)]
async fn list_tokens(State(api): State<Api>, Params(params): Params<TokenParams>) -> Listed<TokenView> {
    api.look(move |core, _| {
        let part = params.part();
        let view = |row: &&TokenRow| {
            let TokenRow { id, name, created_ms, expires_ms, .. } = (*row).clone();
            Some(TokenView { id, name, created_ms, expires_ms })
        };
        let rows = core.tokens().filter(|row| part.has(&row.name));
        part.page(rows, |row| Place::new(&row.name, row.id), view)
    })
    .await
}

/// Makes a token of the API; it is shown this once.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    tag = "tokens",
    request_body = AddToken,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn add_token(State(api): State<Api>, key: Key, Json(asked): Json<AddToken>) -> Answered<Ordered> {
    api.order(key, move |_| Ok(Command::AddToken { name: asked.name, expires_ms: asked.expires_ms })).await
}

/// Removes a token; it is refused from then on.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{token}",
    tag = "tokens",
    params(("token" = String, Path, description = "Name or id of a token.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn remove_token(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| Ok(Command::RemoveToken { token: names::token(core, &name)?.id })).await
}

/// Lets a token that came out of a backup hold again.
#[utoipa::path(
    post,
    path = "/api/v1/tokens/{token}/confirmation",
    tag = "tokens",
    params(("token" = String, Path, description = "Name or id of a token.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn confirm_token(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| Ok(Command::ConfirmToken { name: names::token(core, &name)?.name.clone() }))
        .await
}
