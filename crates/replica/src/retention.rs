//! Which points are kept: every one for a while, then one an hour, then one a day.
//! Pure. Age counts from the newest point, not from the clock, so that nothing expires
//! while nothing arrives.

use farshore_types::PointId;
use serde::{Deserialize, Serialize};

/// How long points are kept. Times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Every point younger than this is kept.
    pub every_point_secs: u64,
    /// Of those older, the last one of each hour younger than this.
    pub hourly_secs: u64,
    /// Of those older still, the last one of each day younger than this.
    pub daily_secs: u64,
    /// Never more points than this; 1 to 65,000.
    pub points_max: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            every_point_secs: 3600,
            hourly_secs: 24 * 3600,
            daily_secs: 7 * 24 * 3600,
            points_max: 5000,
        }
    }
}

/// A point as far as retention looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub id: PointId,
    /// The instant it shows, in milliseconds by a clock that does not jump.
    pub steady_ms: u64,
    /// Whether something holds it.
    pub pinned: bool,
}

/// Of points given oldest first, those that are no longer kept. Never the newest one,
/// never a pinned one.
#[must_use]
pub fn plan(points: &[Kept], retention: &Retention) -> Vec<PointId> {
    let Some((newest, older)) = points.split_last() else { return Vec::new() };
    let mut gone = Vec::new();
    let mut kept = 1;
    let mut after = newest;
    for point in older.iter().rev() {
        // A clock that was set back must not make a point look older than it is.
        let age = newest.steady_ms.saturating_sub(point.steady_ms) / 1000;
        let bucket = |p: &Kept, secs: u64| p.steady_ms / 1000 / secs;
        let wanted = if age < retention.every_point_secs {
            true
        } else if age < retention.hourly_secs {
            bucket(point, 3600) != bucket(after, 3600)
        } else if age < retention.daily_secs {
            bucket(point, 24 * 3600) != bucket(after, 24 * 3600)
        } else {
            false
        };
        if point.pinned || (wanted && kept < retention.points_max.max(1)) {
            kept += 1;
            after = point;
        } else {
            gone.push(point.id);
        }
    }
    gone.reverse();
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(every_secs: u64, count: u64) -> Vec<Kept> {
        (0..count)
            .map(|n| Kept {
                id: PointId { epoch: 1, number: n },
                steady_ms: (1_000_000 + n * every_secs) * 1000,
                pinned: false,
            })
            .collect()
    }

    fn left(points: &[Kept], retention: &Retention) -> Vec<u64> {
        let gone = plan(points, retention);
        points.iter().filter(|p| !gone.contains(&p.id)).map(|p| p.id.number).collect()
    }

    const SMALL: Retention =
        Retention { every_point_secs: 600, hourly_secs: 6 * 3600, daily_secs: 3 * 86_400, points_max: 1000 };

    #[test]
    fn young_points_stay_and_older_ones_thin_out_to_hours_and_days() {
        let all = points(60, 5 * 24 * 60);
        let kept = left(&all, &SMALL);
        let age = |n: &u64| (5 * 24 * 60 - 1 - n) * 60;
        assert_eq!(kept.iter().filter(|n| age(n) < 600).count(), 10);
        assert!(
            (5..=7).contains(&kept.iter().filter(|n| (600..6 * 3600).contains(&age(n))).count()),
            "{kept:?}"
        );
        assert!((2..=4).contains(&kept.iter().filter(|n| age(n) >= 6 * 3600).count()), "{kept:?}");
    }

    #[test]
    fn thinning_again_changes_nothing() {
        let all = points(60, 3000);
        let gone = plan(&all, &SMALL);
        let once: Vec<Kept> = all.into_iter().filter(|p| !gone.contains(&p.id)).collect();
        assert!(plan(&once, &SMALL).is_empty());
    }

    #[test]
    fn the_newest_and_the_pinned_are_never_given_up() {
        let mut all = points(60, 100);
        all[3].pinned = true;
        let none = Retention { every_point_secs: 0, hourly_secs: 0, daily_secs: 0, points_max: 0 };
        assert_eq!(left(&all, &none), vec![3, 99]);
        assert!(plan(&[], &none).is_empty());
    }

    #[test]
    fn a_limit_on_the_number_takes_the_oldest() {
        let few = Retention { points_max: 10, ..SMALL };
        assert_eq!(left(&points(1, 30), &few), (20..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_clock_set_back_prunes_nothing() {
        let mut all = points(60, 10);
        all[9].steady_ms = 5000;
        assert_eq!(left(&all, &SMALL).len(), 10);
    }
}
