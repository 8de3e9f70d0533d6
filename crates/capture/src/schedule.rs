//! When cycles begin. Pure: times in, times out.

use std::time::Duration;

/// Ticks at a fixed frequency. A cycle that overruns delays the next; ticks that passed
/// meanwhile are missed, and counted, not made up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    frequency: Duration,
    next: Duration,
    /// Whether the last cycle failed before the next tick: it is owed.
    owed: bool,
}

impl Schedule {
    /// The first tick is at once.
    pub(crate) fn new(now: Duration, frequency: Duration) -> Schedule {
        Schedule { frequency, next: now, owed: false }
    }

    /// How long to wait for the next cycle.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        if self.owed { Duration::ZERO } else { self.next.saturating_sub(now) }
    }

    /// The next tick is now, if it is not before; the grid goes on from there.
    pub(crate) fn at_once(&mut self, now: Duration) {
        self.next = self.next.min(now);
    }

    /// A cycle that began at the tick is over (or was not needed). Returns how many ticks
    /// passed while it ran.
    pub(crate) fn done(&mut self, now: Duration) -> u64 {
        if !std::mem::take(&mut self.owed) {
            self.next += self.frequency;
        }
        if now < self.next {
            return 0;
        }
        let late = now - self.next;
        let missed = late.as_nanos() / self.frequency.as_nanos().max(1) + 1;
        // The delayed cycle begins at once; the grid goes on from there.
        self.next = now;
        u64::try_from(missed).unwrap_or(u64::MAX)
    }

    /// The cycle of the tick failed, or could not begin: it is owed, and does not wait for the next
    /// tick, which may be far. Returns how many ticks passed meanwhile.
    pub(crate) fn failed(&mut self, now: Duration) -> u64 {
        let missed = self.done(now);
        self.owed = self.next > now;
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn ticks_keep_their_grid_while_cycles_are_short() {
        let mut schedule = Schedule::new(S(100), S(10));
        assert_eq!(schedule.wait(S(100)), S(0));
        assert_eq!(schedule.done(S(103)), 0);
        assert_eq!(schedule.wait(S(103)), S(7));
        assert_eq!(schedule.done(S(119)), 0);
        assert_eq!(schedule.wait(S(119)), S(1));
    }

    #[test]
    fn a_cycle_out_of_turn_is_followed_by_one_at_the_usual_distance() {
        let mut schedule = Schedule::new(S(0), S(10));
        assert_eq!(schedule.done(S(1)), 0);
        schedule.at_once(S(4));
        assert_eq!(schedule.wait(S(4)), S(0));
        assert_eq!(schedule.done(S(5)), 0);
        assert_eq!(schedule.wait(S(5)), S(9));
    }

    #[test]
    fn a_cycle_that_failed_is_owed_at_once_and_the_grid_stays() {
        let mut schedule = Schedule::new(S(0), S(10));
        assert_eq!(schedule.failed(S(1)), 0);
        assert_eq!(schedule.wait(S(1)), S(0), "not at 10 s");
        assert_eq!(schedule.failed(S(3)), 0);
        assert_eq!(schedule.wait(S(3)), S(0));
        assert_eq!(schedule.done(S(4)), 0);
        assert_eq!(schedule.wait(S(4)), S(6));
        // Where it fails for longer than a tick, what was missed is counted once each.
        assert_eq!(schedule.failed(S(11)), 0);
        assert_eq!(schedule.failed(S(25)), 1, "the tick at 20 s");
        assert_eq!(schedule.failed(S(26)), 0);
        assert_eq!(schedule.done(S(47)), 2, "those at 35 and 45 s: the grid began anew at 25 s");
        assert_eq!(schedule.wait(S(47)), S(0));
    }

    #[test]
    fn an_overrun_delays_the_next_and_counts_what_was_missed() {
        let mut schedule = Schedule::new(S(0), S(10));
        assert_eq!(schedule.done(S(35)), 3, "the ticks at 10, 20 and 30 s");
        assert_eq!(schedule.wait(S(35)), S(0));
        assert_eq!(schedule.done(S(36)), 0);
        assert_eq!(schedule.wait(S(36)), S(9));
    }
}
