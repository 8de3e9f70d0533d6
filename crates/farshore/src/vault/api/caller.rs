//! Who asks: whoever brings a token that holds.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
};
use farshore_channel::Refusal;

use super::Api;
use crate::vault::issuer::refused;

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
