//! A bandwidth limit that many senders share and that may change at any time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as FairMutex, Notify},
    time::Instant,
};

/// Unused time that may be caught up on, so that coarse timers do not cost bandwidth.
const BURST: Duration = Duration::from_millis(50);
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The arithmetic of the limit; time is passed in. What was sent is paid for by the time
/// it takes at the current rate, and nothing more is sent while a payment is due.
#[derive(Debug, Default)]
struct Bucket {
    /// Bytes per second; `None` is no limit.
    rate: Option<u64>,
    /// When everything sent so far is paid for.
    paid_at: Duration,
}

impl Bucket {
    /// Sends `bytes` if nothing is due; otherwise says how long to wait before asking again.
    fn take(&mut self, bytes: u64, now: Duration) -> Result<(), Duration> {
        let Some(rate) = self.rate else {
            self.paid_at = now;
            return Ok(());
        };
        if let Some(due) = self.paid_at.checked_sub(now).filter(|due| !due.is_zero()) {
            return Err(due);
        }
        self.paid_at = self.paid_at.max(now.saturating_sub(BURST)) + cost(bytes, rate);
        Ok(())
    }

    /// Changes the rate; what is due is converted, so that a change counts at once.
    fn set(&mut self, rate: Option<u64>, now: Duration) {
        let due = self.paid_at.saturating_sub(now);
        let due = match (self.rate, rate) {
            (Some(old), Some(new)) => {
                let bytes = due.as_nanos() * u128::from(old.max(1)) / NANOS_PER_SECOND;
                cost(u64::try_from(bytes).unwrap_or(u64::MAX), new)
            }
            _ => Duration::ZERO,
        };
        self.rate = rate;
        self.paid_at = now + due;
    }
}

/// Time that bytes take at a rate. A rate of zero is taken as one byte per second.
fn cost(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * NANOS_PER_SECOND / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A limit in bytes per second. Clones share it.
#[derive(Clone, Debug)]
pub struct RateLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bucket: Mutex<Bucket>,
    start: Instant,
    changed: Notify,
    /// Senders wait in line here: first come, first served.
    line: FairMutex<()>,
}

impl RateLimit {
    /// A limit of so many bytes per second; `None` is no limit.
    #[must_use]
    pub fn new(rate: Option<u64>) -> RateLimit {
        let bucket = Mutex::new(Bucket { rate, paid_at: Duration::ZERO });
        RateLimit(Arc::new(Shared {
            bucket,
            start: Instant::now(),
            changed: Notify::new(),
            line: FairMutex::new(()),
        }))
    }

    /// Changes the limit for all clones, also for those that are waiting.
    pub fn set(&self, rate: Option<u64>) {
        let now = self.0.start.elapsed();
        self.with(|bucket| bucket.set(rate, now));
        self.0.changed.notify_waiters();
    }

    /// The limit now, in bytes per second.
    #[must_use]
    pub fn get(&self) -> Option<u64> {
        self.with(|bucket| bucket.rate)
    }

    /// Waits until `bytes` may be sent. Dropping the future takes nothing.
    pub async fn take(&self, bytes: u64) {
        let _turn = self.0.line.lock().await;
        loop {
            // Listen before looking, or a change in between would go unheard.
            let changed = self.0.changed.notified();
            let now = self.0.start.elapsed();
            match self.with(|bucket| bucket.take(bytes, now)) {
                Ok(()) => return,
                Err(wait) => {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Bucket) -> T) -> T {
        f(&mut self.0.bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
