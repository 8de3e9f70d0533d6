//! What is answered instead of what was asked for: a status and a [`Problem`], so that
//! programs read a code and people what to do.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use farshore_control::report::Problem;
use farshore_pki::RegistrationError;

/// Media type of a refusal's body.
pub(crate) const PROBLEM_TYPE: &str = "application/problem+json";

/// An answer that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP's status.
    pub status: StatusCode,
    /// What is wrong, and what to do.
    pub problem: Problem,
}

impl Refusal {
    /// A refusal of this status.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: &str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Refusal {
        Refusal {
            status,
            problem: Problem { code: code.to_owned(), what: what.into(), advice: advice.into() },
        }
    }

    /// Something asked for cannot be.
    #[must_use]
    pub fn bad_request(what: impl Into<String>) -> Refusal {
        let advice = "this is a fault of the asking program: update it, or report it";
        Refusal::new(StatusCode::BAD_REQUEST, "bad-request", what, advice)
    }

    /// It cannot be answered now; the asker tries again.
    #[must_use]
    pub fn unavailable(what: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", what, "it is tried again by itself")
    }

    pub(crate) fn certificate_required() -> Refusal {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "certificate-required",
            "this is answered to members with a certificate only",
            "enrol with a registration key first",
        )
    }

    pub(crate) fn too_large(max: usize) -> Refusal {
        let what = format!("the body has more than {max} bytes");
        let advice = "this is a fault of the asking program: update it, or report it";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", what, advice)
    }

    pub(crate) fn too_slow() -> Refusal {
        let what = "the body did not arrive in time";
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "too-slow", what, "check the network between the two hosts")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        response
    }
}

impl From<RegistrationError> for Refusal {
    fn from(error: RegistrationError) -> Refusal {
        let code = match &error {
            RegistrationError::Unknown => "registration-unknown",
            RegistrationError::WrongSecret => "registration-secret",
            RegistrationError::WrongRole { .. } => "registration-role",
            RegistrationError::Expired { .. } => "registration-expired",
            RegistrationError::NotYetValid { .. } => "registration-not-yet-valid",
            RegistrationError::Used { .. } => "registration-used",
            RegistrationError::Withdrawn => "registration-withdrawn",
        };
        let text = error.to_string();
        let (what, advice) = text.split_once(": ").unwrap_or((&text, "make a new registration key"));
        Refusal::new(StatusCode::FORBIDDEN, code, what, advice)
    }
}
