//! Jobs: what goes on and what has ended lately, newest first.

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use farshore_channel::{Json, Refusal};
use farshore_types::{JobId, MachineId};
use farshore_vault::{
    Command, Core,
    rows::{About, JobRow},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{Api, Ordered, caller::Token, commands};
use crate::{
    vault::{issuer::refused, views},
    views::JobView,
};

/// Jobs of an answer, unless asked for otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Most jobs of an answer.
const LIMIT_MAX: usize = 1000;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/jobs", get(list_jobs))
        .route("/api/v1/jobs/{id}", get(show_job))
        .route("/api/v1/jobs/{id}/cancel", post(cancel_job))
}

/// Which jobs are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JobParams {
    /// `open`, `ended`, or a state's word.
    state: Option<String>,
    /// A machine's name or id.
    machine: Option<String>,
    /// Most of them, newest first.
    limit: Option<usize>,
}

const STATES: &str = "open, ended, running, undoing, succeeded, partly, failed, cancelled";

async fn list_jobs(
    State(api): State<Api>,
    _token: Token,
    params: Result<Query<JobParams>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<JobView>>, Refusal> {
    let Query(params) = params.map_err(|error| Refusal::bad_request(error.body_text()))?;
    if let Some(state) = params.state.as_deref().filter(|state| !STATES.split(", ").any(|s| s == *state)) {
        return Err(Refusal::bad_request(format!("no job is '{state}'; use one of: {STATES}")));
    }
    let look = move |core: &Core, at: &farshore_vault::Moment| {
        let limit = params.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
        let machines = params.machine.as_deref().map(|name| machines_named(core, name));
        let wanted = |row: &&JobRow| {
            let state = views::job_state(&row.job);
            let in_state = match params.state.as_deref() {
                None => true,
                Some("open") => state.is_open(),
                Some("ended") => !state.is_open(),
                Some(word) => state.word() == word,
            };
            let of = |ids: &Vec<MachineId>| matches!(row.about, About::Machine(id) if ids.contains(&id));
            in_state && machines.as_ref().is_none_or(of)
        };
        let mut rows: Vec<&JobRow> = core.jobs().filter(wanted).collect();
        rows.sort_unstable_by_key(|row| (std::cmp::Reverse(row.job.created_ms), row.job.id));
        let now = rows.into_iter().take(limit).filter_map(|row| core.job_now(row.job.id, at));
        now.map(|now| views::job(&now)).collect()
    };
    api.desk.look(move |core, _, at| look(core, at)).await.map(Json).map_err(refused)
}

/// Machines by name or id: those that are, and those that were protected.
fn machines_named(core: &Core, name: &str) -> Vec<MachineId> {
    let id = name.parse::<Uuid>().ok().map(MachineId);
    let there = core.machines().filter(|row| row.facts.name == name).map(|row| row.facts.id);
    let known = core.protections().filter(|row| row.name == name).map(|row| row.machine);
    id.into_iter().chain(there).chain(known).collect()
}

async fn show_job(
    State(api): State<Api>,
    _token: Token,
    Path(id): Path<Uuid>,
) -> Result<Json<JobView>, Refusal> {
    let look = move |core: &Core, at: &farshore_vault::Moment| {
        core.job_now(JobId(id), at).map(|now| views::job(&now))
    };
    let found = api.desk.look(move |core, _, at| look(core, at)).await.map_err(refused)?;
    found.map(Json).ok_or_else(|| {
        let what = format!("there is no job {id}");
        let advice = "`farshore job list` lists them; they are kept for a week after their end";
        Refusal::new(StatusCode::NOT_FOUND, "job-unknown", what, advice)
    })
}

async fn cancel_job(
    State(api): State<Api>,
    _token: Token,
    headers: HeaderMap,
    Path(id): Path<Uuid>,
) -> Result<Json<Ordered>, Refusal> {
    commands::order(&api, &headers, Command::CancelJob { job: JobId(id), by: None }).await
}
