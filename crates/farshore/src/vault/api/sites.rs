//! Sites, and the servers of sites.

use axum::extract::State;
use farshore_channel::Json;
use farshore_pki::Role;
use farshore_types::{HostId, SiteId};
use farshore_vault::{Command, rows::SiteRow};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api, Listed,
    asking::{Key, Named, Params},
    lists::{Place, list_params},
    names,
    protections::ForgetParams,
};
use crate::{
    vault::{issuer::refused, views},
    views::{AddSite, KeyView, Ordered, Page, Rename, Revoked, SiteView},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_sites, add_site))
        .routes(routes!(show_site, remove_site))
        .routes(routes!(rename_site))
        .routes(routes!(register_site))
        .routes(routes!(register_host))
        .routes(routes!(revoke_site))
        .routes(routes!(forget_site))
}

list_params! {
    /// Which sites are listed.
    SiteParams {}
}

/// Lists the sites.
#[utoipa::path(
    get,
    path = "/api/v1/sites",
    tag = "sites",
    params(SiteParams),
    responses((status = 200, description = "A page of them.", body = Page<SiteView>))
)]
async fn list_sites(State(api): State<Api>, Params(params): Params<SiteParams>) -> Listed<SiteView> {
    let page = move |core: &farshore_vault::Core| {
        let part = params.part();
        let rows = core.sites().filter(|row| part.has(&row.name));
        part.page(rows, |row| Place::new(&row.name, row.id.0), |row| Some(views::site(core, row)))
    };
    api.look(move |core, _| page(core)).await
}

/// Adds a site.
///
/// Its server is enrolled with a registration key, which is asked for on its own.
#[utoipa::path(
    post,
    path = "/api/v1/sites",
    tag = "sites",
    request_body = AddSite,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn add_site(State(api): State<Api>, key: Key, Json(asked): Json<AddSite>) -> Answered<Ordered> {
    api.order(key, move |_| Ok(Command::AddSite { name: asked.name, ahead_minutes: asked.ahead_minutes }))
        .await
}

/// Shows a site.
#[utoipa::path(
    get,
    path = "/api/v1/sites/{site}",
    tag = "sites",
    params(("site" = String, Path, description = "Name or id of a site.")),
    responses((status = 200, description = "It.", body = SiteView))
)]
async fn show_site(State(api): State<Api>, Named(name): Named) -> Answered<SiteView> {
    api.look(move |core, _| names::site(core, &name).map(|row| views::site(core, row))).await
}

/// Removes a site without clouds and hosts.
#[utoipa::path(
    delete,
    path = "/api/v1/sites/{site}",
    tag = "sites",
    params(("site" = String, Path, description = "Name or id of a site.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn remove_site(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    api.order(key, move |core| Ok(Command::RemoveSite { site: names::site(core, &name)?.id })).await
}

/// Gives a site another name.
#[utoipa::path(
    put,
    path = "/api/v1/sites/{site}/name",
    tag = "sites",
    params(("site" = String, Path, description = "Name or id of a site.")),
    request_body = Rename,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn rename_site(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(asked): Json<Rename>,
) -> Answered<Ordered> {
    let rename = |site: &SiteRow| Command::RenameSite { site: site.id, name: asked.name };
    api.order(key, move |core| names::site(core, &name).map(rename)).await
}

/// Makes a registration key for a site's server.
///
/// It is for one use, within five days, and shown once; each call makes another one. Sent again
/// under the same Idempotency-Key, the one of before is withdrawn: one holds.
#[utoipa::path(
    post,
    path = "/api/v1/sites/{site}/registration",
    tag = "sites",
    params(("site" = String, Path, description = "Name or id of a site.")),
    responses((status = 200, description = "The key.", body = KeyView))
)]
async fn register_site(State(api): State<Api>, Key(once): Key, Named(name): Named) -> Answered<KeyView> {
    let site = id_of(&api, name).await?;
    let key = api.issuer.register_site(site, once).await.map_err(refused)?;
    Ok(Json(KeyView { key: key.reveal().to_string() }))
}

/// Makes a registration key for a host of a site.
///
/// It is for one use, within five days, and shown once; each call makes another one. Sent again
/// under the same Idempotency-Key, the one of before is withdrawn: one holds.
#[utoipa::path(
    post,
    path = "/api/v1/sites/{site}/host-registration",
    tag = "sites",
    params(("site" = String, Path, description = "Name or id of a site.")),
    responses((status = 200, description = "The key.", body = KeyView))
)]
async fn register_host(State(api): State<Api>, Key(once): Key, Named(name): Named) -> Answered<KeyView> {
    let site = id_of(&api, name).await?;
    let key = api.issuer.register_host(site, once).await.map_err(refused)?;
    Ok(Json(KeyView { key: key.reveal().to_string() }))
}

/// Revokes the certificates of a site's server.
///
/// It is refused within a minute by all that are in contact. Done again, it revokes what was issued since.
#[utoipa::path(
    post,
    path = "/api/v1/sites/{site}/revocation",
    tag = "sites",
    params(("site" = String, Path, description = "Name or id of a site.")),
    responses((status = 200, description = "How many.", body = Revoked))
)]
async fn revoke_site(State(api): State<Api>, Key(once): Key, Named(name): Named) -> Answered<Revoked> {
    let site = id_of(&api, name).await?;
    let certificates = api.issuer.revoke(Role::Site, site.0, once).await.map_err(refused)?;
    Ok(Json(Revoked { certificates }))
}

/// Forgets a site that is gone for good, with its clouds, its hosts and their protections.
///
/// Nothing is deleted; what is left where is in `warnings`. All its certificates are revoked.
#[utoipa::path(
    post,
    path = "/api/v1/sites/{site}/forget",
    tag = "sites",
    params(("site" = String, Path, description = "Name or id of a site."), ForgetParams),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn forget_site(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Params(asked): Params<ForgetParams>,
) -> Answered<Ordered> {
    let wanted = name.clone();
    let members = api.look(move |core, _| {
        let site = names::site(core, &wanted)?.id;
        let here = core.hosts().filter(|row| row.site == site && !row.removed);
        Ok((site, here.map(|row| row.id).collect::<Vec<HostId>>()))
    });
    let members = members.await;
    let force = asked.force.unwrap_or(false);
    let done = api
        .order(key, move |core| Ok(Command::ForgetSite { site: names::site(core, &name)?.id, force }))
        .await?;
    if let Ok(Json((site, hosts))) = members {
        api.issuer.revoke(Role::Site, site.0, None).await.map_err(refused)?;
        for host in hosts {
            api.issuer.revoke(Role::Host, host.0, None).await.map_err(refused)?;
        }
    }
    Ok(done)
}

async fn id_of(api: &Api, name: String) -> Result<SiteId, farshore_channel::Refusal> {
    api.look(move |core, _| names::site(core, &name).map(|row| row.id)).await.map(|Json(id)| id)
}
