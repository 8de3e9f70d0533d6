//! When a cycle is to be application-consistent. Pure: times in, times out. This module must
//! never know how a guest is frozen.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Pauses before the next try after one that failed, in seconds; then the last one again and
/// again, but never longer than from one point to the next. A freeze costs the guest something,
/// and what keeps it from succeeding seldom passes in a moment.
const RETRY_SECS: [u64; 5] = [30, 60, 120, 300, 600];

/// How often application-consistent points are wanted. Clones share it, and it may be changed
/// while cycles run; with it goes what came of the last tries, which a new replicator goes by.
#[derive(Clone, Debug, Default)]
pub struct AppFrequency(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    millis: AtomicU64,
    tries: Mutex<Tries>,
}

/// What came of the last tries.
#[derive(Debug, Default)]
struct Tries {
    every: Option<Duration>,
    next: Duration,
    failures: usize,
}

impl AppFrequency {
    /// From one such point to the next; none: never.
    #[must_use]
    pub fn new(every: Option<Duration>) -> AppFrequency {
        let frequency = AppFrequency::default();
        frequency.set(every);
        frequency
    }

    /// Changes it. Where it becomes another one, the next cycle is to be such a point.
    pub fn set(&self, every: Option<Duration>) {
        let millis = every.map_or(0, |every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1));
        self.0.millis.store(millis, Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        match self.0.millis.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }

    fn tries(&self) -> MutexGuard<'_, Tries> {
        self.0.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which cycles are to be application-consistent.
#[derive(Debug)]
pub(crate) struct Due(AppFrequency);

impl Due {
    /// The first cycle is, where any is to be; but where the last try of an earlier replicator
    /// failed, its pause is kept.
    pub(crate) fn new(now: Duration, frequency: AppFrequency) -> Due {
        let mut tries = frequency.tries();
        if tries.failures == 0 {
            tries.next = now;
        }
        drop(tries);
        Due(frequency)
    }

    /// Whether they are wanted at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether a cycle that begins now is to be one; `slack` is half the time between cycles, so
    /// that it is the one nearest to its time.
    pub(crate) fn is_now(&self, now: Duration, slack: Duration) -> bool {
        let (every, mut tries) = (self.0.get(), self.0.tries());
        if every != tries.every {
            *tries = Tries { every, next: now, failures: 0 };
        }
        every.is_some() && now + slack >= tries.next
    }

    /// One was made.
    pub(crate) fn made(&self, now: Duration) {
        let mut tries = self.0.tries();
        let every = tries.every.unwrap_or_default();
        tries.next += every;
        if tries.next <= now {
            tries.next = now + every;
        }
        tries.failures = 0;
    }

    /// None came of a try.
    pub(crate) fn failed(&self, now: Duration) {
        let mut tries = self.0.tries();
        let pause = Duration::from_secs(RETRY_SECS[tries.failures.min(RETRY_SECS.len() - 1)]);
        tries.next = now + pause.min(tries.every.unwrap_or(pause));
        tries.failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// The seconds of a grid of cycles at which one was to be application-consistent.
    fn played(due: &Due, copy: u64, until: u64, works: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut at = Vec::new();
        for now in (0..until).step_by(usize::try_from(copy).unwrap()) {
            if due.is_now(S(now), S(copy) / 2) {
                at.push(now);
                if works(now) { due.made(S(now)) } else { due.failed(S(now)) }
            }
        }
        at
    }

    #[test]
    fn the_cycle_nearest_to_its_time_is_chosen() {
        let due = Due::new(S(0), AppFrequency::new(Some(S(60))));
        assert_eq!(played(&due, 30, 240, |_| true), [0, 60, 120, 180]);
        let due = Due::new(S(0), AppFrequency::new(Some(S(60))));
        assert_eq!(played(&due, 25, 300, |_| true), [0, 50, 125, 175, 250], "the grid stays");
    }

    #[test]
    fn one_that_failed_is_tried_again_ever_later_and_not_at_every_cycle() {
        let due = Due::new(S(0), AppFrequency::new(Some(S(3600))));
        assert_eq!(played(&due, 10, 1500, |_| false), [0, 30, 90, 210, 510, 1110]);
        let due = Due::new(S(0), AppFrequency::new(Some(S(60))));
        assert_eq!(played(&due, 10, 300, |_| false), [0, 30, 90, 150, 210, 270], "at its own pace at most");
        let due = Due::new(S(0), AppFrequency::new(Some(S(3600))));
        assert_eq!(played(&due, 10, 4000, |now| now >= 30), [0, 30, 3630]);
    }

    #[test]
    fn a_pause_after_a_failure_outlives_who_met_it() {
        let frequency = AppFrequency::new(Some(S(3600)));
        let due = Due::new(S(0), frequency.clone());
        assert_eq!(played(&due, 10, 40, |_| false), [0, 30]);
        let due = Due::new(S(40), frequency.clone());
        assert!(!due.is_now(S(80), S(5)) && due.is_now(S(90), S(5)));
        due.made(S(90));
        assert!(Due::new(S(100), frequency).is_now(S(100), S(5)), "one that found nothing wrong begins anew");
    }

    #[test]
    fn what_is_changed_meanwhile_counts_from_the_next_cycle_on() {
        let frequency = AppFrequency::default();
        let due = Due::new(S(0), frequency.clone());
        assert_eq!(played(&due, 10, 100, |_| true), Vec::<u64>::new());
        assert!(!due.is_wanted());
        frequency.set(Some(S(60)));
        assert!(due.is_wanted() && due.is_now(S(100), S(5)));
        due.made(S(100));
        assert!(!due.is_now(S(110), S(5)));
        frequency.set(None);
        assert!(!due.is_now(S(1000), S(5)));
    }
}
