//! Ranges of the settings. Both ends are allowed.

use std::ops::RangeInclusive;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Seconds from one cycle to the next.
pub const COPY_FREQUENCY_SECS: RangeInclusive<u64> = 1..=HOUR;

/// Seconds from one application-consistent point to the next.
pub const APP_CONSISTENT_SECS: RangeInclusive<u64> = 60..=12 * HOUR;

/// Above this many seconds an application-consistent frequency is in whole hours.
pub const APP_CONSISTENT_FREE_SECS: u64 = HOUR;

/// Seconds for which every point is kept.
pub const KEEP_EVERY_POINT_SECS: RangeInclusive<u64> = 0..=31 * DAY;

/// Seconds for which hourly points are kept.
pub const KEEP_HOURLY_SECS: RangeInclusive<u64> = 0..=366 * DAY;

/// Seconds for which daily points are kept.
pub const KEEP_DAILY_SECS: RangeInclusive<u64> = 0..=3660 * DAY;

/// Points kept at most: fewer than qcow2's 65,536 snapshots.
pub const POINTS_MAX: RangeInclusive<u64> = 1..=65_000;

/// Bytes a second. Less than the lower end could not carry one cluster a second.
pub const BANDWIDTH: RangeInclusive<u64> = 65_536..=125_000_000_000;

/// Most bandwidth windows of a policy.
pub const WINDOWS_MAX: usize = 64;

/// Seconds that a recovery point may be old before that is worth an alert.
pub const RPO_OBJECTIVE_SECS: RangeInclusive<u64> = 2..=7 * DAY;
