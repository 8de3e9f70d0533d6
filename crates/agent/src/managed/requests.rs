//! Requests (rule R7): begun once, their outcome kept until somebody above has it durably.
//! One that deletes anything is begun only while the vault answers, by the vault's clock.
//! This module must never do a request's work itself.

use std::sync::Arc;

use farshore_control::request::{Ending, Outcome, Request};
use farshore_types::RequestId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Managed, actions, locked};
use crate::{
    Agent,
    control::{Event, Observer},
};

/// What is to be done about a request now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Its work begins, or begins again.
    Work,
    /// It ends like this, without any work.
    End(Ending),
    /// The vault has to answer first.
    Wait,
}

/// Pure: by what the vault's clock says now, where it was asked since the request came.
fn step(request: &Request, begun: bool, vault_ms: Option<u64>) -> Step {
    if !request.action.is_drastic() {
        // What changes nothing that matters may as well be late.
        return match vault_ms {
            Some(now) if !begun && request.is_expired(now) => Step::End(Ending::Expired),
            _ => Step::Work,
        };
    }
    if request.expires_ms.is_none() {
        let what = "a request that deletes something must expire, and this one does not".to_owned();
        let advice = "report this as a fault of the vault".to_owned();
        return Step::End(Ending::Failed { what, advice });
    }
    match vault_ms {
        // It may have been done in part: half a thing is to be finished, whatever the time.
        _ if begun => Step::Work,
        None => Step::Wait,
        Some(now) if request.is_expired(now) => Step::End(Ending::Expired),
        Some(_) => Step::Work,
    }
}

impl Managed {
    /// Whether a drastic request waits for the vault's word.
    pub(super) fn awaits_confirmation(&self) -> bool {
        let waiting = |(request, begun): &(Request, bool)| request.action.is_drastic() && !begun;
        self.ledger().open_requests().iter().any(waiting)
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
        let mut contact = locked(&self.contact);
        let seen = *contact.seen.entry(id).or_insert_with(Instant::now);
        contact.vault_ms(seen)
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

#[cfg(test)]
mod tests {
    use farshore_control::request::Action;
    use farshore_types::{Epoch, MachineId};
    use uuid::Uuid;

    use super::*;

    fn request(action: Action, expires_ms: Option<u64>) -> Request {
        Request { id: RequestId(Uuid::nil()), expires_ms, action }
    }

    fn deletion(expires_ms: Option<u64>) -> Request {
        let machine = MachineId(Uuid::nil());
        request(Action::DeleteReplica { machine, epoch: Epoch { number: 1, token: 1 } }, expires_ms)
    }

    #[test]
    fn a_deletion_waits_for_the_vaults_word_and_expires_by_its_clock() {
        assert_eq!(step(&deletion(Some(1000)), false, None), Step::Wait);
        assert_eq!(step(&deletion(Some(1000)), false, Some(1000)), Step::Work);
        assert_eq!(step(&deletion(Some(1000)), false, Some(1001)), Step::End(Ending::Expired));
        assert!(matches!(step(&deletion(None), false, Some(1)), Step::End(Ending::Failed { .. })));
    }

    #[test]
    fn half_a_deletion_is_finished_whatever_the_time() {
        assert_eq!(step(&deletion(Some(1000)), true, None), Step::Work);
        assert_eq!(step(&deletion(Some(1000)), true, Some(5000)), Step::Work);
    }

    #[test]
    fn what_changes_nothing_needs_nobodys_word() {
        let definition = Action::Definition { machine: MachineId(Uuid::nil()) };
        assert_eq!(step(&request(definition.clone(), None), false, None), Step::Work);
        assert_eq!(step(&request(definition, Some(5)), false, Some(6)), Step::End(Ending::Expired));
    }
}
