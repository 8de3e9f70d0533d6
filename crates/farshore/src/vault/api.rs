//! The public API, under `/api/v1`, for operators and their tools: what there is, and what
//! can be ordered, a module for each noun. Whoever asks brings a token; refusals are problem
//! details (RFC 9457). A new noun is a module with `routes()`, and a line in [`open`]; the
//! document is made of what the handlers say. This module must never decide anything.

mod addresses;
mod alerts;
mod asking;
mod clouds;
mod document;
mod events;
mod history;
mod hosts;
mod jobs;
mod lists;
mod machines;
mod mappings;
mod names;
mod operations;
mod points;
mod policies;
mod protections;
mod replicas;
mod sites;
mod status;
mod tokens;

#[cfg(test)]
mod tests;

use axum::{Router, middleware::from_fn_with_state, routing::get};
use farshore_channel::{Json, Refusal};
use farshore_vault::{Answer, Command, Core, Moment, Problem};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use super::{
    desk::{Books, Desk},
    events::Events,
    issuer::{Issuer, refused},
    notify::Channels,
};
use crate::views::{Ordered, Page};

pub use document::document;

#[derive(Clone)]
pub(super) struct Api {
    desk: Desk,
    issuer: Issuer,
    channels: Channels,
    events: Events,
}

/// An answer, or a problem.
type Answered<T> = Result<Json<T>, Refusal>;
/// A page of a list, or a problem.
type Listed<T> = Answered<Page<T>>;

/// All that is answered to holders of a token.
fn open() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(status::routes())
        .merge(sites::routes())
        .merge(clouds::routes())
        .merge(hosts::routes())
        .merge(machines::routes())
        .merge(policies::routes())
        .merge(mappings::routes())
        .merge(protections::routes())
        .merge(operations::routes())
        .merge(points::routes())
        .merge(addresses::routes())
        .merge(replicas::routes())
        .merge(jobs::routes())
        .merge(alerts::routes())
        .merge(history::routes())
        .merge(tokens::routes())
        .merge(events::routes())
}

/// The routes.
pub(super) fn router(desk: Desk, issuer: Issuer, channels: Channels, stop: CancellationToken) -> Router {
    let events = Events::new(desk.clone(), stop);
    let api = Api { desk, issuer, channels, events };
    let (routes, _) = open().split_for_parts();
    routes
        .route_layer(from_fn_with_state(api.clone(), asking::let_in))
        .route("/api/v1/openapi.json", get(document::answer))
        .method_not_allowed_fallback(asking::no_such_method)
        .fallback(asking::no_such_path)
        .with_state(api)
}

impl Api {
    /// Looks at what is durable.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core, &Moment) -> Result<T, Problem> + Send + 'static,
    ) -> Answered<T> {
        let found = self.desk.look(move |core, _, at| look(core, at)).await;
        found.and_then(std::convert::identity).map(Json).map_err(refused)
    }

    /// Orders something. Names become ids in the same turn in which it is done, so nothing
    /// changes between. What was done under the key is not done again, even where the name
    /// that it was ordered by is gone by now.
    async fn order(
        &self,
        asking::Key(key): asking::Key,
        command: impl FnOnce(&Core) -> Result<Command, Problem> + Send + 'static,
    ) -> Answered<Ordered> {
        let run = move |books: &mut Books<'_>| {
            let at = books.at;
            match command(books.core) {
                Ok(command) => books.core.run(&command, key.as_deref(), &at),
                Err(problem) => key.and_then(|key| done_before(books.core, &key)).ok_or(problem),
            }
        };
        self.desk.change(run).await.map(|answer| Json(ordered(answer))).map_err(refused)
    }
}

fn done_before(core: &Core, key: &str) -> Option<Answer> {
    core.operation(key.to_owned()).map(|row| row.answer.clone())
}

fn ordered(answer: Answer) -> Ordered {
    let Answer { id, changed, warnings, jobs, secret } = answer;
    Ordered { id, changed, warnings, jobs, token: secret }
}
