//! Pauses between attempts: doubling, and each of random length, so that a thousand agents
//! whose site server comes back do not all come at once.

use std::time::Duration;

use crate::limits::{PAUSE_MAX, PAUSE_MIN};

/// How long to wait before the next attempt.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    most: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::up_to(PAUSE_MAX)
    }
}

impl Backoff {
    /// Pauses that grow up to `most`.
    #[must_use]
    pub fn up_to(most: Duration) -> Backoff {
        Backoff { next: PAUSE_MIN, most }
    }

    /// The next pause: between half of it and all of it, by `random`.
    pub fn next_pause(&mut self, random: u64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.most);
        let half = whole / 2;
        let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_millis(random % (span + 1))
    }

    /// As [`Backoff::next_pause`], by the system's randomness.
    pub fn pause(&mut self) -> Duration {
        self.next_pause(uuid::Uuid::new_v4().as_u64_pair().1)
    }

    /// After a success: it begins anew.
    pub fn reset(&mut self) {
        self.next = PAUSE_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit_and_are_never_all_the_same() {
        let (mut least, mut most) = (Backoff::default(), Backoff::default());
        for _ in 0..20 {
            let (low, high) = (least.next_pause(0), most.next_pause(u64::MAX / 7));
            assert!(low <= high && high <= PAUSE_MAX && low >= PAUSE_MIN / 2);
        }
        assert_eq!(least.next_pause(0), PAUSE_MAX / 2);
        least.reset();
        assert_eq!(least.next_pause(0), PAUSE_MIN / 2);
    }
}
