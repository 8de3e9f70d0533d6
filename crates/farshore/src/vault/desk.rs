//! The vault's desk: the one task that owns the core, the vault's own papers and the store.
//! Whoever wants something changed hands in the work; several are written as one transaction,
//! and nobody is answered before that is durable. This module must never decide anything.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use farshore_store::{Changes, Expect, RowId, Store, StoreError};
use farshore_vault::{Core, Moment, Problem, ProblemKind};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{metrics::Meters, papers::Papers};

/// Most works that are written as one transaction.
const BATCH_MAX: usize = 256;
/// Rows touched after which no further work comes into the same transaction: a store takes
/// 20,000 at once, and one work alone may be some thousand.
const TOUCHED_MAX: usize = 8_000;
/// Most works that wait; whoever comes then waits to be let in.
const INBOX_MAX: usize = 1024;
/// How often the core is let know that time passes.
const TICK: Duration = Duration::from_secs(1);

/// What a work can change.
pub(crate) struct Books<'a> {
    /// The core.
    pub(crate) core: &'a mut Core,
    /// Registrations, certificates, and the authority.
    pub(crate) papers: &'a mut Papers,
    /// When it happens.
    pub(crate) at: Moment,
}

/// Sends the answer, once it is known whether the work is durable.
type Finish = Box<dyn FnOnce(Result<(), &Problem>) + Send>;
type Work = Box<dyn FnOnce(&mut Books<'_>) -> Finish + Send>;
type Look = Box<dyn FnOnce(&Core, &Papers, &Moment) + Send>;

enum Ask {
    Work(Work),
    Look(Look),
}

/// A handle to the desk.
#[derive(Clone)]
pub(crate) struct Desk {
    inbox: mpsc::Sender<Ask>,
    news: watch::Receiver<u64>,
    begun: Instant,
    meters: Meters,
}

impl Desk {
    /// Opens the desk; it works until stopped, or until the store can never be written again.
    pub(crate) fn open(core: Core, papers: Papers, store: Store, stop: CancellationToken) -> Desk {
        let (inbox, asks) = mpsc::channel(INBOX_MAX);
        let (tell, news) = watch::channel(core.sequence());
        let begun = Instant::now();
        let meters = Meters::default();
        let clerk = Clerk { core, papers, store, tell, begun, meters: meters.clone() };
        tokio::spawn(clerk.work(asks, stop));
        Desk { inbox, news, begun, meters }
    }

    /// Does something wholly or not at all; the answer comes when it is durable.
    ///
    /// # Errors
    /// What the work says, or why it could not be stored; nothing was changed.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books<'_>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |books| {
            let done = work(books);
            Box::new(move |stored| {
                // Who asked may have given up: that is fine.
                drop(reply.send(stored.map_err(Problem::clone).and(done)));
            })
        });
        self.ask(Ask::Work(work)).await?;
        answer.await.map_err(|_| closed())?
    }

    /// Looks at what is durable.
    ///
    /// # Errors
    /// Only where the vault is stopping.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core, &Papers, &Moment) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        let look: Look = Box::new(move |core, papers, at| drop(reply.send(look(core, papers, at))));
        self.ask(Ask::Look(look)).await?;
        answer.await.map_err(|_| closed())
    }

    /// Changes whenever there is a new document.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.clone()
    }

    /// What is measured of it.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Time since the desk was opened.
    pub(crate) fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn ask(&self, ask: Ask) -> Result<(), Problem> {
        self.inbox.send(ask).await.map_err(|_| closed())
    }
}

struct Clerk {
    core: Core,
    papers: Papers,
    store: Store,
    tell: watch::Sender<u64>,
    begun: Instant,
    meters: Meters,
}

