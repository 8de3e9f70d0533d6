//! Machines, as hosts report them.

use axum::extract::State;

use farshore_vault::rows::ProtectionRow;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api, Listed,
    asking::{Named, Params},
    lists::{Place, list_params},
    names,
};
use crate::{
    vault::views,
    views::{MachineView, Page},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_machines)).routes(routes!(show_machine))
}

list_params! {
    /// Which machines are listed.
    MachineParams {
        /// Only those on hosts of this site.
        site: String,
        /// Only those on hosts of this cloud.
        cloud: String,
        /// Only those on this host.
        host: String,
        /// Only those that are protected, or that are not.
        protected: bool,
    }
}

/// Lists the machines of all hosts.
///
/// A machine that is on two hosts, as after a failover, is listed for each.
#[utoipa::path(
    get,
    path = "/api/v1/machines",
    tag = "machines",
    params(MachineParams),
    responses((status = 200, description = "A page of them.", body = Page<MachineView>))
)]
async fn list_machines(State(api): State<Api>, Params(params): Params<MachineParams>) -> Listed<MachineView> {
    api.look(move |core, at| {
        let part = params.part();
        let hosts =
            names::hosts_of(core, params.site.as_deref(), params.cloud.as_deref(), params.host.as_deref())?;
        let rows = core.machines().filter(|row| {
            let is_protected = || core.protection(row.facts.id).is_some_and(ProtectionRow::is_live);
            part.has(&row.facts.name)
                && hosts.as_ref().is_none_or(|hosts| hosts.contains(&row.host))
                && params.protected.is_none_or(|wanted| is_protected() == wanted)
        });
        part.page(
            rows,
            |row| Place::between(&row.facts.name, row.facts.id.0, row.host.0),
            |row| Some(views::machine(core, row, at)),
        )
    })
    .await
}

/// Shows a machine.
///
/// Of one that is on two hosts, the one that is protected there.
#[utoipa::path(
    get,
    path = "/api/v1/machines/{machine}",
    tag = "machines",
    params(("machine" = String, Path, description = "Name or id of a machine.")),
    responses((status = 200, description = "It.", body = MachineView))
)]
async fn show_machine(State(api): State<Api>, Named(name): Named) -> Answered<MachineView> {
    api.look(move |core, at| names::machine(core, &name).map(|row| views::machine(core, row, at))).await
}
