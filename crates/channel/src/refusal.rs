//! What is answered instead of what was asked for: a status and problem details (RFC 9457),
//! so that programs read a code and people what to do.

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use farshore_control::report::Problem;
use farshore_pki::RegistrationError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Media type of a refusal's body.
pub(crate) const PROBLEM_TYPE: &str = "application/problem+json";

/// An answer that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP's status.
    pub status: StatusCode,
    /// What is wrong, and what to do.
    pub problem: Problem,
    /// Each thing that was found, where there is more than one; as the answerer writes them.
    pub findings: Vec<Value>,
}

/// Problem details as they travel. Whoever reads is content with less.
#[derive(Serialize, Deserialize)]
pub(crate) struct ProblemDetails {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    status: u16,
    detail: String,
    code: String,
    #[serde(default)]
    advice: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<Value>,
}

impl ProblemDetails {
    fn of(refusal: &Refusal) -> ProblemDetails {
        let Problem { code, what, advice } = refusal.problem.clone();
        ProblemDetails {
            r#type: format!("urn:farshore:problem:{code}"),
            title: refusal.status.canonical_reason().unwrap_or("Problem").to_owned(),
            status: refusal.status.as_u16(),
            detail: what,
            code,
            advice,
            findings: refusal.findings.clone(),
        }
    }

    /// What is wrong, and each thing that was found.
    pub(crate) fn into_problem(self) -> (Problem, Vec<Value>) {
        (Problem { code: self.code, what: self.detail, advice: self.advice }, self.findings)
    }
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
            findings: Vec::new(),
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
        let body = serde_json::to_vec(&ProblemDetails::of(&self)).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
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