impl Clerk {
    async fn work(mut self, mut asks: mpsc::Receiver<Ask>, stop: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A new term, and who has spoken to it, wait in the transaction that loading opened: a
        // later one that cannot be stored would take them back with it (rule R6).
        if let Err(error) = self.store_changes().await {
            tracing::error!(%error, "what was loaded cannot be stored: this vault does not begin to command");
            stop.cancel();
            self.store.close().await;
            return;
        }
        loop {
            let first = tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => ask,
                    None => break,
                },
                _ = tick.tick() => Ask::Work(Box::new(|books| {
                    let at = books.at;
                    books.core.tick(&at);
                    books.core.watch_over(&at);
                    Box::new(|_| {})
                })),
                () = stop.cancelled() => break,
            };
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX
                && let Ok(more) = asks.try_recv()
            {
                batch.push(more);
            }
            if let Err(error) = self.serve(batch).await {
                tracing::error!(%error, "the store cannot be written any more: this vault stops commanding");
                stop.cancel();
                break;
            }
        }
        self.keep_history(true);
        self.store.close().await;
    }

    /// What is remembered of protections is kept now and then, without a transaction of ours.
    fn keep_history(&mut self, all: bool) {
        let at = self.moment();
        super::watch::note(&self.store, self.core.samples(all, &at));
    }

    /// Does all works, stores what they changed, answers; then lets look who wants to.
    async fn serve(&mut self, batch: Vec<Ask>) -> Result<(), Arc<StoreError>> {
        let (mut finishes, mut looks) = (Vec::new(), Vec::new());
        for ask in batch {
            match ask {
                Ask::Look(look) => looks.push(look),
                Ask::Work(work) => {
                    let at = self.moment();
                    finishes.push(work(&mut Books { core: &mut self.core, papers: &mut self.papers, at }));
                    if self.core.touched() > TOUCHED_MAX {
                        self.settle(std::mem::take(&mut finishes)).await?;
                    }
                }
            }
        }
        let settled = self.settle(finishes).await;
        self.keep_history(false);
        let at = self.moment();
        for look in looks {
            look(&self.core, &self.papers, &at);
        }
        let sequence = self.core.sequence();
        self.tell.send_if_modified(|known| std::mem::replace(known, sequence) != sequence);
        settled
    }

    /// Stores what works have changed, and answers them.
    async fn settle(&mut self, finishes: Vec<Finish>) -> Result<(), Arc<StoreError>> {
        let stored = self.store_changes().await;
        let problem = stored.as_ref().err().map(unavailable);
        for finish in finishes {
            finish(problem.as_ref().map_or(Ok(()), Err));
        }
        match stored {
            Err(error) if error.is_final() => Err(Arc::new(error)),
            _ => Ok(()),
        }
    }

    async fn store_changes(&mut self) -> Result<(), StoreError> {
        let changes = changes_of(&self.core, &self.papers);
        let begun = Instant::now();
        let stored = match changes {
            Some(changes) => {
                let stored = self.store.commit(changes).await.map(drop);
                self.meters.committed(begun.elapsed(), stored.is_ok());
                stored
            }
            None => Ok(()),
        };
        match &stored {
            Ok(()) => {
                self.core.commit();
                self.papers.commit();
            }
            Err(error) => {
                tracing::warn!(%error, "what was asked for could not be stored");
                self.core.roll_back();
                self.papers.roll_back();
            }
        }
        stored
    }

    fn moment(&self) -> Moment {
        super::moment_since(self.begun)
    }
}

/// What waits in core and papers, as one transaction of the store; none where nothing does.
pub(super) fn changes_of(core: &Core, papers: &Papers) -> Option<Changes> {
    let mut changes = Changes::new();
    let mut any = false;
    for change in core.changes() {
        any = true;
        let id = RowId::new(change.kind, change.key);
        changes = match change.body {
            Some(body) => changes.put(id, Expect::Anything, body),
            None => changes.delete(id, Expect::Anything),
        };
    }
    for (id, body) in papers.changes() {
        any = true;
        changes = match body {
            Some(body) => changes.put(id, Expect::Anything, body),
            None => changes.delete(id, Expect::Anything),
        };
    }
    if papers.first_of_term {
        changes = changes.learned();
    }
    any.then_some(changes)
}

fn closed() -> Problem {
    problem("stopping", "the vault is stopping".to_owned(), "ask again when it is back")
}

fn unavailable(error: &StoreError) -> Problem {
    problem("store", format!("it could not be stored: {error}"), "nothing was changed; try again")
}

fn problem(code: &str, what: String, advice: &str) -> Problem {
    let (code, advice) = (code.to_owned(), advice.to_owned());
    Problem { kind: ProblemKind::Unavailable, code, what, advice, details: Vec::new() }
}
