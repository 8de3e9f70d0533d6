//! The site server speaks of itself: at once to every vault and term, then again and again.
//! This module must never speak of hosts.

use std::{sync::Arc, time::Duration};

use farshore_channel::{Backoff, ChannelError};
use farshore_control::{
    Term, TrustDocument,
    hello::{HelloReply, SiteHello},
};
use farshore_pki::Bundle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Server;

/// How often it is told again.
const AGAIN: Duration = Duration::from_secs(30);
/// How often it is looked whether another term speaks.
const LOOK: Duration = Duration::from_millis(500);

/// Tells until stopped. A vault that does not answer now is told later.
pub(super) async fn hellos(server: &Arc<Server>, stop: &CancellationToken) {
    let (mut told, mut wants_trust, mut failed) = (None, false, false);
    let (mut next, mut backoff) = (Instant::now(), Backoff::default());
    loop {
        // Before a vault has spoken nobody is there to be told.
        let term = server.core().term();
        let new = term != told || wants_trust;
        if term.is_some() && (next <= Instant::now() || (new && !failed)) {
            let answered = stop.run_until_cancelled(hello(server, new)).await;
            let pause = match answered {
                None => return,
                Some(Ok(reply)) => {
                    (told, wants_trust) = (of_answer(term, &reply), reply.wants_trust && !new);
                    (failed, backoff) = (false, Backoff::default());
                    AGAIN
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "the vault is told of this server later");
                    failed = true;
                    backoff.pause()
                }
            };
            next = Instant::now() + pause;
        }
        if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

/// A vault of another term answered than the one that is known: told again, once that is.
fn of_answer(term: Option<Term>, reply: &HelloReply) -> Option<Term> {
    term.filter(|term| *term == reply.term)
}

async fn hello(server: &Arc<Server>, with_trust: bool) -> Result<HelloReply, ChannelError> {
    let hello = {
        let held = trust(server);
        SiteHello {
            site: server.core().site(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: server.address.clone(),
            certificate_until_ms: server.upkeep.as_ref().map_or(0, |(upkeep, _)| upkeep.until_ms()),
            revoked_number: held.as_ref().map_or(0, |held| held.revoked_number),
            trust: held.filter(|_| with_trust),
        }
    };
    server.above.hello(&hello).await
}

/// Whom this server trusts, as its files have it: that never goes back, whatever a document
/// of a restored vault says.
fn trust(server: &Server) -> Option<TrustDocument> {
    let (keyring, dir) = server.keyring.as_ref()?;
    let Bundle { authority_pem, revoked_pem, .. } = Bundle::load(dir).ok()?;
    Some(TrustDocument { authority_pem, revoked_pem, revoked_number: keyring.revoked_number() })
}
