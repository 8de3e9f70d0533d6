//! When a cycle is to be application-consistent. Pure: times in, times out. This module must
//! never know how a guest is frozen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Pauses before the next try after one that failed, in seconds; then the last one again and
/// again, but never longer than from one point to the next. A freeze costs the guest something,
/// and what keeps it from succeeding seldom passes in a moment.
const RETRY_SECS: [u64; 5] = [30, 60, 120, 300, 600];

/// How often application-consistent points are wanted. Clones share it, and it may be changed
/// while cycles run.
#[derive(Clone, Debug, Default)]
pub struct AppFrequency(Arc<AtomicU64>);

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
        self.0.store(millis, Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }
}

/// Which cycles are to be application-consistent.
#[derive(Debug)]
pub(crate) struct Due {
    frequency: AppFrequency,
    every: Option<Duration>,
    next: Duration,
    failures: usize,
}

impl Due {
    /// The first cycle is, where any is to be.
    pub(crate) fn new(now: Duration, frequency: AppFrequency) -> Due {
        Due { every: frequency.get(), frequency, next: now, failures: 0 }
    }

    /// Whether they are wanted at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.frequency.get().is_some()
    }

    /// Whether a cycle that begins now is to be one; `slack` is half the time between cycles, so
    /// that it is the one nearest to its time.
    pub(crate) fn is_now(&mut self, now: Duration, slack: Duration) -> bool {
        let every = self.frequency.get();
        if every != self.every {
            (self.every, self.next, self.failures) = (every, now, 0);
        }
        every.is_some() && now + slack >= self.next
    }

    /// One was made.
    pub(crate) fn made(&mut self, now: Duration) {
        let every = self.every.unwrap_or_default();
        self.next += every;
        if self.next <= now {
            self.next = now + every;
        }
        self.failures = 0;
    }

    /// None came of a try.
    pub(crate) fn failed(&mut self, now: Duration) {
        let pause = Duration::from_secs(RETRY_SECS[self.failures.min(RETRY_SECS.len() - 1)]);
        self.next = now + pause.min(self.every.unwrap_or(pause));
        self.failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// The seconds of a grid of cycles at which one was to be application-consistent.
    fn played(due: &mut Due, copy: u64, until: u64, works: impl Fn(u64) -> bool) -> Vec<u64> {
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
        let mut due = Due::new(S(0), AppFrequency::new(Some(S(60))));
        assert_eq!(played(&mut due, 30, 240, |_| true), [0, 60, 120, 180]);
        let mut due = Due::new(S(0), AppFrequency::new(Some(S(60))));
        assert_eq!(played(&mut due, 25, 300, |_| true), [0, 50, 125, 175, 250], "the grid stays");
    }

    #[test]
    fn one_that_failed_is_tried_again_ever_later_and_not_at_every_cycle() {
        let mut due = Due::new(S(0), AppFrequency::new(Some(S(3600))));
        assert_eq!(played(&mut due, 10, 1500, |_| false), [0, 30, 90, 210, 510, 1110]);
        let mut due = Due::new(S(0), AppFrequency::new(Some(S(60))));
        assert_eq!(
            played(&mut due, 10, 300, |_| false),
            [0, 30, 90, 150, 210, 270],
            "at its own pace at most"
        );
        let mut due = Due::new(S(0), AppFrequency::new(Some(S(3600))));
        assert_eq!(played(&mut due, 10, 4000, |now| now >= 30), [0, 30, 3630]);
    }

    #[test]
    fn what_is_changed_meanwhile_counts_from_the_next_cycle_on() {
        let frequency = AppFrequency::default();
        let mut due = Due::new(S(0), frequency.clone());
        assert_eq!(played(&mut due, 10, 100, |_| true), Vec::<u64>::new());
        assert!(!due.is_wanted());
        frequency.set(Some(S(60)));
        assert!(due.is_wanted() && due.is_now(S(100), S(5)));
        due.made(S(100));
        assert!(!due.is_now(S(110), S(5)));
        frequency.set(None);
        assert!(!due.is_now(S(1000), S(5)));
    }
}
