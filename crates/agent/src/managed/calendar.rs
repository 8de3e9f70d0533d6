//! What a policy's calendar says of an instant: bandwidth limits and the window in which a
//! resync may begin. Pure; days and minutes are the source's local ones, and come from
//! outside.

use farshore_control::{RateWindow, Settings};

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// An instant of the local week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalTime {
    /// Day of the week: 0 is Monday.
    pub(super) weekday: u8,
    /// Minute of the day.
    pub(super) minute: u16,
}

impl LocalTime {
    /// Of a wall clock in the system's time zone.
    pub(super) fn of(wall_ms: u64) -> LocalTime {
        let at = jiff::Timestamp::from_millisecond(i64::try_from(wall_ms).unwrap_or(i64::MAX));
        let local = at.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(jiff::tz::TimeZone::system());
        let number = |value: i8| u16::try_from(value).unwrap_or(0);
        LocalTime {
            weekday: u8::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0),
            minute: number(local.hour()) * 60 + number(local.minute()),
        }
    }
}

/// Most bytes a second at an instant; none: no limit.
pub(super) fn bandwidth(settings: &Settings, at: LocalTime) -> Option<u64> {
    let window = settings.bandwidth_windows.iter().find(|window| holds(window, at));
    window.map_or(settings.bandwidth, |window| window.bandwidth)
}

fn holds(window: &RateWindow, at: LocalTime) -> bool {
    let on = |day: u8| window.days >> day & 1 == 1;
    let (from, until) = (window.from_minute, window.until_minute);
    if from < until {
        return on(at.weekday) && (from..until).contains(&at.minute);
    }
    // It crosses midnight: its evening is of its own day, its morning of the day before.
    let yesterday = (at.weekday + 6) % 7;
    (on(at.weekday) && at.minute >= from) || (on(yesterday) && at.minute < until)
}

/// Whether a resync may begin by itself at an instant.
pub(super) fn resync_may_begin(settings: &Settings, at: LocalTime) -> bool {
    match settings.resync_window {
        None => false,
        Some((from, until)) if from % DAY_MINUTES == until % DAY_MINUTES => true,
        Some((from, until)) if from < until => (from..until).contains(&at.minute),
        Some((from, until)) => at.minute >= from || at.minute < until,
    }
}

#[cfg(test)]
mod tests {
    use farshore_control::{Compression, KeepPoints, Wire};

    use super::*;

    fn settings() -> Settings {
        let retention = KeepPoints { every_point_secs: 1, hourly_secs: 0, daily_secs: 0, points_max: 10 };
        Settings {
            copy_frequency_secs: 30,
            app_consistent_secs: None,
            retention,
            compression: Compression::Auto,
            replica_compression: true,
            small_writes: true,
            wire: Wire::Certificate,
            bandwidth: Some(1000),
            bandwidth_windows: Vec::new(),
            resync_window: None,
        }
    }

    fn at(weekday: u8, hour: u16) -> LocalTime {
        LocalTime { weekday, minute: hour * 60 }
    }

    #[test]
    fn the_first_window_that_holds_counts_and_one_may_cross_midnight() {
        let window = |days, from: u16, until: u16, bandwidth| RateWindow {
            days,
            from_minute: from * 60,
            until_minute: until * 60,
            bandwidth,
        };
        // Working days 8 to 18, and Friday night until Saturday 6 without a limit.
        let windows = vec![window(0b1_1111, 8, 18, Some(10)), window(0b1_0000, 22, 6, None)];
        let settings = Settings { bandwidth_windows: windows, ..settings() };
        for (when, limit) in [
            (at(0, 7), Some(1000)),
            (at(0, 8), Some(10)),
            (at(0, 18), Some(1000)),
            (at(5, 12), Some(1000)),
            (at(4, 23), None),
            (at(5, 5), None),
            (at(5, 6), Some(1000)),
            (at(4, 5), Some(1000)),
        ] {
            assert_eq!(bandwidth(&settings, when), limit, "{when:?}");
        }
    }

    #[test]
    fn a_resync_begins_in_its_window_only() {
        let with = |window| Settings { resync_window: window, ..settings() };
        assert!(!resync_may_begin(&with(None), at(0, 0)), "only when asked for");
        assert!(resync_may_begin(&with(Some((0, 0))), at(3, 13)), "equal ends: at any time");
        let night = with(Some((22 * 60, 6 * 60)));
        assert!(resync_may_begin(&night, at(0, 23)) && resync_may_begin(&night, at(0, 5)));
        assert!(!resync_may_begin(&night, at(0, 6)) && !resync_may_begin(&night, at(0, 12)));
    }
}
