//! Hosts. They come by enrolment at their site server, never by an order.

use axum::extract::State;
use farshore_channel::Json;
use farshore_health::Level;
use farshore_pki::Role;
use farshore_types::HostId;
use farshore_vault::{Command, MachinesThen, Maintenance, ReplicasThen};
use serde::Deserialize;
use utoipa::IntoParams;
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
    views::{HostView, Ordered, Page, PutInto, ReachedAt, Rename, Revoked},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_hosts))
        .routes(routes!(show_host, remove_host))
        .routes(routes!(rename_host))
        .routes(routes!(put_host))
        .routes(routes!(reach_host))
        .routes(routes!(begin_maintenance, end_maintenance))
        .routes(routes!(revoke_host))
        .routes(routes!(forget_host))
}

list_params! {
    /// Which hosts are listed.
    HostParams {
        /// Only those of this site.
        site: String,
        /// Only those of this cloud.
        cloud: String,
        /// Only those that are so well.
        #[param(inline)]
        health: Level,
    }
}

/// Lists the hosts.
#[utoipa::path(
    get,
    path = "/api/v1/hosts",
    tag = "hosts",
    params(HostParams),
    responses((status = 200, description = "A page of them.", body = Page<HostView>))
)]
async fn list_hosts(State(api): State<Api>, Params(params): Params<HostParams>) -> Listed<HostView> {
    api.look(move |core, at| {
        let (part, machines) = (params.part(), views::machines_by_host(core));
        let site =
            params.site.as_deref().map(|site| names::site(core, site).map(|row| row.id)).transpose()?;
        let cloud = names::cloud_id(core, params.cloud.as_deref())?;
        let rows = core.hosts().filter(|row| {
            !row.removed
                && part.has(&row.name)
                && site.is_none_or(|site| row.site == site)
                && (cloud.is_none() || row.cloud == cloud)
        });
        part.page(
            rows,
            |row| Place::new(&row.name, row.id.0),
            |row| {
                let view = views::host(core, row, machines.get(&row.id).copied().unwrap_or(0), at);
                params.health.is_none_or(|level| view.health.level == level).then_some(view)
            },
        )
    })
    .await
}

/// Shows a host.
#[utoipa::path(
    get,
    path = "/api/v1/hosts/{host}",
    tag = "hosts",
    params(("host" = String, Path, description = "Name or id of a host.")),
    responses((status = 200, description = "It.", body = HostView))
)]
async fn show_host(State(api): State<Api>, Named(name): Named) -> Answered<HostView> {
    api.look(move |core, at| {
        let row = names::host(core, &name)?;
        let machines = core.machines().filter(|machine| machine.host == row.id).count();
        Ok(views::host(core, row, machines, at))
    })
    .await
}

/// Removes a host that has no role, and revokes its certificates.
#[utoipa::path(
    delete,
    path = "/api/v1/hosts/{host}",
    tag = "hosts",
    params(("host" = String, Path, description = "Name or id of a host.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn remove_host(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    let id = id_of(&api, name.clone()).await;
    // First what can be refused: a host that still has a role stays as it is.
    let done =
        api.order(key, move |core| Ok(Command::RemoveHost { host: names::host(core, &name)?.id })).await?;
    if let Ok(id) = id {
        api.issuer.revoke(Role::Host, id.0, None).await.map_err(refused)?;
    }
    Ok(done)
}

/// Gives a host another name: that of its certificate.
#[utoipa::path(
    put,
    path = "/api/v1/hosts/{host}/name",
    tag = "hosts",
    params(("host" = String, Path, description = "Name or id of a host.")),
    request_body = Rename,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn rename_host(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(asked): Json<Rename>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        Ok(Command::RenameHost { host: names::host(core, &name)?.id, name: asked.name })
    })
    .await
}

/// Puts a host into a cloud of its site.
#[utoipa::path(
    put,
    path = "/api/v1/hosts/{host}/cloud",
    tag = "hosts",
    params(("host" = String, Path, description = "Name or id of a host.")),
    request_body = PutInto,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn put_host(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(asked): Json<PutInto>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        let (host, cloud) = (names::host(core, &name)?.id, names::cloud(core, &asked.cloud)?.id);
        Ok(Command::SetHostCloud { host, cloud })
    })
    .await
}

