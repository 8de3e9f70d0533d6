//! The document of the API, OpenAPI 3.1: what the handlers say of themselves, and what holds
//! for all of them. `docs/openapi.json` is this, and a test compares.

use axum::{
    body::Body,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, InfoBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::Type,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use super::open;
use crate::views::{EventView, ProblemView};

/// What every operation may answer instead: status and when.
const REFUSALS: [(&str, &str); 4] = [
    ("400", "The request cannot be read: its body, a parameter, a header."),
    ("401", "There is no token, or one that does not hold."),
    ("422", "What it says is read, and makes no sense: a value out of its range."),
    ("503", "It cannot be done now: the vault is starting, stopping, learning, or cannot write."),
];

#[derive(OpenApi)]
#[openapi(components(schemas(ProblemView, EventView)))]
struct Base;

/// The document, as JSON for people to read.
#[must_use]
pub fn document() -> String {
    let mut all = Base::openapi();
    all.merge(open().into_openapi());
    all.info = InfoBuilder::new()
        .title("Farshore")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The vault's public API. What is named in a path or a field is named by its name or its id. \
             Lists are in the order of names, jobs and alerts the newest first, a page at a time. Every refusal is a problem (RFC 9457) with \
             a code for programs, and changed nothing.",
        ))
        .build();
    all.servers = None;
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    all.components.get_or_insert_default().add_security_scheme("token", scheme);
    all.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    for (path, item) in &mut all.paths.paths {
        let named = path.contains('{');
        for operation in [&mut item.get].into_iter().flatten() {
            finish(operation, named, false);
        }
        let writing = [&mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in writing.into_iter().flatten() {
            finish(operation, named, true);
        }
    }
    let mut text = serde_json::to_string_pretty(&all).unwrap_or_default();
    text.push('\n');
    text
}

/// What holds for all operations.
fn finish(operation: &mut Operation, named: bool, writes: bool) {
    for (status, when) in REFUSALS {
        refusal(operation, status, when);
    }
    let described = operation.request_body.is_some() || operation.parameters.is_some();
    if named || described {
        refusal(operation, "404", "There is nothing of that name or id.");
        refusal(operation, "409", "Several have that name, or something else stands against it: see `code`.");
    }
    if writes {
        refusal(operation, "403", "It is not allowed as things are: see `code` and `findings`.");
        let key = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some(
                "Sent again under the same key within a day, it is not done again, and the answer is that of \
                 before (without secrets). Another request under the same key is refused.",
            ))
            .schema(Some(
                ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(128)),
            ))
            .build();
        operation.parameters.get_or_insert_default().push(RefOr::T(key));
    }
    if operation.request_body.is_some() {
        refusal(operation, "413", "The body is too large.");
        refusal(operation, "408", "The body did not arrive in time.");
    }
}

fn refusal(operation: &mut Operation, status: &str, when: &str) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(when).content("application/problem+json", problem);
    operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response.build()));
}

/// Answers with the document; to anybody, since it is in every copy of the program.
pub(super) async fn answer() -> Response {
    static DOCUMENT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let mut response = Body::from(DOCUMENT.get_or_init(document).as_str()).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
