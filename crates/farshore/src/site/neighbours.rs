//! Sites tell each other where the vault is. So a site that was away while another one was
//! promoted finds the new vault, and a vault that comes back where it was learns that it was
//! superseded. Outbound only: from site server to site server, and to where the vault was.
//! This module must never follow a vault of a lower term.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::post};
use farshore_channel::{Call, Client, Expected, Json, Keyring, Peer, Refusal};
use farshore_control::{
    Order, Term,
    copy::{SITE_PROBE_PATH, Whereabouts},
    sync::Poll,
};
use farshore_pki::Role;
use farshore_site::{Above, Server};
use farshore_types::SiteId;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::place::Vault;

/// How often the others are asked.
const EVERY: Duration = Duration::from_secs(10);

/// What answers, and asks.
#[derive(Clone)]
pub(super) struct Neighbours {
    pub(super) server: Arc<Server>,
    pub(super) vault: Vault,
    pub(super) keyring: Keyring,
    pub(super) site: SiteId,
}

impl Neighbours {
    /// The route for other sites' servers.
    pub(super) fn router(self) -> Router {
        Router::new().route(SITE_PROBE_PATH, post(answer)).with_state(self)
    }

    /// Asks and tells until stopped.
    pub(super) async fn ask(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
            for (site, address) in self.vault.neighbours() {
                let expected = Expected { role: Role::Site, id: Some(site.0) };
                let other = Client::new(self.keyring.clone(), &address, expected);
                let own = self.whereabouts();
                let asked = other.post::<Whereabouts>(SITE_PROBE_PATH, &own, Call::single());
                match stop.run_until_cancelled(asked).await {
                    None => return,
                    Some(Ok(told)) => self.heard(&told),
                    Some(Err(error)) => {
                        tracing::debug!(%error, %site, "another site's server does not answer");
                    }
                }
            }
            self.tell_former(stop).await;
        }
    }

    /// A vault that comes back where it was is told of the term that is followed now.
    async fn tell_former(&self, stop: &CancellationToken) {
        let Some(term) = self.server.term().filter(|_| self.server.is_in_contact()) else { return };
        for address in self.vault.place().former {
            let poll = Poll { cursor: None, term: Some(term), wait_secs: 0 };
            let vault = self.vault.at(&address);
            // That it refuses is what is wanted.
            if stop.run_until_cancelled(vault.poll(&poll)).await.is_none() {
                return;
            }
        }
    }

    fn whereabouts(&self) -> Whereabouts {
        Whereabouts { site: self.site, term: self.server.term(), vault: self.vault.place().address }
    }

    /// A vault of a higher term is followed to where it is.
    fn heard(&self, told: &Whereabouts) {
        let own = self.whereabouts();
        if own.vault != told.vault && is_above(own.term, told.term) {
            tracing::warn!(site = %told.site, vault = told.vault, "another site follows a newer vault");
            if let Err(error) = self.vault.move_to(&told.vault) {
                tracing::error!(%error, "where the vault is cannot be kept");
            }
        }
    }
}

fn is_above(own: Option<Term>, told: Option<Term>) -> bool {
    match (own, told) {
        (Some(own), Some(told)) => own.order_of(&told) == Order::Newer,
        (None, told) => told.is_some(),
        (Some(_), None) => false,
    }
}

async fn answer(
    State(neighbours): State<Neighbours>,
    peer: Peer,
    Json(told): Json<Whereabouts>,
) -> Result<Json<Whereabouts>, Refusal> {
    peer.require_member(Role::Site, told.site.0)?;
    let own = neighbours.whereabouts();
    neighbours.heard(&told);
    Ok(Json(own))
}

#[cfg(test)]
mod tests {
    use farshore_types::VaultId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_a_higher_term_leads_elsewhere() {
        let term = |number, vault| Some(Term { number, vault: VaultId(Uuid::from_u128(vault)) });
        assert!(is_above(term(1, 1), term(2, 2)) && is_above(None, term(1, 1)));
        assert!(!is_above(term(2, 2), term(1, 1)) && !is_above(term(2, 1), term(2, 2)));
        assert!(!is_above(term(1, 1), None) && !is_above(None, None));
    }
}
