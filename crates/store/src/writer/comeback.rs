//! The way back after the connection was lost: tried again and again, with longer and
//! longer pauses, while callers are told at once.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{State, Uncertain, Writer};
use crate::{
    StoreError,
    head::Head,
    hold::Hold,
    location::Location,
    options::Options,
    session::{self, Known, Session},
    status::{Status, count},
};

/// The first pause after a failed attempt, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

type Attempts = Pin<Box<dyn Future<Output = Result<(Session, Head), StoreError>> + Send>>;

/// A comeback under way.
pub(crate) struct Comeback {
    since: Instant,
    source: Option<Arc<sqlx::Error>>,
    pause_ms: Arc<AtomicU64>,
    attempts: Attempts,
    head: Option<Head>,
}

impl Comeback {
    fn new(
        location: Location,
        options: Options,
        known: Known,
        hold: Option<Hold>,
        source: Option<Arc<sqlx::Error>>,
    ) -> Comeback {
        let pause_ms = Arc::new(AtomicU64::new(0));
        let attempts = Box::pin(attempts(location, options, known, hold, pause_ms.clone()));
        Comeback { since: Instant::now(), source, pause_ms, attempts, head: None }
    }

    /// Waits for it; may be dropped and asked again.
    pub(crate) async fn done(&mut self) -> Result<Session, StoreError> {
        let (session, head) = (&mut self.attempts).await?;
        self.head = Some(head);
        Ok(session)
    }

    /// What callers are told meanwhile.
    pub(crate) fn error(&self, location: &Location) -> StoreError {
        StoreError::Unavailable {
            location: location.to_string(),
            down_secs: self.since.elapsed().as_secs(),
            retry_secs: self.pause_ms.load(Relaxed).div_ceil(1000).max(1),
            source: self.source.clone(),
        }
    }
}

async fn attempts(
    location: Location,
    options: Options,
    known: Known,
    mut hold: Option<Hold>,
    pause_ms: Arc<AtomicU64>,
) -> Result<(Session, Head), StoreError> {
    let mut pause = PAUSE_MIN;
    loop {
        match session::resume(&location, &options, &known, &mut hold).await {
            Ok(back) => return Ok(back),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => tracing::warn!(%location, %error, pause_ms = pause.as_millis(), "not back yet"),
        }
        pause_ms.store(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), Relaxed);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl Writer {
    pub(super) fn go_down(&mut self, error: sqlx::Error, lock_lost: bool) {
        self.go_down_for(Some(Arc::new(error)), lock_lost);
    }

    /// The connection is of no use; without the lock, that is got back, too.
    pub(super) fn go_down_for(&mut self, source: Option<Arc<sqlx::Error>>, lock_lost: bool) {
        let closed = StoreError::Closed { location: self.location.to_string() };
        let state = std::mem::replace(&mut self.state, State::Ended(closed));
        let State::Up(session) = state else {
            self.state = state;
            return;
        };
        let hold = (!lock_lost).then_some(session.hold);
        drop(session.link);
        let (location, options, known) = (self.location.clone(), self.options.clone(), self.known.clone());
        let comeback = Comeback::new(location, options, known, hold, source);
        let error = comeback.error(&self.location);
        tracing::warn!(location = %self.location, cause = ?comeback.source, "the connection was lost");
        self.tell.send_replace(Status::Down { error });
        self.state = State::Down(Box::new(comeback));
    }

    pub(super) async fn heartbeat(&mut self) {
        let State::Up(session) = &mut self.state else { return };
        if let Err(error) = session.hold.lives().await {
            self.go_down(error, true);
        }
    }

    /// The comeback is over, one way or the other.
    pub(super) fn back(&mut self, result: Result<Session, StoreError>) {
        let head = match &mut self.state {
            State::Down(comeback) => comeback.head.take(),
            State::Up(_) | State::Ended(_) => None,
        };
        let (session, head) = match (result, head) {
            (Ok(session), Some(head)) => (session, head),
            (Err(error), _) => return self.end(error),
            (Ok(_), None) => return,
        };
        let location = self.location.to_string();
        let expected = self.uncertain.as_ref().map(|uncertain| uncertain.plan.after);
        if head.newest != self.known.newest && Some(head.newest) != expected {
            let by = format!("somebody who wrote change {} without taking it over", head.newest);
            return self.end(StoreError::Superseded { location, by });
        }
        if let Some(Uncertain { commits, plan }) = self.uncertain.take() {
            if head.newest == plan.after {
                self.written(commits, plan);
            } else {
                let error = StoreError::Unavailable { location, down_secs: 0, retry_secs: 1, source: None };
                self.not_written(commits, &plan, Vec::new(), &error);
            }
        }
        count(&self.shared.counters.reconnects, 1);
        tracing::info!(location = %self.location, "the connection is back");
        self.tell.send_replace(Status::Up);
        self.state = State::Up(Box::new(session));
    }
}
