//! What has changed, for whoever listens: found by looking once a second, as long as somebody
//! does, and kept for a while, so that one who was cut off goes on where it was. This module
//! must never change anything, nor hold anybody up for a slow listener.

mod memory;
mod watched;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use farshore_vault::Problem;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use memory::Memory;
pub(super) use memory::Since;
use watched::Watched;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it is looked, and remembered, after the last listener has gone.
const LINGER: Duration = Duration::from_secs(120);
/// Most listeners at a time.
const LISTENERS_MAX: usize = 64;

/// What has changed.
#[derive(Clone)]
pub(super) struct Events(Arc<Shared>);

struct Shared {
    desk: Desk,
    memory: Mutex<Memory>,
    news: watch::Sender<u64>,
    listeners: AtomicUsize,
    /// Whether it is being looked; held while that changes.
    looking: tokio::sync::Mutex<bool>,
    stop: CancellationToken,
}

/// Somebody who listens, until dropped.
pub(super) struct Listener {
    shared: Arc<Shared>,
    news: watch::Receiver<u64>,
}

impl Events {
    pub(super) fn new(desk: Desk, stop: CancellationToken) -> Events {
        Events(Arc::new(Shared {
            desk,
            memory: Mutex::default(),
            news: watch::Sender::new(0),
            listeners: AtomicUsize::new(0),
            looking: tokio::sync::Mutex::new(false),
            stop,
        }))
    }

    /// Begins to listen: whatever changes from now on is heard. None: too many do.
    ///
    /// # Errors
    /// Only where the vault is stopping.
    pub(super) async fn listen(&self) -> Result<Option<Listener>, Problem> {
        let shared = Arc::clone(&self.0);
        if shared.listeners.fetch_add(1, Ordering::Relaxed) >= LISTENERS_MAX {
            shared.listeners.fetch_sub(1, Ordering::Relaxed);
            return Ok(None);
        }
        let listener = Listener { news: shared.news.subscribe(), shared };
        let mut looking = listener.shared.looking.lock().await;
        if !*looking {
            let mut watched = Watched::default();
            // How everything is now; what differs from it later is news.
            watched = look(&listener.shared.desk, watched).await?.0;
            listener.shared.memory().begin_anew(rand_word());
            tokio::spawn(keep_looking(Arc::clone(&listener.shared), watched));
            *looking = true;
        }
        drop(looking);
        Ok(Some(listener))
    }
}

impl Shared {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// What there is after an event; `None`: from now on.
    pub(super) fn since(&mut self, last: Option<&str>) -> Since {
        self.news.borrow_and_update();
        self.shared.memory().since(last)
    }

    /// Waits until there is more; false: the vault stops.
    pub(super) async fn more(&mut self) -> bool {
        tokio::select! {
            changed = self.news.changed() => changed.is_ok(),
            () = self.shared.stop.cancelled() => false,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks until nobody has listened for a while.
async fn keep_looking(shared: Arc<Shared>, mut watched: Watched) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.stop.cancelled() => return,
        }
        let Ok((again, found)) = look(&shared.desk, watched).await else { return };
        watched = again;
        if !found.is_empty() {
            shared.memory().keep(&found);
            shared.news.send_modify(|count| *count += 1);
        }
        if shared.listeners.load(Ordering::Relaxed) > 0 {
            heard = Instant::now();
        } else if heard.elapsed() > LINGER {
            let mut looking = shared.looking.lock().await;
            // Whoever came meanwhile waits for the lock, and finds that it is looked on.
            if shared.listeners.load(Ordering::Relaxed) == 0 {
                *looking = false;
                return;
            }
            heard = Instant::now();
        }
    }
}

async fn look(desk: &Desk, mut watched: Watched) -> Result<(Watched, Vec<crate::views::EventView>), Problem> {
    desk.look(move |core, _, at| {
        let found = watched.changes(core, at);
        (watched, found)
    })
    .await
}

/// A word by which one run of looking is told from another.
fn rand_word() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}