/// Says where a host takes replication, and its Kerberos principal.
#[utoipa::path(
    put,
    path = "/api/v1/hosts/{host}/address",
    tag = "hosts",
    params(("host" = String, Path, description = "Name or id of a host.")),
    request_body = ReachedAt,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn reach_host(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Json(asked): Json<ReachedAt>,
) -> Answered<Ordered> {
    api.order(key, move |core| {
        let host = names::host(core, &name)?.id;
        Ok(Command::SetHostAddress { host, address: asked.address, principal: asked.principal })
    })
    .await
}

/// What becomes of a host's roles in its maintenance.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MaintenanceParams {
    /// Of the replicas on it; they pause where it is not given.
    #[param(inline)]
    replicas: Option<ReplicasThen>,
    /// Of the replication of its machines; it pauses where it is not given.
    #[param(inline)]
    machines: Option<MachinesThen>,
    /// Deletes a replica that moved away, once the new one is whole.
    delete_old: Option<bool>,
}

/// Begins the maintenance of a host: it takes no new role.
///
/// Its replicas pause or move to other hosts of its cloud, each by a job; its machines pause, or
/// are replicated until they have been migrated. Asked again, another choice counts.
#[utoipa::path(
    put,
    path = "/api/v1/hosts/{host}/maintenance",
    tag = "hosts",
    params(("host" = String, Path, description = "Name or id of a host."), MaintenanceParams),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn begin_maintenance(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Params(asked): Params<MaintenanceParams>,
) -> Answered<Ordered> {
    let how = Maintenance {
        replicas: asked.replicas.unwrap_or_default(),
        machines: asked.machines.unwrap_or_default(),
        delete_old: asked.delete_old.unwrap_or(false),
    };
    let order = move |host| Command::SetMaintenance { host, on: true, how };
    api.order(key, move |core| names::host(core, &name).map(|row| order(row.id))).await
}

/// Ends the maintenance of a host. What moved away stays where it is.
#[utoipa::path(
    delete,
    path = "/api/v1/hosts/{host}/maintenance",
    tag = "hosts",
    params(("host" = String, Path, description = "Name or id of a host.")),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn end_maintenance(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
    let order = |host| Command::SetMaintenance { host, on: false, how: Maintenance::default() };
    api.order(key, move |core| names::host(core, &name).map(|row| order(row.id))).await
}

/// Forgets a host that is gone for good, with all protections that have an end on it.
///
/// Nothing is deleted; what is left where is in `warnings`. Its certificates are revoked: to come
/// back it is enrolled anew, and keeps what it has until that is discarded.
#[utoipa::path(
    post,
    path = "/api/v1/hosts/{host}/forget",
    tag = "hosts",
    params(("host" = String, Path, description = "Name or id of a host."), ForgetParams),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn forget_host(
    State(api): State<Api>,
    key: Key,
    Named(name): Named,
    Params(asked): Params<ForgetParams>,
) -> Answered<Ordered> {
    let id = id_of(&api, name.clone()).await;
    let force = asked.force.unwrap_or(false);
    // First what can be refused: a host that answers stays as it is.
    let done = api
        .order(key, move |core| Ok(Command::ForgetHost { host: names::host(core, &name)?.id, force }))
        .await?;
    if let Ok(id) = id {
        api.issuer.revoke(Role::Host, id.0, None).await.map_err(refused)?;
    }
    Ok(done)
}

/// Revokes a host's certificates.
///
/// It is refused within a minute by all that are in contact.
#[utoipa::path(
    post,
    path = "/api/v1/hosts/{host}/revocation",
    tag = "hosts",
    params(("host" = String, Path, description = "Name or id of a host.")),
    responses((status = 200, description = "How many.", body = Revoked))
)]
async fn revoke_host(State(api): State<Api>, Key(once): Key, Named(name): Named) -> Answered<Revoked> {
    let host = id_of(&api, name).await?;
    let certificates = api.issuer.revoke(Role::Host, host.0, once).await.map_err(refused)?;
    Ok(Json(Revoked { certificates }))
}

async fn id_of(api: &Api, name: String) -> Result<HostId, farshore_channel::Refusal> {
    api.look(move |core, _| names::host(core, &name).map(|row| row.id)).await.map(|Json(id)| id)
}
