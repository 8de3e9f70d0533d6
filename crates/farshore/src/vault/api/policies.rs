//! Policies.

use axum::extract::State;
use farshore_channel::Json;
use farshore_policy::PolicyPatch;
use farshore_vault::{Command, Problem, ProblemKind, rows::PolicyRow};
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
/// change without a new first copy. With the `version` that somebody has looked at, the change is
/// refused where the policy has another one by now: nobody overwrites what he has not seen.
#[utoipa::path(
    patch,
    path = "/api/v1/policies/{policy}",
    tag = "policies",
    params(("policy" = String, Path, description = "Name or id of a policy."), Seen),
    request_body = PolicyPatch,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn change_policy(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Params(seen): Params<Seen>,
    Json(settings): Json<PolicyPatch>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        let row = names::policy(core, &name)?;
        seen.check(row)?;
        Ok(Command::ChangePolicy { policy: row.id, settings })
    })
    .await
}

/// What whoever changes something has seen of it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// The version that the change is made to; left out: whatever it is.
    #[param(max_length = 64)]
    version: Option<String>,
}

impl Seen {
    fn check(&self, row: &PolicyRow) -> Result<(), Problem> {
        let now = views::policy_version(row);
        match &self.version {
            Some(seen) if *seen != now => {
                let name = &row.name;
                let what =
                    format!("policy '{name}' was changed meanwhile: its version is {now}, and not '{seen}'");
                let advice = "look at it again, then change it with its version of now";
                Err(problem(ProblemKind::Conflict, "changed-meanwhile", what, advice))
            }
            _ => Ok(()),
        }
    }
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
