//! The conversation with whoever is above: documents by long poll, reports on news and from
//! time to time; the next party where one does not answer. This module must never judge a
//! document, nor make a report.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use farshore_control::sync::{Cursor, Documents, POLL_SECS_MAX, Poll};
use farshore_types::RequestId;
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Managed, Upstream, UpstreamError, locked, reconcile, report};
use crate::{Agent, AgentError};

/// Failures in a row after which the next party is asked.
const FAILURES_MAX: u32 = 3;
/// How long nobody above must have answered before that is a problem that people are shown:
/// two long polls and a little.
const SILENT_AFTER: Duration = Duration::from_secs(75);
/// The problem's code.
const NOBODY_ABOVE: &str = "site-silent";
/// How long another party than the first is stayed with before the first is tried again.
const RETURN_AFTER: Duration = Duration::from_secs(60);

/// How the conversation stands. In memory only: a new run begins it anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Contact {
    /// Which of the parties is asked.
    at: usize,
    /// Since when that is another one than the first.
    away_since: Option<Instant>,
    failures: u32,
    /// Since when nobody has answered.
    silent_since: Option<Instant>,
    cursor: Option<Cursor>,
    /// What the vault's clock said, and when that was asked for.
    clock: Option<(u64, Instant)>,
    /// When this run first saw each open request.
    pub(super) seen: BTreeMap<RequestId, Instant>,
    /// The last round trip.
    pub(super) transit: Duration,
    /// Digest of the inventory that the other end has.
    pub(super) told_inventory: Option<String>,
    /// Whether the other end wants all documents.
    pub(super) wants_documents: bool,
}

impl Contact {
    /// The vault's clock now, as late as it can be, where it was asked for after `since`.
    pub(super) fn vault_ms(&self, since: Instant) -> Option<u64> {
        let (told, asked) = self.clock.filter(|(_, asked)| *asked >= since)?;
        Some(told.saturating_add(super::age::millis(asked.elapsed())))
    }

    fn answered(&mut self) {
        (self.failures, self.silent_since) = (0, None);
    }

    /// What people are to be shown where nobody has answered for too long.
    fn silence(&self) -> Option<(String, String)> {
        let silent = self.silent_since?.elapsed();
        (silent >= SILENT_AFTER).then(|| {
            let what =
                format!("neither the site server nor the vault has answered for {} s", silent.as_secs());
            (what, "replication goes on; look at the site server and at the line to it".to_owned())
        })
    }

    /// Nobody answered: after some times the next of `count` is asked, from the beginning,
    /// because a cursor means nothing to anybody else.
    fn failed(&mut self, count: usize) {
        self.failures += 1;
        self.silent_since.get_or_insert_with(Instant::now);
        self.clock = None;
        if self.failures >= FAILURES_MAX && count > 1 {
            self.turn_to((self.at + 1) % count);
        }
    }

    fn turn_to(&mut self, at: usize) {
        (self.at, self.failures, self.cursor) = (at, 0, None);
        (self.told_inventory, self.clock) = (None, None);
        self.away_since = (at > 0).then(Instant::now);
    }

    /// The first party is the one to be with, if it answers.
    fn go_home(&mut self) {
        if self.away_since.is_some_and(|since| since.elapsed() >= RETURN_AFTER) {
            self.turn_to(0);
        }
    }
}

/// Does all of a managed agent until stopped. Replications end in good order then.
pub async fn run(agent: Arc<Agent>, managed: Arc<Managed>, stop: CancellationToken) {
    tokio::join!(
        reconcile::reconcile(&agent, &managed, &stop),
        documents(&managed, &stop),
        reports(&agent, &managed, &stop),
        watch_host(&agent, &managed, &stop),
    );
}

