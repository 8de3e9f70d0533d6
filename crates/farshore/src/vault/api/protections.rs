//! Protections, and what stands against one.

use std::collections::HashSet;

use axum::extract::State;
use farshore_channel::Json;
use farshore_health::Level;
use farshore_policy::OnDisable;
use farshore_types::{CloudId, HostId, MachineId};
use farshore_vault::{
    Command, Core, Enable, Finding, Problem, ProblemKind,
    rows::{ProtectionRow, Role},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api, Listed,
    asking::{Key, Named, Params},
    lists::{Place, list_params},
    names,
};
use crate::{
    vault::{issuer::problem, views},
    views::{EnableMachines, MoveTo, Ordered, Page, ProtectionState, ProtectionView},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_protections, enable_protections))
        .routes(routes!(check_protections))
        .routes(routes!(show_protection, disable_protection))
        .routes(routes!(pause_protection))
        .routes(routes!(resume_protection))
        .routes(routes!(resync_protection))
        .routes(routes!(move_protection))
        .routes(routes!(forget_protection))
}

list_params! {
    /// Which protections are listed.
    ProtectionParams {
        /// Only those with an end in this site.
        site: String,
        /// Only those with an end in this cloud.
        cloud: String,
        /// Only those with an end on this host.
        host: String,
        /// Only those that follow this policy.
        policy: String,
        /// Only those that are so well.
        #[param(inline)]
        health: Level,
        /// Only those that do this.
        #[param(inline)]
        state: ProtectionState,
    }
}

/// What becomes of the replica.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DisableParams {
    /// What becomes of the replica; as the policy says where it is not given.
    #[param(inline)]
    replica: Option<OnDisable>,
    /// Deletes a replica that may be the only good copy.
    force: Option<bool>,
}

/// What is allowed in forgetting.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ForgetParams {
    /// Forgets although all that is concerned answers.
    pub(super) force: Option<bool>,
}

/// Lists the protections: state, RPO, health with its reasons.
#[utoipa::path(
    get,
    path = "/api/v1/protections",
    tag = "protections",
    params(ProtectionParams),
    responses((status = 200, description = "A page of them.", body = Page<ProtectionView>))
)]
async fn list_protections(
    State(api): State<Api>,
    Params(params): Params<ProtectionParams>,
) -> Listed<ProtectionView> {
    api.look(move |core, at| {
        let part = params.part();
        let hosts =
            names::hosts_of(core, params.site.as_deref(), params.cloud.as_deref(), params.host.as_deref())?;
        let policy = names::policy_id(core, params.policy.as_deref())?;
        let rows = core.protections().filter(|row| {
            let here = |hosts: &HashSet<HostId>| row.hosts().iter().any(|host| hosts.contains(host));
            row.is_live()
                && part.has(&row.name)
                && hosts.as_ref().is_none_or(here)
                && (policy.is_none() || row.policy == policy)
        });
        let passes = |row: &ProtectionRow| {
            if params.health.is_none() && params.state.is_none() {
                return true;
            }
            let seen = views::Seen::of(core, row, at);
            params.health.is_none_or(|level| seen.health.level == level)
                && params.state.is_none_or(|state| seen.state == state)
        };
        let view = |row: &&ProtectionRow| passes(row).then(|| views::protection(core, row, at));
        part.page(rows, |row| Place::new(&row.name, row.machine.0), view)
    })
    .await
}

/// Protects machines, all that are named or none.
///
/// What stands against it is in `findings`, all at once; warnings are in the answer.
#[utoipa::path(
    post,
    path = "/api/v1/protections",
    tag = "protections",
    request_body = EnableMachines,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn enable_protections(
    State(api): State<Api>,
    key: Key,
    Json(asked): Json<EnableMachines>,
) -> Answered<Ordered> {
    api.order(key, move |core| enable(core, &asked).map(Command::Enable)).await
}

/// Tells what stands against protecting machines, and changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/preflight",
    tag = "protections",
    request_body = EnableMachines,
    responses((status = 200, description = "Everything that was found.", body = Vec<Finding>))
)]
async fn check_protections(
    State(api): State<Api>,
    Json(asked): Json<EnableMachines>,
) -> Answered<Vec<Finding>> {
    api.look(move |core, at| enable(core, &asked).map(|enable| core.preflight(&enable, at))).await
}

/// Shows a protection, and what can be ordered of it now.
///
/// For each operation `details.operations` says whether it is allowed, what has to be confirmed
/// for it, or why it is not and what to do instead.
#[utoipa::path(
    get,
    path = "/api/v1/protections/{machine}",
    tag = "protections",
    params(("machine" = String, Path, description = "Name or id of a machine.")),
    responses((status = 200, description = "It.", body = ProtectionView))
)]
async fn show_protection(State(api): State<Api>, Named(name): Named) -> Answered<ProtectionView> {
    api.look(move |core, at| {
        names::protection(core, &name).map(|row| views::protection_in_all(core, row, at))
    })
    .await
}

