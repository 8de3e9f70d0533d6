//! The stream of events (Server-Sent Events): what has changed, as it does. A listener that
//! was cut off brings the id of the last one that it has heard.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::Response,
};
use bytes::Bytes;
use farshore_channel::Refusal;
use http_body_util::channel::{Channel, Sender};
use tokio::time::timeout;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Api;
use crate::{
    vault::{
        events::{Listener, Since},
        issuer::refused,
    },
    views::EventView,
};

/// How often a word is sent where there is nothing to tell, so that both ends know that the
/// other is there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Longest wait for a listener to take what it is sent.
const SEND_MAX: Duration = Duration::from_secs(20);
/// Parts that are sent and not taken yet.
const UNDER_WAY: usize = 4;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(follow_events))
}

/// Streams events as Server-Sent Events.
///
/// Each has an `id`, an `event` and, as `data`, an EventView. The stream begins with a `reset`:
/// read then what you need. It goes on as long as the connection; one without a certificate ends
/// after a minute, and is taken up again with `Last-Event-ID`. Where what was missed is not known
/// any more, a `reset` says so.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "The last event that was heard.")),
    responses((status = 200, description = "The stream.", body = String, content_type = "text/event-stream"))
)]
async fn follow_events(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Refusal> {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let listener = api.events.listen().await.map_err(refused)?.ok_or_else(|| {
        let advice = "end one that is not needed any more";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "listeners", "too many follow the events", advice)
    })?;
    let (sender, body) = Channel::<Bytes, Infallible>::new(UNDER_WAY);
    tokio::spawn(tell(sender, listener, last));
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Tells until the listener has gone, or the vault stops.
async fn tell(mut sender: Sender<Bytes, Infallible>, mut listener: Listener, mut last: Option<String>) {
    loop {
        let text = next(&mut listener, &mut last);
        let text = if text.is_empty() { ": nothing new\n\n".to_owned() } else { text };
        if !matches!(timeout(SEND_MAX, sender.send_data(Bytes::from(text))).await, Ok(Ok(()))) {
            return;
        }
        if let Ok(false) = timeout(HEARTBEAT, listener.more()).await {
            return;
        }
    }
}

/// What comes after the last event, which is moved on.
fn next(listener: &mut Listener, last: &mut Option<String>) -> String {
    let mut text = String::new();
    match listener.since(last.as_deref()) {
        Since::All(events, now) => {
            for kept in events {
                write_event(&mut text, &kept.id(&now), &kept.event);
            }
            *last = Some(now);
        }
        Since::Lost(now) => {
            let why = match last {
                None => "the stream begins",
                Some(_) => "what came after the last event is not known any more",
            };
            write_event(&mut text, &now, &EventView::Reset { why: why.to_owned() });
            *last = Some(now);
        }
    }
    text
}

fn write_event(text: &mut String, id: &str, event: &EventView) {
    let data = serde_json::to_string(event).unwrap_or_default();
    *text += &format!("id: {id}\nevent: {}\ndata: {data}\n\n", event.kind());
}
