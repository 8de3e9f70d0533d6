//! What goes on by itself while a member runs: trust is followed as the vault's document has
//! it, and the certificate is renewed long before its end. Level-triggered: each look
//! compares what is with what should be.

use std::{sync::Arc, time::Duration};

use farshore_channel::{Backoff, ChannelError, renew};
use farshore_pki::{PkiError, Renewal, show_time};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Membership;
use crate::{Agent, managed::Managed};

/// How often trust is compared with the vault's document: in memory, so it costs nothing,
/// and a revoked peer is refused within seconds.
const LOOK: Duration = Duration::from_secs(2);
/// How often the certificate's age is looked at.
const AGE_LOOK: Duration = Duration::from_secs(3600);

/// Follows trust and renews until stopped.
pub(crate) async fn upkeep(agent: Arc<Agent>, membership: Arc<Membership>, stop: CancellationToken) {
    let Some(managed) = agent.managed().cloned() else { return };
    let mut backoff = Backoff::default();
    let mut look_at_age = Instant::now();
    loop {
        follow_trust(&agent, &managed, &membership);
        if look_at_age <= Instant::now() {
            let looked = stop.run_until_cancelled(see_to_age(&managed, &membership)).await;
            let pause = match looked {
                None => return,
                Some(Ok(())) => {
                    backoff.reset();
                    AGE_LOOK
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, advice = error.advice(), "the certificate is not renewed yet");
                    backoff.pause()
                }
            };
            look_at_age = Instant::now() + pause;
        }
        if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

fn follow_trust(agent: &Agent, managed: &Managed, membership: &Membership) {
    let Some(trust) = managed.trust() else { return };
    let stored = membership.keyring.store_trust(&membership.dir, &trust.authority_pem, &trust.revoked_pem);
    let problem = match stored {
        Ok(true) => {
            tracing::info!(number = membership.keyring.revoked_number(), "whom to trust has changed");
            // For the sessions of replication.
            if let Err(error) = agent.identity() {
                tracing::error!(error = error.fault().what, "sessions do not follow whom to trust");
            }
            None
        }
        // A renewal has brought newer trust than the document that is held.
        Ok(false) | Err(ChannelError::Own(PkiError::OlderList { .. })) => None,
        Err(error) => {
            tracing::debug!(%error, "what the vault says of trust is not followed");
            Some((format!("whom the vault trusts cannot be followed: {error}"), error.advice()))
        }
    };
    managed.set_problem("trust-not-followed", problem);
}

/// Renews a certificate whose time has come, at the first server that answers.
async fn see_to_age(managed: &Managed, membership: &Membership) -> Result<(), ChannelError> {
    let facts = membership.keyring.facts();
    let age = facts.renewal(std::time::SystemTime::now());
    let late = (age == Renewal::Late).then(|| {
        let what =
            format!("this host's certificate ends on {}, and is not renewed", show_time(facts.not_after));
        (what, "see that its site server and the vault are reached".to_owned())
    });
    managed.set_problem("certificate-late", late);
    if age == Renewal::Fresh {
        return Ok(());
    }
    let mut last = Ok(());
    for client in membership.clients() {
        match renew(&client, membership.record.reach.clone()).await {
            Ok(bundle) => {
                membership.keyring.store(&membership.dir, bundle)?;
                let until = show_time(membership.keyring.facts().not_after);
                tracing::info!(until, "this host's certificate was renewed");
                managed.set_problem("certificate-late", None);
                return Ok(());
            }
            Err(error) => last = Err(error),
        }
    }
    last
}
