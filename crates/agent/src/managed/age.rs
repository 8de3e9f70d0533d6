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

    /// The same for a point that another host's clock says was captured at `captured_ms`:
    /// this host's clock may have been wrong when it was first seen, and be set since. The
    /// greater age counts; the vault takes for certain only what the source itself says.
    pub fn of_other(
        &mut self,
        id: PointId,
        captured_ms: u64,
        least_ms: u64,
        now: (u64, Duration),
    ) -> PointAge {
        let told = self.of(id, captured_ms, least_ms, now);
        let by_wall = now.0.saturating_sub(captured_ms);
        if by_wall > told.age_ms {
            self.seen = Some((id, by_wall, now.1));
        }
        PointAge { id, age_ms: told.age_ms.max(by_wall) }
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
    fn a_clock_that_was_behind_and_is_set_makes_anothers_point_as_old_as_it_is() {
        let (id, mut aged) = (PointId { epoch: 1, number: 1 }, Aged::default());
        assert_eq!(aged.of_other(id, 5000, 0, (1000, SECOND)).age_ms, 0, "captured in the future");
        assert_eq!(aged.of_other(id, 5000, 0, (8000, SECOND * 4)).age_ms, 3000);
        assert_eq!(aged.of_other(id, 5000, 0, (0, SECOND * 5)).age_ms, 4000, "and no younger again");
    }

    #[test]
    fn a_point_is_at_least_as_old_as_its_cycle_took() {
        let (id, mut aged) = (PointId { epoch: 1, number: 1 }, Aged::default());
        assert_eq!(aged.of(id, 1000, 700, (900, SECOND)).age_ms, 700);
        let next = PointId { epoch: 1, number: 2 };
        assert_eq!(aged.of(next, 2000, 0, (2100, SECOND * 2)).age_ms, 100);
    }
}
