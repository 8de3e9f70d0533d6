//! How old a point is, by a clock that does not jump: what is told as an age is never less
//! than the truth (an RPO that is flattered is worse than none). Pure; times come in.

use std::time::Duration;

use farshore_control::report::PointAge;
use farshore_types::PointId;

/// A point's age, followed from when it was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aged {
    seen: Option<(PointId, u64, Duration)>,
}

impl Aged {
    /// The age in milliseconds of a point that the wall clock says was captured at
    /// `captured_ms`, and that is `least_ms` old at least, at two readings of the clocks.
    pub fn of(
        &mut self,
        id: PointId,
        captured_ms: u64,
        least_ms: u64,
        (wall_ms, monotonic): (u64, Duration),
    ) -> PointAge {
        let by_wall = wall_ms.saturating_sub(captured_ms).max(least_ms);
        let (age, since) = match self.seen {
            Some((seen, age, since)) if seen == id => (age, since),
            _ => {
                self.seen = Some((id, by_wall, monotonic));
                (by_wall, monotonic)
            }
        };
        PointAge { id, age_ms: age.saturating_add(millis(monotonic.saturating_sub(since))) }
    }
}

/// Whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wall_clock_that_jumps_back_makes_no_point_younger() {
        let (id, mut aged) = (PointId { epoch: 1, number: 1 }, Aged::default());
        assert_eq!(aged.of(id, 1000, 0, (1500, SECOND)).age_ms, 500);
        assert_eq!(aged.of(id, 1000, 0, (0, SECOND * 3)).age_ms, 2500);
    }

    #[test]
    fn a_point_is_at_least_as_old_as_its_cycle_took() {
        let (id, mut aged) = (PointId { epoch: 1, number: 1 }, Aged::default());
        assert_eq!(aged.of(id, 1000, 700, (900, SECOND)).age_ms, 700);
        let next = PointId { epoch: 1, number: 2 };
        assert_eq!(aged.of(next, 2000, 0, (2100, SECOND * 2)).age_ms, 100);
    }
}
