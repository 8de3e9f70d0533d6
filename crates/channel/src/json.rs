//! Typed JSON in requests and answers. Fields that are not known are passed over: the other
//! side may be newer.

use std::error::Error;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Refusal, body::BodyFault};

/// A value as JSON: extractor of a request's body, and answer.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Json<T>, Refusal> {
        let body = request.into_body().collect().await.map_err(|error| unread(&error))?.to_bytes();
        serde_json::from_slice(&body)
            .map(Json)
            .map_err(|error| Refusal::bad_request(format!("the body is not what was expected: {error}")))
    }
}

/// A refusal for a body that could not be read.
fn unread(error: &(dyn Error + 'static)) -> Refusal {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<BodyFault>() {
            Some(BodyFault::TooLarge { max }) => return Refusal::too_large(*max),
            Some(BodyFault::TooSlow) => return Refusal::too_slow(),
            Some(BodyFault::Broken) => break,
            None => cause = error.source(),
        }
    }
    Refusal::bad_request("the connection broke within the body")
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let mut response = Response::new(Body::from(body));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(error) => {
                Refusal::unavailable(format!("the answer cannot be written: {error}")).into_response()
            }
        }
    }
}
