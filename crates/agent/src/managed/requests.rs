//! Requests (rule R7): begun once, their outcome kept until somebody above has it durably.
//! One that deletes anything is begun only while the vault answers, by the vault's clock.
//! This module must never do a request's work itself.

use std::sync::Arc;

use farshore_control::request::{Ending, Outcome, Request};
use farshore_types::RequestId;
use tokio_util::sync::CancellationToken;

use super::{
    Managed, actions, locked,
    pace::{Step, step},
};
use crate::{
    Agent,
    control::{Event, Observer},
};

impl Managed {
    /// Whether a drastic request waits for the vault's word.
    pub(super) fn awaits_confirmation(&self) -> bool {
        let waiting = |(request, begun): &(Request, bool)| request.action.is_drastic() && !begun;
        self.ledger().open_requests().iter().any(waiting) || self.awaits_fresh_word()
    }

    /// Begins what is to be begun.
    pub(super) async fn do_requests(self: &Arc<Self>, agent: &Arc<Agent>, stop: &CancellationToken) {
        let open = self.ledger().open_requests();
        for (request, begun) in open {
            let id = request.id;
            if locked(&self.progress).contains_key(&id) {
                continue;
            }
            let vault_ms = self.vault_ms(id);
            match step(&request, begun, vault_ms) {
                Step::Wait => {}
                Step::End(ending) => self.ended(id, ending).await,
                Step::Work => {
                    let kept = self.change(move |ledger| (ledger.begin(id), !begun)).await;
                    if let Err(error) = kept {
                        tracing::error!(%id, error = error.fault().what, "a request cannot be begun");
                        continue;
                    }
                    locked(&self.progress).insert(id, (0, 0));
                    let (this, agent, stop) = (Arc::clone(self), Arc::clone(agent), stop.child_token());
                    tokio::spawn(async move { this.work(&agent, request, stop).await });
                }
            }
        }
        // What is over, or not wanted any more, waits for no word.
        let open = self.ledger().open_requests();
        locked(&self.contact).seen.retain(|id, _| open.iter().any(|(request, _)| request.id == *id));
    }

    /// The vault's clock, where it was asked for after this run first saw the request.
    fn vault_ms(&self, id: RequestId) -> Option<u64> {
        let now = self.since_start();
        let mut contact = locked(&self.contact);
        let seen = *contact.seen.entry(id).or_insert(now);
        contact.vault_ms(seen, now)
    }

    async fn work(self: Arc<Self>, agent: &Arc<Agent>, request: Request, stop: CancellationToken) {
        let id = request.id;
        let (observer, mut events) = Observer::new(stop.clone());
        let ending = {
            let work = actions::run(agent, &self, request.action, &observer);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    ending = &mut work => break ending,
                    Some(event) = events.recv() => if let Event::Advance { done, total, .. } = event {
                        locked(&self.progress).insert(id, (done, total));
                    },
                }
            }
        };
        // One that was stopped with the agent is begun again by the next run.
        if !stop.is_cancelled() {
            self.ended(id, ending).await;
        }
        locked(&self.progress).remove(&id);
    }

    async fn ended(self: &Arc<Self>, id: RequestId, ending: Ending) {
        tracing::info!(%id, ?ending, "a request of the vault ended");
        if let Err(error) = self.change(move |ledger| (ledger.end(id, ending), true)).await {
            // It is known to have begun, and is done again.
            tracing::error!(%id, error = error.fault().what, "an outcome cannot be kept");
        }
        // Somebody has asked for it, and may order something by it.
        self.urge();
    }

    /// What there is to tell of requests.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let ledger = self.ledger();
        let running = locked(&self.progress);
        let running = running.iter().map(|(id, (done, total))| Outcome {
            id: *id,
            host: self.me,
            result: Ending::Running { done: *done, total: *total },
        });
        let ended: Vec<Outcome> = ledger.outcomes().cloned().collect();
        let is_ended = |outcome: &Outcome| ended.iter().any(|ended| ended.id == outcome.id);
        let running: Vec<Outcome> = running.filter(|outcome| !is_ended(outcome)).collect();
        ended.into_iter().chain(running).collect()
    }
}
