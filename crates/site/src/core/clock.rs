//! The vault's clock as a site server knows it: never earlier than the vault's own, so that
//! what expires by it expires in time. Pure; times come in.

use std::time::Duration;

/// What answers of the vault told of its clock, as an offset to the monotonic clock here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VaultClock {
    /// The vault's clock is ahead of ours by this many milliseconds at most.
    ahead: Option<i128>,
}

fn ms(time: Duration) -> i128 {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX)
}

impl VaultClock {
    /// An answer, asked for at `asked` and received at `now`, told this clock.
    pub(super) fn told(&mut self, clock_ms: u64, asked: Duration, now: Duration) {
        // It was read somewhere between: at the earliest when we asked.
        let (most, least) = (i128::from(clock_ms) - ms(asked), i128::from(clock_ms) - ms(now));
        self.ahead = match self.ahead {
            // The closest of all bounds; but where the vault's clock was set, that one lies.
            Some(ahead) if ahead < least => Some(most),
            Some(ahead) => Some(ahead.min(most)),
            None => Some(most),
        };
    }

    /// Nothing is known any more.
    pub(super) fn lost(&mut self) {
        self.ahead = None;
    }

    /// The vault's clock now, at the latest.
    pub(super) fn now(&self, now: Duration) -> Option<u64> {
        self.ahead.map(|ahead| u64::try_from(ahead + ms(now)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn it_is_never_behind_the_vaults_own() {
        let mut clock = VaultClock::default();
        assert_eq!(clock.now(S(1)), None);
        // The vault read 1,000 s at our 30; the answer took until 31.
        clock.told(1_000_000, S(5), S(31));
        assert_eq!(clock.now(S(31)), Some(1_026_000), "it may have been read when we asked");
        clock.told(1_002_000, S(32), S(32));
        assert_eq!(clock.now(S(32)), Some(1_002_000), "a quick answer says it better");
        clock.told(1_009_000, S(33), S(39));
        assert_eq!(clock.now(S(39)), Some(1_009_000));
        clock.told(9_000_000, S(40), S(40));
        assert_eq!(clock.now(S(41)), Some(9_001_000), "the vault's clock was set");
        clock.lost();
        assert_eq!(clock.now(S(42)), None);
    }
}