/// Ends a protection.
///
/// Of one that has ended, the replica can still be asked to go.
#[utoipa::path(
    delete,
    path = "/api/v1/protections/{machine}",
    tag = "protections",
    params(("machine" = String, Path, description = "Name or id of a machine."), DisableParams),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn disable_protection(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Params(asked): Params<DisableParams>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        let machine = names::any_protection(core, &name)?;
        Ok(Command::Disable { machine, replica: asked.replica, force: asked.force.unwrap_or(false) })
    })
    .await
}

/// Moves the replica of a machine to another host of its cloud.
///
/// The new host gets a copy, or what differs from one that it has. The old host's replica counts
/// until that is whole; then it is kept, or deleted. Cancelled before, it counts again.
#[utoipa::path(
    post,
    path = "/api/v1/protections/{machine}/move",
    tag = "protections",
    params(("machine" = String, Path, description = "Name or id of a machine.")),
    request_body = MoveTo,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn move_protection(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(asked): Json<MoveTo>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        let machine = names::protection(core, &name)?.machine;
        let to = names::host_id(core, asked.to.as_deref())?;
        Ok(Command::MoveReplica { machine, to, delete_old: asked.delete_old })
    })
    .await
}

/// Forgets a protection one side of which is gone for good.
///
/// It ends at once, and what waits for the lost side with it. Nothing is deleted; what is left
/// where is in `warnings`. A host that comes back is told, and keeps what it has until that is
/// discarded.
#[utoipa::path(
    post,
    path = "/api/v1/protections/{machine}/forget",
    tag = "protections",
    params(("machine" = String, Path, description = "Name or id of a machine."), ForgetParams),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn forget_protection(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Params(asked): Params<ForgetParams>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        let machine = names::any_protection(core, &name)?;
        Ok(Command::Forget { machine, force: asked.force.unwrap_or(false) })
    })
    .await
}

/// Pauses a protection.
#[utoipa::path(
    post,
    path = "/api/v1/protections/{machine}/pause",
    tag = "protections",
    params(("machine" = String, Path, description = "Name or id of a machine.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn pause_protection(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| {
        let machine = names::protection(core, &name)?.machine;
        Ok(Command::SetPaused { machine, paused: true })
    })
    .await
}

/// Lets a paused protection go on.
#[utoipa::path(
    post,
    path = "/api/v1/protections/{machine}/resume",
    tag = "protections",
    params(("machine" = String, Path, description = "Name or id of a machine.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn resume_protection(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| {
        let machine = names::protection(core, &name)?.machine;
        Ok(Command::SetPaused { machine, paused: false })
    })
    .await
}

/// Compares everything of a machine with its replica, and sends what differs.
#[utoipa::path(
    post,
    path = "/api/v1/protections/{machine}/resync",
    tag = "protections",
    params(("machine" = String, Path, description = "Name or id of a machine.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn resync_protection(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| {
        let machine = names::protection(core, &name)?.machine;
        Ok(Command::Resync { machine })
    })
    .await
}

/// Names become ids: machines that are named, and those of clouds that nothing protects yet.
fn enable(core: &Core, asked: &EnableMachines) -> Result<Enable, Problem> {
    let mut machines = names::machines(core, &asked.machines)?;
    for cloud in &asked.clouds {
        let cloud = names::cloud(core, cloud)?;
        if !matches!(cloud.pair, Some((_, Role::Source))) {
            let what = format!("cloud '{}' is not the source of a pair", cloud.name);
            return Err(problem(
                ProblemKind::Refused,
                "cloud-not-source",
                what,
                "pair it with a target cloud first",
            ));
        }
        machines.extend(unprotected(core, |of| of == cloud.id));
    }
    if asked.all {
        let is_source = |id| core.cloud(id).is_some_and(|row| matches!(row.pair, Some((_, Role::Source))));
        machines.extend(unprotected(core, |cloud| is_source(cloud) && core.policy_of(cloud).is_some()));
    }
    let mut known = HashSet::new();
    machines.retain(|machine| known.insert(*machine));
    if machines.is_empty() {
        let what = "there is no machine to protect".to_owned();
        return Err(problem(
            ProblemKind::Invalid,
            "no-machine",
            what,
            "name some; `farshore machine list` lists them",
        ));
    }
    let target = names::host_id(core, asked.target.as_deref())?;
    let (excluded, initial) = (asked.excluded.clone(), asked.initial);
    Ok(Enable { machines, target, excluded, initial, ..Enable::default() })
}

/// Machines on hosts of some clouds that nothing protects.
fn unprotected(core: &Core, wanted: impl Fn(CloudId) -> bool) -> Vec<MachineId> {
    let here = |host| core.host(host).is_some_and(|row| !row.removed && row.cloud.is_some_and(&wanted));
    let free = |machine| core.protection(machine).is_none_or(|row| !row.is_live());
    let rows = core.machines().filter(|row| here(row.host) && free(row.facts.id));
    rows.map(|row| row.facts.id).collect()
}
