//! The one who writes: takes everybody's transactions, writes those that wait together in
//! one transaction of the database, and answers each with its own outcome once that is
//! durable. Samples ride along, or go by themselves now and then.
//!
//! ```text
//!          commit, flush, prune            connection lost
//!        ┌──────────────────────┐   ┌──────────────────────────┐
//!        └──► Up ◄──────────────┘   │   Down: callers are told at once, the comeback
//!             │ ▲───── came back ───┴──   is under way, and a commit whose outcome is
//!             │                           not known waits for it
//!             └──── taken over, rolled back, closed ────► Ended
//! ```

mod comeback;
mod group;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Interval, MissedTickBehavior, interval},
};

use crate::{
    StoreError,
    apply::Fence,
    batch::{Index, Plan},
    bug::Bug,
    changes::Changes,
    location::Location,
    options::{Options, Retention},
    record::Version,
    session::{Known, Session},
    status::{Shared, Status},
};
use comeback::Comeback;

/// What a caller of a commit is told.
pub(crate) type Outcome = Result<Version, StoreError>;

/// One caller's transaction.
pub(crate) struct Commit {
    pub(crate) changes: Changes,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

/// What callers ask for.
pub(crate) enum Request {
    Commit(Commit),
    Flush(oneshot::Sender<Result<(), StoreError>>),
    Prune(oneshot::Sender<Result<u64, StoreError>>),
    Keep(Vec<Retention>, oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// A group whose commit broke off.
struct Uncertain {
    commits: Vec<Commit>,
    plan: Plan,
}

enum State {
    Up(Box<Session>),
    Down(Box<Comeback>),
    Ended(StoreError),
}

pub(crate) struct Writer {
    location: Location,
    options: Options,
    state: State,
    index: Index,
    known: Known,
    uncertain: Option<Uncertain>,
    shared: Arc<Shared>,
    tell: watch::Sender<Status>,
    /// Whether samples are to be written until none wait.
    flushing: bool,
    /// Rules that are still to be worked through.
    pruning: Vec<Retention>,
    /// Who waits until they are, and how much went meanwhile.
    prunings: Vec<oneshot::Sender<Result<u64, StoreError>>>,
    pruned: u64,
}

enum Step {
    Request(Option<Request>),
    Flush,
    Heartbeat,
    Prune,
    Background,
    Back(Result<Session, StoreError>),
}

/// Nothing is done more often by the clock.
const TICK_MIN: Duration = Duration::from_millis(10);

/// What goes by the clock.
struct Ticks {
    flush: Interval,
    heartbeat: Interval,
    prune: Interval,
}

impl Ticks {
    fn new(options: &Options) -> Ticks {
        let every = |period: Duration| {
            let mut ticks = interval(period.max(TICK_MIN));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
            ticks
        };
        Ticks {
            flush: every(options.flush_every),
            heartbeat: every(options.heartbeat_every),
            prune: every(options.prune_every),
        }
    }
}

impl Writer {
    pub(crate) fn new(
        location: Location,
        options: Options,
        session: Session,
        index: Index,
        known: Known,
        shared: Arc<Shared>,
        tell: watch::Sender<Status>,
    ) -> Writer {
        let state = State::Up(Box::new(session));
        Writer {
            location,
            options,
            state,
            index,
            known,
            uncertain: None,
            shared,
            tell,
            flushing: false,
            pruning: Vec::new(),
            prunings: Vec::new(),
            pruned: 0,
        }
    }

    /// Works until it is closed or nobody is left to ask.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut ticks = Ticks::new(&self.options);
        loop {
            match self.next(&mut inbox, &mut ticks).await {
                Step::Request(Some(Request::Commit(first))) => {
                    if let Some(Request::Close(reply)) = self.group(first, &mut inbox).await {
                        return self.close(Some(reply)).await;
                    }
                }
                Step::Request(Some(Request::Close(reply))) => return self.close(Some(reply)).await,
                Step::Request(Some(request)) => self.answer(request).await,
                Step::Request(None) => return self.close(None).await,
                Step::Flush => self.flushing = true,
                Step::Heartbeat => self.heartbeat().await,
                Step::Prune => self.pruning = self.options.retention.clone(),
                Step::Background => self.background().await,
                Step::Back(result) => self.back(result),
            }
        }
    }

    /// Fair between all that may be done, so that a flood of commits starves nothing.
    async fn next(&mut self, inbox: &mut mpsc::Receiver<Request>, ticks: &mut Ticks) -> Step {
        let busy = self.flushing || !self.pruning.is_empty();
        match &mut self.state {
            State::Up(_) => tokio::select! {
                request = inbox.recv() => Step::Request(request),
                () = self.shared.many.notified() => Step::Flush,
                _ = ticks.flush.tick() => Step::Flush,
                _ = ticks.heartbeat.tick() => Step::Heartbeat,
                _ = ticks.prune.tick() => Step::Prune,
                () = std::future::ready(()), if busy => Step::Background,
            },
            State::Down(comeback) => tokio::select! {
                request = inbox.recv() => Step::Request(request),
                back = comeback.done() => Step::Back(back),
            },
            State::Ended(_) => Step::Request(inbox.recv().await),
        }
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Flush(reply) => {
                let flushed = self.flush().await;
                reply.send(flushed).ok();
            }
            Request::Prune(reply) => {
                self.pruning = self.options.retention.clone();
                self.prunings.push(reply);
                self.told_of_pruning(self.usable());
            }
            Request::Keep(retention, reply) => {
                self.options.retention = retention;
                reply.send(()).ok();
            }
            // Both are taken care of where requests come in.
            Request::Commit(commit) => drop(commit),
            Request::Close(reply) => drop(reply),
        }
    }

    /// What a caller is told while nothing can be written; `Ok` while it can.
    fn usable(&self) -> Result<(), StoreError> {
        match &self.state {
            State::Up(_) => Ok(()),
            State::Down(comeback) => Err(comeback.error(&self.location)),
            State::Ended(error) => Err(error.clone()),
        }
    }

    fn fence(&self) -> Fence {
        Fence { number: self.known.fence, asked: !self.options.is(Bug::NoFence) }
    }

    /// Ends it for good in this process; whoever waits is told.
    fn end(&mut self, error: StoreError) {
        tracing::error!(location = %self.location, %error, "the store can be written no more");
        if let Some(Uncertain { commits, .. }) = self.uncertain.take() {
            let unknown = StoreError::OutcomeUnknown { location: self.location.to_string() };
            commits.into_iter().for_each(|commit| drop(commit.reply.send(Err(unknown.clone()))));
        }
        self.told_of_pruning(Err(error.clone()));
        self.tell.send_replace(Status::Ended { error: error.clone() });
        self.state = State::Ended(error);
    }

    async fn close(mut self, reply: Option<oneshot::Sender<()>>) {
        if let Err(error) = self.flush().await {
            let waiting = self.shared.behind().len();
            tracing::warn!(%error, waiting, "samples were not written before the store was closed");
        }
        let closed = StoreError::Closed { location: self.location.to_string() };
        let state = std::mem::replace(&mut self.state, State::Ended(closed.clone()));
        match state {
            State::Up(session) => session.close().await,
            State::Down(_) => self.end(closed.clone()),
            State::Ended(_) => {}
        }
        // Why it ended before is what people have to know.
        self.tell.send_if_modified(|status| {
            let first = !matches!(status, Status::Ended { .. });
            if first {
                *status = Status::Ended { error: closed };
            }
            first
        });
        if let Some(reply) = reply {
            reply.send(()).ok();
        }
    }
}
