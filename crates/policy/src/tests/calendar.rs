//! Which limit holds when.

use proptest::prelude::*;

use super::any::rate_window;
use crate::{Days, Minute, RateWindow, limit_at};

fn windows(text: &str) -> Vec<RateWindow> {
    super::with("bandwidth_windows", text).unwrap().bandwidth_windows
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
    let windows = windows("fri 22:00-06:00 1MB/s");
    let at = |day, hour: u16, minute| limit_at(&windows, None, day, hour * 60 + minute);
    assert_eq!(at(4, 21, 59), None);
    assert_eq!(at(4, 22, 0), Some(1_000_000));
    assert_eq!(at(5, 5, 59), Some(1_000_000), "Saturday's early hours are Friday's night");
    assert_eq!(at(5, 6, 0), None);
    assert_eq!(at(4, 1, 0), None, "Friday's early hours are Thursday's night");
}

#[test]
fn a_night_that_begins_on_sunday_reaches_into_monday() {
    let windows = windows("sun 23:00-01:00 1MB/s");
    assert_eq!(limit_at(&windows, None, 0, 30), Some(1_000_000));
    assert_eq!(limit_at(&windows, None, 6, 30), None);
}

#[test]
fn the_first_window_that_matches_counts_and_unlimited_is_a_limit_of_its_own() {
    let windows = windows("daily 12:00-13:00 unlimited; daily 08:00-18:00 2MB/s");
    assert_eq!(limit_at(&windows, Some(7), 2, 12 * 60), None);
    assert_eq!(limit_at(&windows, Some(7), 2, 11 * 60), Some(2_000_000));
    assert_eq!(limit_at(&windows, Some(7), 2, 19 * 60), Some(7));
}

#[test]
fn a_window_to_midnight_ends_with_the_day() {
    for text in ["mon 20:00-24:00 1MB/s", "mon 20:00-00:00 1MB/s"] {
        let windows = windows(text);
        assert_eq!(limit_at(&windows, None, 0, 1439), Some(1_000_000), "{text}");
        assert_eq!(limit_at(&windows, None, 1, 0), None, "{text}");
    }
}

#[test]
fn days_and_minutes_are_read_as_people_write_them() {
    for (text, bits, written) in [
        ("daily", 0x7f, "daily"),
        ("mon-fri", 0x1f, "mon-fri"),
        ("sat,sun", 0x60, "sat-sun"),
        ("sat-mon", 0x61, "mon,sat-sun"),
        ("wed", 0x04, "wed"),
    ] {
        let days: Days = text.parse().unwrap();
        assert_eq!((days.bits(), days.to_string().as_str()), (bits, written));
    }
    for bad in ["", "monday", "mon-", "8", "mon,,tue"] {
        assert!(bad.parse::<Days>().is_err(), "{bad}");
    }
    assert_eq!("24:00".parse(), Ok(Minute::MIDNIGHT));
    for bad in ["24:01", "1:60", "12", "-1:00", "+1:00", "001:00", "1:000", ""] {
        assert!(bad.parse::<Minute>().is_err(), "{bad}");
    }
}

/// The week minute by minute, painted from the last window to the first.
fn painted(windows: &[RateWindow], otherwise: Option<u64>) -> Vec<Option<u64>> {
    const WEEK: usize = 7 * 1440;
    let mut week = vec![otherwise; WEEK];
    for window in windows.iter().rev() {
        for day in (0..7u8).filter(|day| window.days.has(*day)) {
            let from = usize::from(day) * 1440 + usize::from(window.from.get());
            let length = (1440 + usize::from(window.until.get()) - usize::from(window.from.get())) % 1440;
            let length = if length == 0 { 1440 } else { length };
            (from..from + length).for_each(|at| week[at % WEEK] = window.bandwidth);
        }
    }
    week
}

proptest! {
    #[test]
    fn every_minute_of_the_week_has_the_limit_that_a_painted_week_has(
        windows in prop::collection::vec(rate_window(), 0..5),
        otherwise in prop::option::of(65_536u64..100_000),
    ) {
        for (at, limit) in painted(&windows, otherwise).into_iter().enumerate() {
            let (day, minute) = (u8::try_from(at / 1440).unwrap(), u16::try_from(at % 1440).unwrap());
            prop_assert_eq!(limit_at(&windows, otherwise, day, minute), limit, "day {} minute {}", day, minute);
        }
    }
}