/// Machines are followed live: what the hypervisor tells of is looked at, and told.
async fn watch_host(agent: &Arc<Agent>, managed: &Arc<Managed>, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(Ok(hypervisor)) = stop.run_until_cancelled(agent.hypervisor()).await {
            let mut events = hypervisor.events();
            let closed = |event: &Result<_, RecvError>| matches!(event, Err(RecvError::Closed));
            while let Some(event) = stop.run_until_cancelled(events.recv()).await {
                if closed(&event) {
                    break;
                }
                managed.host_changed.store(true, Ordering::Relaxed);
                managed.news.notify_one();
            }
        }
        stop.run_until_cancelled(sleep(managed.timing.look)).await;
    }
}

impl Managed {
    fn upstream(&self) -> Option<Arc<dyn Upstream>> {
        let mut contact = locked(&self.contact);
        contact.go_home();
        self.upstreams.get(contact.at).cloned()
    }

    fn lost(&self, error: &UpstreamError) {
        let silence = {
            let mut contact = locked(&self.contact);
            contact.failed(self.upstreams.len());
            contact.silence()
        };
        if silence.is_some() {
            self.set_problem(NOBODY_ABOVE, silence);
        }
        tracing::debug!(%error, "nobody above answers");
    }
}

async fn documents(managed: &Arc<Managed>, stop: &CancellationToken) {
    let mut pause = managed.timing.retry;
    loop {
        let asked = stop.run_until_cancelled(poll(managed)).await;
        let rest = match asked {
            None => return,
            Some(Ok(rest)) => {
                pause = managed.timing.retry;
                rest
            }
            Some(Err(error)) => {
                tracing::debug!(error = error.fault().what, "documents are asked for again");
                let rest = pause;
                pause = (pause * 2).min(managed.timing.retry_most);
                rest
            }
        };
        if stop.run_until_cancelled(sleep(rest)).await.is_none() {
            return;
        }
    }
}

/// One question; how long to rest before the next.
async fn poll(managed: &Arc<Managed>) -> Result<Duration, AgentError> {
    let Some(upstream) = managed.upstream() else { return Ok(managed.timing.retry_most) };
    let urgent = managed.awaits_confirmation();
    let asked = Instant::now();
    let cursor = locked(&managed.contact).cursor;
    let term = managed.ledger().term();
    let poll = Poll {
        cursor,
        term,
        wait_secs: if urgent { 0 } else { managed.timing.poll.as_secs().min(POLL_SECS_MAX) },
    };
    let answer = match upstream.poll(&poll).await {
        Ok(answer) => answer,
        Err(error) => {
            managed.lost(&error);
            return Err(above(&error));
        }
    };
    let quick = asked.elapsed() < managed.timing.retry && !answer.more && answer.documents.is_empty();
    take(managed, answer, asked).await?;
    // A party that does not hold the question must not be asked without a pause.
    Ok(if quick { managed.timing.retry } else { Duration::ZERO })
}

async fn take(managed: &Arc<Managed>, answer: Documents, asked: Instant) -> Result<(), AgentError> {
    let (cursor, clock) = (answer.cursor, answer.clock_ms);
    let taken = managed
        .change(move |ledger| {
            let taken = ledger.take(&answer);
            let dirty = taken.dirty;
            (taken, dirty)
        })
        .await?;
    if let Some(why) = taken.unheard {
        managed.set_problem(
            "vault-not-followed",
            Some((why.clone(), "look which vault is the right one".into())),
        );
        locked(&managed.contact).failed(managed.upstreams.len());
        return Err(AgentError::Request { what: why, advice: String::new() });
    }
    managed.set_problem("vault-not-followed", None);
    managed.set_problem(NOBODY_ABOVE, None);
    for (key, why) in &taken.refused {
        tracing::debug!(?key, why, "a document was not taken");
    }
    let mut contact = locked(&managed.contact);
    contact.answered();
    // Only now: what is not durable here is asked for again.
    contact.cursor = Some(cursor);
    contact.clock = clock.map(|clock| (clock, asked));
    drop(contact);
    // A request may have waited for just this.
    managed.wanted.notify_one();
    Ok(())
}

