//! Mappings of networks and storage classes of one site to those of another.

use axum::extract::State;
use farshore_channel::Json;
use farshore_vault::{Command, Core, MapTo, Problem};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api, Listed,
    asking::{Key, Params},
    lists::{Place, list_params},
    names,
};
use crate::{
    vault::views,
    views::{Mapped, MappingView, Ordered, Page},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_mappings, set_mapping, remove_mapping))
}

list_params! {
    /// Which mappings are listed.
    MappingParams {
        /// Only those of this.
        #[param(inline)]
        of: Mapped,
        /// Only those from or to this site.
        site: String,
    }
}

/// Which mapping.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MappingName {
    /// Of what.
    #[param(inline)]
    of: Mapped,
    /// Name or id of the site where machines come from.
    from_site: String,
    /// The name there.
    from: String,
    /// Name or id of the site where replicas are.
    to_site: String,
}

/// Lists the mappings.
#[utoipa::path(
    get,
    path = "/api/v1/mappings",
    tag = "mappings",
    params(MappingParams),
    responses((status = 200, description = "A page of them.", body = Page<MappingView>))
)]
async fn list_mappings(State(api): State<Api>, Params(params): Params<MappingParams>) -> Listed<MappingView> {
    api.look(move |core, _| {
        let part = params.part();
        let site =
            params.site.as_deref().map(|site| names::site(core, site).map(|row| row.id)).transpose()?;
        let rows = views::mappings(core).filter(|one| {
            (part.has(one.from) || part.has(one.to))
                && params.of.is_none_or(|of| one.of == of)
                && site.is_none_or(|site| one.from_site == site || one.to_site == site)
        });
        part.page(
            rows,
            |one| Place::between(format!("{} {}", one.from, one.of.word()), one.from_site.0, one.to_site.0),
            |one| Some(views::mapping(core, one)),
        )
    })
    .await
}

/// Says what a network or a storage class of one site is at another.
///
/// An unmapped network leaves the replica disconnected; an unmapped class falls to the host's default.
#[utoipa::path(
    put,
    path = "/api/v1/mappings",
    tag = "mappings",
    request_body = MappingView,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn set_mapping(State(api): State<Api>, key: Key, Json(asked): Json<MappingView>) -> Answered<Ordered> {
    api.order(key, move |core| {
        command(core, asked.of, &asked.from_site, asked.from, &asked.to_site, Some(asked.to))
    })
    .await
}

/// Ends a mapping.
#[utoipa::path(
    delete,
    path = "/api/v1/mappings",
    tag = "mappings",
    params(MappingName),
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn remove_mapping(
    State(api): State<Api>,
    key: Key,
    Params(asked): Params<MappingName>,
) -> Answered<Ordered> {
    api.order(key, move |core| command(core, asked.of, &asked.from_site, asked.from, &asked.to_site, None))
        .await
}

fn command(
    core: &Core,
    of: Mapped,
    from_site: &str,
    from: String,
    to_site: &str,
    to: Option<String>,
) -> Result<Command, Problem> {
    let (from_site, to_site) = (names::site(core, from_site)?.id, names::site(core, to_site)?.id);
    let map = MapTo { from_site, to_site, from, to };
    Ok(match of {
        Mapped::Network => Command::MapNetwork(map),
        Mapped::Storage => Command::MapStorage(map),
    })
}
