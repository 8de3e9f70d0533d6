//! Recovery points of a machine, asked of the host that has them. This module must never keep
//! them.

use std::time::Duration;

use axum::extract::State;
use farshore_channel::Json;
use farshore_control::request::{Answer, Ending, PointFacts};
use farshore_protection::{Choice, Operation};
use farshore_types::{MachineId, PointId, RequestId};
use farshore_vault::{Command, Core, Problem, ProblemKind};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, Listed,
    asking::{Named, Params},
    names,
};
use crate::{
    vault::{
        issuer::{problem, refused},
        wall_ms,
    },
    views::{Page, PointView},
};

/// How long a host is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked whether it has answered.
const LOOK: Duration = Duration::from_millis(10);
/// Points of a page, unless asked for otherwise.
const LIMIT: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_points))
}

/// Which points are listed.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PointParams {
    /// Most items of the page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only points that are older than this one: `next` of the page before.
    cursor: Option<String>,
    /// Only those for which the guest's file systems were frozen.
    application: Option<bool>,
}

/// What is asked of a host.
#[derive(Clone, Copy)]
struct Wanted {
    by: Option<Operation>,
    before: Option<PointId>,
    application: bool,
    limit: u32,
}

/// Lists the recovery points of a machine, the newest first.
///
/// The host that has them is asked; where it does not answer within 15 seconds, that is said.
#[utoipa::path(
    get,
    path = "/api/v1/protections/{machine}/points",
    tag = "protections",
    params(("machine" = String, Path, description = "Name or id of a machine."), PointParams),
    responses((status = 200, description = "A page of them.", body = Page<PointView>))
)]
async fn list_points(
    State(api): State<Api>,
    Named(name): Named,
    Params(asked): Params<PointParams>,
) -> Listed<PointView> {
    let before = asked.cursor.as_deref().map(point_of).transpose().map_err(refused)?;
    let wanted = Wanted {
        by: None,
        before,
        application: asked.application.unwrap_or(false),
        limit: asked.limit.unwrap_or(LIMIT),
    };
    let (points, more) = ask(&api, name, wanted).await.map_err(refused)?;
    let now = wall_ms();
    let items: Vec<PointView> = points.into_iter().map(|point| view(point, now)).collect();
    let next = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Page { items, next }))
}

/// What the host says that would bring up a point which an order names: that one and its age, or
/// the next older one that it has. None where none is named, or nothing is said in time: what that
/// comes to is the vault's to decide.
pub(super) async fn told_of(
    api: &Api,
    name: &str,
    operation: Operation,
    choice: Choice,
) -> Option<(PointId, u64)> {
    let (before, application) = match choice {
        Choice::At(point) => (Some(PointId { number: point.number.checked_add(1)?, ..point }), false),
        Choice::LatestApplication => (None, true),
        Choice::Latest | Choice::LatestWhole | Choice::NotBefore(_) | Choice::AsLeft => return None,
    };
    let wanted = Wanted { by: Some(operation), before, application, limit: 1 };
    let (points, _) = ask(api, name.to_owned(), wanted).await.ok()?;
    points.first().map(|point| (point.id, point.age_ms))
}

async fn ask(api: &Api, name: String, wanted: Wanted) -> Result<(Vec<PointFacts>, bool), Problem> {
    let (id, host) = api
        .desk
        .change(move |books| {
            let at = books.at;
            let machine: MachineId = names::protection(books.core, &name)?.machine;
            let Wanted { by, before, application, limit } = wanted;
            let command = Command::AskPoints { machine, by, before, application, limit };
            let id = books.core.run(&command, None, &at)?.id.map(RequestId);
            let host = id.and_then(|id| books.core.request(id)).map(|row| row.host);
            let host = host.and_then(|host| books.core.host(host)).map(|row| row.name.clone());
            Ok((id, host.unwrap_or_default()))
        })
        .await?;
    let Some(id) = id else { return Ok((Vec::new(), false)) };
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        match api.desk.look(move |core: &Core, _, _| core.request(id).map(|row| row.ending.clone())).await? {
            Some(Some(Ending::Done { answer: Answer::Points { points, more } })) => {
                return Ok((points, more));
            }
            Some(Some(Ending::Failed { what, advice })) => {
                return Err(problem(ProblemKind::Unavailable, "points", what, &advice));
            }
            Some(None | Some(Ending::Running { .. })) => sleep(LOOK).await,
            Some(Some(Ending::Done { .. } | Ending::Expired)) | None => break,
        }
    }
    let what = format!("host '{host}' has not told its recovery points in time");
    let advice = "try again, or look there: `farshore-agent points`";
    Err(problem(ProblemKind::Unavailable, "points", what, advice))
}

fn point_of(text: &str) -> Result<PointId, Problem> {
    text.parse().map_err(|_| {
        let what = format!("'{text}' is no recovery point");
        problem(ProblemKind::Invalid, "cursor", what, "use `next` of the page before, or leave it out")
    })
}

fn view(point: PointFacts, now_ms: u64) -> PointView {
    let PointFacts { id, age_ms, consistency, changed, received, pinned_by } = point;
    let captured_ms = now_ms.saturating_sub(age_ms);
    PointView { id, age_ms, captured_ms, consistency, changed, received, pinned_by }
}
