//! Clouds, their pairs and policies.

use axum::extract::State;
use farshore_channel::Json;
use farshore_vault::{Command, rows::CloudRow};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api, Listed,
    asking::{Key, Named, Params},
    lists::{Place, list_params},
    names,
};
use crate::{
    vault::views,
    views::{AddCloud, CloudView, Follow, Ordered, Page, PairWith, Rename},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_clouds, add_cloud))
        .routes(routes!(show_cloud, remove_cloud))
        .routes(routes!(rename_cloud))
        .routes(routes!(pair_cloud, unpair_cloud))
        .routes(routes!(associate_cloud, dissociate_cloud))
}

list_params! {
    /// Which clouds are listed.
    CloudParams {
        /// Only those of this site.
        site: String,
    }
}

/// Lists the clouds.
#[utoipa::path(
    get,
    path = "/api/v1/clouds",
    tag = "clouds",
    params(CloudParams),
    responses((status = 200, description = "A page of them.", body = Page<CloudView>))
)]
async fn list_clouds(State(api): State<Api>, Params(params): Params<CloudParams>) -> Listed<CloudView> {
    api.look(move |core, _| {
        let part = params.part();
        let site =
            params.site.as_deref().map(|site| names::site(core, site).map(|row| row.id)).transpose()?;
        let rows =
            core.clouds().filter(|row| part.has(&row.name) && site.is_none_or(|site| row.site == site));
        part.page(rows, |row| Place::new(&row.name, row.id.0), |row| Some(views::cloud(core, row)))
    })
    .await
}

/// Adds a cloud to a site.
#[utoipa::path(
    post,
    path = "/api/v1/clouds",
    tag = "clouds",
    request_body = AddCloud,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn add_cloud(State(api): State<Api>, key: Key, Json(asked): Json<AddCloud>) -> Answered<Ordered> {
    api.order(key, move |core| {
        Ok(Command::AddCloud { site: names::site(core, &asked.site)?.id, name: asked.name })
    })
    .await
}

/// Shows a cloud.
#[utoipa::path(
    get,
    path = "/api/v1/clouds/{cloud}",
    tag = "clouds",
    params(("cloud" = String, Path, description = "Name or id of a cloud.")),
    responses((status = 200, description = "It.", body = CloudView))
)]
async fn show_cloud(State(api): State<Api>, Named(name): Named) -> Answered<CloudView> {
    api.look(move |core, _| names::cloud(core, &name).map(|row| views::cloud(core, row))).await
}

/// Removes a cloud without hosts, pair and policy.
#[utoipa::path(
    delete,
    path = "/api/v1/clouds/{cloud}",
    tag = "clouds",
    params(("cloud" = String, Path, description = "Name or id of a cloud.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn remove_cloud(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| Ok(Command::RemoveCloud { cloud: names::cloud(core, &name)?.id })).await
}

/// Gives a cloud another name.
#[utoipa::path(
    put,
    path = "/api/v1/clouds/{cloud}/name",
    tag = "clouds",
    params(("cloud" = String, Path, description = "Name or id of a cloud.")),
    request_body = Rename,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn rename_cloud(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(asked): Json<Rename>,
) -> Answered<Ordered> {
    let rename = |cloud: &CloudRow| Command::RenameCloud { cloud: cloud.id, name: asked.name };
    api.order(key, move |core| names::cloud(core, &name).map(rename)).await
}

/// Pairs a cloud as source with another one as target.
///
/// Machines of the one are protected by replicas in the other. A cloud has one pair.
#[utoipa::path(
    put,
    path = "/api/v1/clouds/{cloud}/pair",
    tag = "clouds",
    params(("cloud" = String, Path, description = "Name or id of a cloud.")),
    request_body = PairWith,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn pair_cloud(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(asked): Json<PairWith>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        let (source, target) = (names::cloud(core, &name)?.id, names::cloud(core, &asked.target)?.id);
        Ok(Command::PairClouds { source, target })
    })
    .await
}

/// Ends a pair by which nothing is protected.
#[utoipa::path(
    delete,
    path = "/api/v1/clouds/{cloud}/pair",
    tag = "clouds",
    params(("cloud" = String, Path, description = "Name or id of a cloud.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn unpair_cloud(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| Ok(Command::UnpairCloud { cloud: names::cloud(core, &name)?.id })).await
}

/// Lets a policy hold for a source cloud.
///
/// Its hosts are checked, and what is found is told host by host. Machines protected already follow it,
/// without a new first copy.
#[utoipa::path(
    put,
    path = "/api/v1/clouds/{cloud}/policy",
    tag = "clouds",
    params(("cloud" = String, Path, description = "Name or id of a cloud.")),
    request_body = Follow,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn associate_cloud(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(asked): Json<Follow>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        let policy = Some(names::policy(core, &asked.policy)?.id);
        Ok(Command::Associate { cloud: names::cloud(core, &name)?.id, policy })
    })
    .await
}

/// No policy holds for a cloud any more.
///
/// Protections go on as they were.
#[utoipa::path(
    delete,
    path = "/api/v1/clouds/{cloud}/policy",
    tag = "clouds",
    params(("cloud" = String, Path, description = "Name or id of a cloud.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn dissociate_cloud(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| Ok(Command::Associate { cloud: names::cloud(core, &name)?.id, policy: None }))
        .await
}
