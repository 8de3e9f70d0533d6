//! The addresses that a guest should have on each side.

use axum::extract::{Path, State};
use farshore_channel::Json;
use farshore_vault::Command;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api,
    asking::{Key, of_path},
    names,
};
use crate::views::{AddressOrder, Ordered};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(set_address))
}

/// Says which address a network card of a guest should have on each side.
///
/// Each side's host reserves it in the libvirt network that the card is in there, where that
/// gives addresses; elsewhere it is shown, for somebody to see to it. None on both sides: nothing
/// is said of the card any more.
#[utoipa::path(
    put,
    path = "/api/v1/protections/{machine}/addresses/{card}",
    tag = "protections",
    params(
        ("machine" = String, Path, description = "Name or id of a machine."),
        ("card" = String, Path, description = "Hardware address of the card, such as 52:54:00:12:34:56.")
    ),
    request_body = AddressOrder,
    responses((status = 200, description = "What it came to.", body = Ordered))
)]
async fn set_address(
    State(api): State<Api>,
    key: Key,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    Json(asked): Json<AddressOrder>,
) -> Answered<Ordered> {
    let (machine, card) = of_path(path)?;
    api.order(key, move |core| {
        let machine = names::protection(core, &machine)?.machine;
        Ok(Command::SetAddress { machine, card, home: asked.home, away: asked.away })
    })
    .await
}
