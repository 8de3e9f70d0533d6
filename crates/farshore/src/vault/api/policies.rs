//! Policies.

use axum::extract::State;
use farshore_channel::Json;
use farshore_policy::PolicyPatch;
use farshore_vault::Command;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api, Listed,
    asking::{Key, Named, Params},
    lists::{Place, list_params},
    names,
};
use crate::{
    vault::views,
    views::{AddPolicy, Ordered, Page, PolicyView, Rename},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_policies, add_policy))
        .routes(routes!(show_policy, change_policy, remove_policy))
        .routes(routes!(rename_policy))
}

list_params! {
    /// Which policies are listed.
    PolicyParams {}
}

/// Lists the policies.
#[utoipa::path(
    get,
    path = "/api/v1/policies",
    tag = "policies",
    params(PolicyParams),
    responses((status = 200, description = "A page of them.", body = Page<PolicyView>))
)]
async fn list_policies(State(api): State<Api>, Params(params): Params<PolicyParams>) -> Listed<PolicyView> {
    api.look(move |core, _| {
        let part = params.part();
        let rows = core.policies().filter(|row| part.has(&row.name));
        part.page(rows, |row| Place::new(&row.name, row.id.0), |row| Some(views::policy(core, row)))
    })
    .await
}

/// Adds a policy of the defaults and some settings.
#[utoipa::path(
    post,
    path = "/api/v1/policies",
    tag = "policies",
    request_body = AddPolicy,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn add_policy(State(api): State<Api>, key: Key, Json(asked): Json<AddPolicy>) -> Answered<Ordered> {
    api.order(key, |_| Ok(Command::AddPolicy { name: asked.name, settings: asked.settings })).await
}

/// Shows a policy.
#[utoipa::path(
    get,
    path = "/api/v1/policies/{policy}",
    tag = "policies",
    params(("policy" = String, Path, description = "Name or id of a policy.")),
    responses((status = 200, description = "It.", body = PolicyView))
)]
async fn show_policy(State(api): State<Api>, Named(name): Named) -> Answered<PolicyView> {
    api.look(move |core, _| names::policy(core, &name).map(|row| views::policy(core, row))).await
}

/// Changes settings of a policy.
///
/// What is not named stays; `null` takes a setting back to its default. Running protections take the
/// change without a new first copy.
#[utoipa::path(
    patch,
    path = "/api/v1/policies/{policy}",
    tag = "policies",
    params(("policy" = String, Path, description = "Name or id of a policy.")),
    request_body = PolicyPatch,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn change_policy(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(settings): Json<PolicyPatch>,
) -> Answered<Ordered> {
    api.order(key, move |core| Ok(Command::ChangePolicy { policy: names::policy(core, &name)?.id, settings }))
        .await
}

/// Removes a policy that nothing follows.
#[utoipa::path(
    delete,
    path = "/api/v1/policies/{policy}",
    tag = "policies",
    params(("policy" = String, Path, description = "Name or id of a policy.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn remove_policy(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| Ok(Command::RemovePolicy { policy: names::policy(core, &name)?.id })).await
}

/// Gives a policy another name.
#[utoipa::path(
    put,
    path = "/api/v1/policies/{policy}/name",
    tag = "policies",
    params(("policy" = String, Path, description = "Name or id of a policy.")),
    request_body = Rename,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn rename_policy(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(asked): Json<Rename>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        Ok(Command::RenamePolicy { policy: names::policy(core, &name)?.id, name: asked.name })
    })
    .await
}
