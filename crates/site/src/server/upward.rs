//! The conversation with the vault: outbound alone. This module must never serve a host.

use std::{sync::Arc, time::Duration};

use farshore_channel::{Backoff, ChannelError};
use farshore_control::{
    Body,
    sync::{REPORTS_MAX, SiteReport},
};
use farshore_pki::PkiError;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Server;

/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Shortest time between two reports where a host has something that somebody waits for.
const URGENT_GAP: Duration = Duration::from_millis(50);
/// Longest time between two reports to the vault.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// Asks for documents again and again.
pub(super) async fn documents(server: &Arc<Server>, stop: &CancellationToken) {
    let (mut backoff, mut told_why) = (Backoff::default(), String::new());
    loop {
        let asked = match stop.run_until_cancelled(fetch(server)).await {
            None => return,
            Some(asked) => asked,
        };
        server.tell_events();
        let pause = match asked {
            Ok(pause) => {
                backoff = Backoff::default();
                told_why.clear();
                pause
            }
            Err(why) => {
                let pause = backoff.pause();
                // Once for each reason: it is tried again and again.
                if told_why != why {
                    tracing::warn!(why, "the vault does not answer as it should; it is asked again");
                    told_why = why;
                }
                server.core().vault_failed();
                // There may be some of what it had to say.
                server.wake_hosts();
                pause
            }
        };
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// One question; how long to rest before the next.
async fn fetch(server: &Arc<Server>) -> Result<Duration, String> {
    let (asked, begun) = (server.clock.monotonic(), Instant::now());
    let question = server.core().question(server.timing.poll.as_secs());
    let answer = server.above.poll(&question).await.map_err(|error| told(&error))?;
    let more = answer.more;
    let quick = begun.elapsed() < server.timing.report_gap && !more && answer.documents.is_empty();
    let judge = |core: &mut crate::Core| match core.judge(answer, asked) {
        Some(mut judged) => (std::mem::take(&mut judged.records), (true, Some(judged))),
        None => (Vec::new(), (false, None)),
    };
    let take =
        |core: &mut crate::Core, records, (_, judged): &mut (bool, Option<crate::core::Judged>), now| {
            if let Some(mut judged) = judged.take() {
                judged.records = records;
                for (key, why) in &judged.refused {
                    tracing::debug!(?key, why, "a document of the vault was not taken");
                }
                core.take(judged, now);
            }
            if !more {
                // Once for all of it: every host that is woken asks, and costs an answer.
                server.wake_hosts();
            }
        };
    let (followed, _) = server.commit(judge, take).await.map_err(|error| error.to_string())?;
    if !followed {
        return Err("it is not followed".to_owned());
    }
    follow_trust(server).await;
    Ok(if quick { server.timing.report_gap } else { Duration::ZERO })
}

/// Whom the vault trusts, this server trusts, in what is open already, too.
async fn follow_trust(server: &Arc<Server>) {
    let Some((keyring, dir)) = server.keyring.clone() else { return };
    let site = server.core().site();
    let trust = server.core().documents().find_map(|document| match (&document.key, &document.body) {
        (farshore_control::Key::Trust(of), Body::Trust(trust)) if *of == site => Some(trust.clone()),
        _ => None,
    });
    let Some(trust) = trust else { return };
    let store = move || keyring.store_trust(&dir, &trust.authority_pem, &trust.revoked_pem);
    match super::joined(tokio::task::spawn_blocking(store).await) {
        Ok(true) => tracing::info!("the vault's list of whom to trust is in force"),
        // A vault that was restored may know less than we: it is told, and unites both.
        Ok(false) | Err(ChannelError::Own(PkiError::OlderList { .. })) => {}
        Err(error) => tracing::error!(error = told(&error), "whom the vault trusts cannot be followed"),
    }
}

/// Tells the vault what hosts say.
pub(super) async fn reports(server: &Arc<Server>, stop: &CancellationToken) {
    let (mut backoff, mut most) = (Backoff::default(), REPORTS_MAX);
    loop {
        let due = server.core().has_reports();
        let asked = match stop.run_until_cancelled(tell(server, most, due)).await {
            None => return,
            Some(asked) => asked,
        };
        let heard = asked.is_ok();
        let pause = match asked {
            Ok(()) => {
                (backoff, most) = (Backoff::default(), (most * 2).min(REPORTS_MAX));
                server.timing.report_gap
            }
            Err(error) => {
                if matches!(error, ChannelError::Unusable { .. }) || error.code() == Some("too-large") {
                    // Too much at once.
                    most = (most / 2).max(1);
                }
                tracing::debug!(error = told(&error), "reports are told again");
                backoff.pause()
            }
        };
        let urgent = async {
            sleep(URGENT_GAP).await;
            server.urgent.notified().await;
        };
        let rest = async {
            tokio::select! {
                () = sleep(pause) => {}
                () = urgent, if heard => {}
            }
        };
        if stop.run_until_cancelled(rest).await.is_none() {
            return;
        }
    }
}

async fn tell(server: &Arc<Server>, most: usize, due: bool) -> Result<(), ChannelError> {
    // Where hosts say nothing, the server says that it is there, and what is wrong with it.
    if !due && timeout(HEARTBEAT, server.told.notified()).await.is_ok() {
        return Ok(());
    }
    let now = server.clock.monotonic();
    let (site, hosts, mut problems) = {
        let mut core = server.core();
        (core.site(), core.report(most, now), core.own_problems(now))
    };
    problems.extend(server.other_problems());
    let transit_ms = *server.transit_ms.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let clock_ms = server.clock.wall_ms();
    let report = SiteReport { site, version: VERSION.to_owned(), clock_ms, transit_ms, problems, hosts };
    let begun = Instant::now();
    let reply = server.above.report(&report).await?;
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    *server.transit_ms.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = took;
    server.core().reported(&reply);
    server.tell_events();
    Ok(())
}

fn told(error: &ChannelError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}; {}", error.advice_while_tried())
}