async fn reports(agent: &Arc<Agent>, managed: &Arc<Managed>, stop: &CancellationToken) {
    let mut sequence = 0;
    let mut pause = managed.timing.retry;
    loop {
        sequence += 1;
        let told = stop.run_until_cancelled(tell(agent, managed, sequence)).await;
        let (gap, rest) = match told {
            None => return,
            Some(Ok(true)) => (managed.timing.report_gap.min(pause), Duration::ZERO),
            Some(Ok(false)) => {
                pause = managed.timing.retry;
                (managed.timing.report_gap, managed.timing.report)
            }
            Some(Err(error)) => {
                tracing::debug!(error = error.fault().what, "the report is made again");
                let gap = pause;
                pause = (pause * 2).min(managed.timing.retry_most);
                (gap, Duration::ZERO)
            }
        };
        let rest = async {
            sleep(gap).await;
            drop(tokio::time::timeout(rest, managed.news.notified()).await);
        };
        if stop.run_until_cancelled(rest).await.is_none() {
            return;
        }
    }
}

/// One report; whether another is wanted at once.
async fn tell(agent: &Arc<Agent>, managed: &Arc<Managed>, sequence: u64) -> Result<bool, AgentError> {
    let Some(upstream) = managed.upstream() else { return Ok(false) };
    let report = report::make(agent, managed, sequence).await;
    let begun = Instant::now();
    let reply = upstream.report(&report).await.map_err(|error| {
        managed.lost(&error);
        above(&error)
    })?;
    let (whole, gave) = (report.inventory.is_some(), !report.documents.is_empty());
    {
        let mut contact = locked(&managed.contact);
        contact.transit = begun.elapsed();
        contact.wants_documents = reply.wants_documents;
        contact.told_inventory = (!reply.wants_inventory).then(|| report.inventory_digest.clone());
    }
    let acknowledged = reply.acknowledged;
    managed
        .change(move |ledger| {
            let changed = ledger.acknowledge(&acknowledged);
            ((), changed)
        })
        .await?;
    Ok((reply.wants_inventory && !whole) || (reply.wants_documents && !gave))
}

fn above(error: &UpstreamError) -> AgentError {
    AgentError::Request { what: error.to_string(), advice: "it is tried again by itself".to_owned() }
}

#[cfg(test)]
mod tests {
    use farshore_control::Term;
    use farshore_types::VaultId;
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_next_party_is_asked_from_the_beginning_and_the_first_again_later() {
        let term = Term { number: 1, vault: VaultId(Uuid::nil()) };
        let cursor = Some(Cursor { term, sequence: 7 });
        let clock = Some((1000, Instant::now()));
        let mut contact = Contact { cursor, clock, ..Contact::default() };
        contact.failed(2);
        assert_eq!((contact.at, contact.cursor, contact.clock), (0, cursor, None), "only a cut");
        contact.failed(2);
        contact.failed(2);
        assert_eq!((contact.at, contact.cursor), (1, None), "its cursor means nothing to another");
        contact.answered();
        contact.go_home();
        assert_eq!(contact.at, 1);
        tokio::time::advance(RETURN_AFTER).await;
        contact.go_home();
        assert_eq!((contact.at, contact.away_since), (0, None));
        (0..FAILURES_MAX).for_each(|_| contact.failed(1));
        assert_eq!(contact.at, 0, "there is nobody else");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_above_is_shown_after_a_while_and_over_with_an_answer() {
        let mut contact = Contact::default();
        contact.failed(2);
        assert_eq!(contact.silence(), None);
        tokio::time::advance(SILENT_AFTER).await;
        contact.failed(2);
        assert!(contact.silence().unwrap().0.contains("75 s"));
        contact.answered();
        assert_eq!(contact.silence(), None);
        contact.failed(2);
        assert_eq!(contact.silence(), None, "it counts from the first failure after the answer");
    }

    #[tokio::test(start_paused = true)]
    async fn the_vaults_clock_counts_only_if_it_was_asked_for_since() {
        let mut contact = Contact::default();
        let seen = Instant::now();
        assert_eq!(contact.vault_ms(seen), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        contact.clock = Some((5000, Instant::now()));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(contact.vault_ms(seen), Some(7000));
        assert_eq!(contact.vault_ms(Instant::now()), None, "it was said before the question came up");
    }
}
