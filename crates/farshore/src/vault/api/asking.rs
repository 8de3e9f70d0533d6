//! What a request brings: a token, a name in its path, parameters, the key under which it is
//! done once. Whatever is wrong with one of them is told as a problem.

use axum::{
    extract::{FromRequestParts, Path, Query, Request, State, rejection::PathRejection},
    http::{
        StatusCode,
        header::{AUTHORIZATION, HeaderName},
        request::Parts,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use farshore_channel::Refusal;
use serde::de::DeserializeOwned;

use super::Api;
use crate::vault::issuer::refused;

/// Header by which an order that is sent again is known.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Lets through whoever brings a token that holds.
pub(super) async fn let_in(State(api): State<Api>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
    match api.desk.look(move |core, _, at| core.token_of(&shown, at.wall_ms).is_some()).await {
        Ok(true) => next.run(request).await,
        Ok(false) => token_required().into_response(),
        Err(problem) => refused(problem).into_response(),
    }
}

fn token_required() -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        "token-required",
        "this is answered to holders of a token only",
        "sign in: farshore context set --token TOKEN; `farshore token add` makes one",
    )
}

/// What nobody answers: there is no such path.
pub(super) async fn no_such_path(request: Request) -> Response {
    match request.uri().path().starts_with("/api/") {
        true => Refusal::new(
            StatusCode::NOT_FOUND,
            "path-unknown",
            format!("there is nothing at {}", request.uri().path()),
            "see /api/v1/openapi.json for all that there is",
        )
        .into_response(),
        // Not the API's: the channel says what it thinks of it.
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

/// What is there does not take that method.
pub(super) async fn no_such_method(request: Request) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        format!("{} is not possible at {}", request.method(), request.uri().path()),
        "see /api/v1/openapi.json for what is",
    )
}

/// The one name in a path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Refusal> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        name.map(|Path(name)| Named(name)).map_err(|error| {
            let advice = "write it in UTF-8, each byte that is no letter or digit as %XX";
            Refusal::new(StatusCode::BAD_REQUEST, "path", error.body_text(), advice)
        })
    }
}

/// Parameters in a query.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Refusal> {
        let params = Query::<T>::from_request_parts(parts, state).await;
        params.map(|Query(params)| Params(params)).map_err(|error| {
            let advice = "see /api/v1/openapi.json for the parameters that there are";
            Refusal::new(StatusCode::BAD_REQUEST, "query", error.body_text(), advice)
        })
    }
}

/// The parts of a path.
pub(super) fn of_path<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Refusal> {
    let path = path.map_err(|error| {
        let advice = "write it in UTF-8, each byte that is no letter or digit as %XX";
        Refusal::new(StatusCode::BAD_REQUEST, "path", error.body_text(), advice)
    })?;
    Ok(path.0)
}

/// The key under which an order is done once.
#[derive(Clone)]
pub(super) struct Key(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Key, Refusal> {
        let key = parts.headers.get(IDEMPOTENCY_KEY).map(|value| value.to_str().map(str::to_owned));
        key.transpose().map(Key).map_err(|_| {
            let what = "the idempotency key has characters that are not plain ASCII";
            Refusal::new(StatusCode::BAD_REQUEST, "idempotency-key", what, "use a UUID")
        })
    }
}
