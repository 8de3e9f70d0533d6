//! Jobs: what goes on and what has ended lately, the newest first.

use axum::extract::State;
use farshore_types::MachineId;
use farshore_vault::{
    Command, Core,
    rows::{About, JobRow},
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    Answered, Api, Listed,
    asking::{Key, Named, Params},
    lists::{Place, list_params},
    names,
};
use crate::{
    vault::views,
    views::{JobState, JobView, Ordered, Page},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_jobs)).routes(routes!(show_job)).routes(routes!(cancel_job))
}

/// How jobs can stand, and two words for several of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum Standing {
    /// They have not ended.
    Open,
    /// They have.
    Ended,
    Running,
    Undoing,
    Succeeded,
    Partly,
    Failed,
    Cancelled,
}

impl Standing {
    fn has(self, state: JobState) -> bool {
        match self {
            Standing::Open => state.is_open(),
            Standing::Ended => !state.is_open(),
            Standing::Running => state == JobState::Running,
            Standing::Undoing => state == JobState::Undoing,
            Standing::Succeeded => state == JobState::Succeeded,
            Standing::Partly => state == JobState::Partly,
            Standing::Failed => state == JobState::Failed,
            Standing::Cancelled => state == JobState::Cancelled,
        }
    }
}

list_params! {
    /// Which jobs are listed.
    JobParams {
        /// Only those that stand so.
        #[param(inline)]
        state: Standing,
        /// Only those about machines of this name or id, also of the past.
        machine: String,
    }
}

/// Lists jobs, the newest first; ended ones are kept for a week.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    tag = "jobs",
    params(JobParams),
    responses((status = 200, description = "A page of them.", body = Page<JobView>))
)]
async fn list_jobs(State(api): State<Api>, Params(params): Params<JobParams>) -> Listed<JobView> {
    api.look(move |core, at| {
        let part = params.part();
        let machines = params.machine.as_deref().map(|name| machines_named(core, name));
        let rows = core.jobs().filter(|row| {
            let of = |ids: &Vec<MachineId>| matches!(row.about, About::Machine(id) if ids.contains(&id));
            params.state.is_none_or(|wanted| wanted.has(views::job_state(&row.job)))
                && machines.as_ref().is_none_or(of)
                && part.has(&row.job.title)
        });
        let place = |row: &&JobRow| Place::newest_first(row.job.created_ms, row.job.id.0);
        part.page(rows, place, |row| core.job_now(row.job.id, at).map(|now| views::job(&now)))
    })
    .await
}

/// Machines by name or id: those that are, and those that were protected.
fn machines_named(core: &Core, name: &str) -> Vec<MachineId> {
    let id = name.parse::<Uuid>().ok().map(MachineId);
    let there = core.machines().filter(|row| row.facts.name == name).map(|row| row.facts.id);
    let known = core.protections().filter(|row| row.name == name).map(|row| row.machine);
    id.into_iter().chain(there).chain(known).collect()
}

/// Shows a job with its steps.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{job}",
    tag = "jobs",
    params(("job" = String, Path, description = "Id of a job.")),
    responses((status = 200, description = "It.", body = JobView))
)]
async fn show_job(State(api): State<Api>, Named(id): Named) -> Answered<JobView> {
    api.look(move |core, at| {
        let id = names::job(core, &id)?;
        core.job_now(id, at).map(|now| views::job(&now)).ok_or_else(|| names::no_job(&id.to_string()))
    })
    .await
}

/// Cancels a job where that is safe; what it did is taken back.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{job}/cancel",
    tag = "jobs",
    params(("job" = String, Path, description = "Id of a job.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn cancel_job(State(api): State<Api>, key: Key, Named(id): Named) -> Answered<Ordered> {
    api.order(key, move |core| Ok(Command::CancelJob { job: names::job(core, &id)?, by: None })).await
}
