//! The public API, under `/api/v1`, for operators and their tools: what there is, and what
//! can be ordered, a module for each noun. Whoever asks brings a token; refusals are problem
//! details (RFC 9457). This module must never decide anything.

mod alerts;
mod caller;
mod clouds;
mod commands;
mod history;
mod hosts;
mod jobs;
mod machines;
mod mappings;
mod policies;
mod protections;
mod sites;
mod status;

use axum::{Router, extract::State};
use farshore_channel::{Json, Refusal};
use farshore_vault::{Core, Moment};

use super::{
    desk::Desk,
    issuer::{Issuer, refused},
    notify::Channels,
};
pub(super) use alerts::AlertFilter;
use caller::Token;

pub use commands::Ordered;

#[derive(Clone)]
pub(super) struct Api {
    desk: Desk,
    issuer: Issuer,
    channels: Channels,
}

/// The routes.
pub(super) fn router(desk: Desk, issuer: Issuer, channels: Channels) -> Router {
    Router::new()
        .merge(alerts::routes())
        .merge(history::routes())
        .merge(status::routes())
        .merge(sites::routes())
        .merge(clouds::routes())
        .merge(hosts::routes())
        .merge(machines::routes())
        .merge(policies::routes())
        .merge(mappings::routes())
        .merge(protections::routes())
        .merge(jobs::routes())
        .merge(commands::routes())
        .with_state(Api { desk, issuer, channels })
}

async fn list<T: Send + 'static>(
    State(api): State<Api>,
    _token: Token,
    view: fn(&Core, &Moment) -> Vec<T>,
) -> Result<Json<Vec<T>>, Refusal> {
    api.desk.look(move |core, _, at| view(core, at)).await.map(Json).map_err(refused)
}
