//! Replicas, as hosts report them: listed, and discarded where no protection wants them.

use axum::extract::{Path, State};
use farshore_control::report::ReplicaState;
use farshore_types::{HostId, MachineId};
use farshore_vault::{Command, Core, Problem, ProblemKind};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api, Listed,
    asking::{Key, Params, of_path},
    lists::{Place, list_params},
    names,
};
use crate::{
    vault::{issuer::problem, views},
    views::{Ordered, Page, ReplicaRole, ReplicaView},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_replicas)).routes(routes!(discard_replica))
}

list_params! {
    /// Which replicas are listed.
    ReplicaParams {
        /// Only those on this host.
        host: String,
        /// Only those that are this to their machine's protection.
        #[param(inline)]
        role: ReplicaRole,
    }
}

/// What is allowed in discarding a replica.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiscardParams {
    /// Deletes it though it may be the only copy.
    force: Option<bool>,
}

/// Lists the replicas that hosts report.
///
/// A host that was not heard of since the vault's start is not among them.
#[utoipa::path(
    get,
    path = "/api/v1/replicas",
    tag = "replicas",
    params(ReplicaParams),
    responses((status = 200, description = "A page of them.", body = Page<ReplicaView>))
)]
async fn list_replicas(State(api): State<Api>, Params(params): Params<ReplicaParams>) -> Listed<ReplicaView> {
    api.look(move |core, _| {
        let (part, host) = (params.part(), names::host_id(core, params.host.as_deref())?);
        let seen = core.observed().filter(|seen| host.is_none_or(|host| seen.host == host));
        let rows = seen.flat_map(|seen| seen.report.replicas.iter().map(move |state| (seen.host, state)));
        let rows = rows.filter(|(host, state)| {
            let role = || views::role_of(core, *host, state);
            part.has(&state.name) && params.role.is_none_or(|wanted| role() == wanted)
        });
        part.page(
            rows,
            |(host, state)| Place::between(&state.name, state.machine.0, host.0),
            |(host, state)| Some(views::replica(core, *host, state)),
        )
    })
    .await
}

/// Discards a replica that no protection wants.
///
/// It is deleted with all its points, and nothing brings it back. One that may be the only
/// copy of its machine is refused.
#[utoipa::path(
    delete,
    path = "/api/v1/hosts/{host}/replicas/{machine}",
    tag = "replicas",
    params(
        ("host" = String, Path, description = "Name or id of a host."),
        ("machine" = String, Path, description = "Name or id of a machine."),
        DiscardParams
    ),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn discard_replica(
    State(api): State<Api>,
    key: Key,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    Params(asked): Params<DiscardParams>,
) -> Answered<Ordered> {
    let (host, machine) = of_path(path)?;
    api.order(key, move |core| {
        let host = names::host(core, &host)?.id;
        let machine = replica_of(core, host, &machine)?;
        Ok(Command::DiscardReplica { host, machine, force: asked.force.unwrap_or(false) })
    })
    .await
}

/// The machine whose replica is meant, among those on a host.
fn replica_of(core: &Core, host: HostId, wanted: &str) -> Result<MachineId, Problem> {
    let states = || core.observed_of(host).into_iter().flat_map(|seen| &seen.report.replicas);
    let same = |state: &&ReplicaState| state.name == wanted || state.machine.to_string() == wanted;
    let found: Vec<MachineId> = states().filter(same).map(|state| state.machine).collect();
    match found[..] {
        [one] => Ok(one),
        [] => {
            let mut known: Vec<&str> = states().map(|state| state.name.as_str()).collect();
            known.sort_unstable();
            let advice = match known[..] {
                [] => "it shows no replica: is its agent heard of?".to_owned(),
                _ => format!("it shows those of: {}", known[..known.len().min(10)].join(", ")),
            };
            let what = format!("this host shows no replica of machine '{wanted}'");
            Err(problem(ProblemKind::NotFound, "replica-unknown", what, &advice))
        }
        _ => {
            let what = format!("several replicas on this host are of a machine '{wanted}'");
            Err(problem(ProblemKind::Conflict, "replica-ambiguous", what, "name the machine by its id"))
        }
    }
}
