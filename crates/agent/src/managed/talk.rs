//! The conversation with whoever is above: documents by long poll, reports on news and from
//! time to time; the next party where one does not answer. This module must never judge a
//! document, nor make a report.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use farshore_control::sync::{Documents, POLL_SECS_MAX, Poll};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Managed, Timing, Upstream, UpstreamError, locked, reconcile, report};
use crate::{Agent, AgentError};

/// Code of the problem that nobody above answers.
const NOBODY_ABOVE: &str = "site-silent";

/// Shortest time between two reports where somebody waits for what is new.
const URGENT_GAP: Duration = Duration::from_millis(100);

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
                managed.news.soon.notify_one();
            }
        }
        stop.run_until_cancelled(sleep(managed.timing.look)).await;
    }
}

impl Managed {
    /// Where something happened too soon after the last look, the next one is not put off.
    fn until_next_report(&self) -> Duration {
        let changed = self.host_changed.load(Ordering::Relaxed);
        let Timing { report, look, .. } = self.timing;
        if changed { report.min(look / report::LOOK_SOONER) } else { report }
    }

    fn upstream(&self) -> Option<Arc<dyn Upstream>> {
        let mut contact = locked(&self.contact);
        contact.go_home(self.since_start());
        self.upstreams.get(contact.party()).cloned()
    }

    fn lost(&self, error: &UpstreamError) {
        let now = self.since_start();
        let silence = {
            let mut contact = locked(&self.contact);
            contact.failed(self.upstreams.len(), now);
            contact.silence(now)
        };
        if silence.is_some() {
            self.set_problem(NOBODY_ABOVE, silence);
        }
        tracing::debug!(%error, "nobody above answers");
    }
}

impl Managed {
    /// Somebody waits for what is new: it is told without the usual gap.
    pub(super) fn urge(&self) {
        self.news.is_urgent.store(true, Ordering::Relaxed);
        self.news.urgent.notify_one();
    }

    /// Waits for something that is urgent; never for less than keeps reports from crowding.
    async fn has_urgent_news(&self) {
        sleep(URGENT_GAP).await;
        self.news.urgent.notified().await;
    }

    /// Waits for something that is worth a report, `since` the last one was made.
    async fn has_news(&self, since: Duration) {
        let cycle = async {
            sleep(self.timing.cycle_gap.saturating_sub(since)).await;
            self.news.cycle.notified().await;
        };
        tokio::select! {
            () = self.news.soon.notified() => {}
            () = cycle => {}
        }
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
    let asked = managed.since_start();
    let cursor = locked(&managed.contact).cursor();
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
    let waited = managed.since_start().saturating_sub(asked);
    let quick = waited < managed.timing.retry && !answer.more && answer.documents.is_empty();
    take(managed, answer, asked).await?;
    // A party that does not hold the question must not be asked without a pause.
    Ok(if quick { managed.timing.retry } else { Duration::ZERO })
}

async fn take(managed: &Arc<Managed>, answer: Documents, asked: Duration) -> Result<(), AgentError> {
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
        locked(&managed.contact).failed(managed.upstreams.len(), managed.since_start());
        return Err(AgentError::Request { what: why, advice: String::new() });
    }
    managed.set_problem("vault-not-followed", None);
    managed.set_problem(NOBODY_ABOVE, None);
    for (key, why) in &taken.refused {
        tracing::debug!(?key, why, "a document was not taken");
    }
    let mut contact = locked(&managed.contact);
    // Only now: what is not durable here is asked for again.
    contact.answered(cursor, clock.map(|clock| (clock, asked)));
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
        let heard = matches!(told, Some(Ok(_)));
        let (gap, rest) = match told {
            None => return,
            Some(Ok(true)) => (managed.timing.report_gap.min(pause), Duration::ZERO),
            Some(Ok(false)) => {
                pause = managed.timing.retry;
                (managed.timing.report_gap, managed.until_next_report())
            }
            Some(Err(error)) => {
                tracing::debug!(error = error.fault().what, "the report is made again");
                let gap = pause;
                pause = (pause * 2).min(managed.timing.retry_most);
                (gap, Duration::ZERO)
            }
        };
        let rest = async {
            let usual = async {
                sleep(gap).await;
                drop(tokio::time::timeout(rest, managed.has_news(gap)).await);
            };
            // Who does not answer is not asked more often because of that.
            tokio::select! {
                () = usual => {}
                () = managed.has_urgent_news(), if heard => {}
            }
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
        managed.news.is_urgent.fetch_or(report.urgent, Ordering::Relaxed);
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
    use farshore_sim::MemoryFiles;
    use farshore_types::HostId;
    use uuid::Uuid;

    use super::*;
    use crate::managed::Timing;

    fn managed() -> Managed {
        let files = Arc::new(MemoryFiles::new());
        Managed::open(HostId(Uuid::nil()), Vec::new(), Timing::default(), files, "/state".into(), "first")
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_waits_for_is_told_without_the_usual_gap_and_reports_never_crowd() {
        let (managed, begun) = (managed(), Instant::now());
        (0..5).for_each(|_| managed.urge());
        managed.has_urgent_news().await;
        assert_eq!(begun.elapsed(), URGENT_GAP);
        assert!(managed.timing.report_gap > URGENT_GAP * 4);
        let again = tokio::time::timeout(Duration::from_secs(60), managed.has_urgent_news()).await;
        assert!(again.is_err(), "it is told once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_point_is_told_after_its_gap_and_anything_else_at_once() {
        let (managed, begun) = (managed(), Instant::now());
        let Timing { report_gap, cycle_gap, .. } = managed.timing;
        // Many points in the gap are one report.
        (0..5).for_each(|_| managed.news.cycle.notify_one());
        managed.has_news(report_gap).await;
        assert_eq!(begun.elapsed(), cycle_gap - report_gap);
        let again = tokio::time::timeout(Duration::from_secs(60), managed.has_news(report_gap)).await;
        assert!(again.is_err(), "nothing was new");
        let begun = Instant::now();
        managed.news.cycle.notify_one();
        managed.news.soon.notify_one();
        managed.has_news(report_gap).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
