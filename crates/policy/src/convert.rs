//! What of a policy goes to the agents. This module must never know which machine it is for.

use farshore_control::{InitialCopy, KeepPoints, Settings, document};

use crate::{InitialMethod, Policy, RateWindow, limit_at};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

impl From<&Policy> for Settings {
    fn from(policy: &Policy) -> Settings {
        // To agents "by itself at any time" is a window with equal ends.
        let window = policy.resync_window.map_or((0, 0), |w| (w.from.get(), w.until.get()));
        Settings {
            copy_frequency_secs: policy.copy_frequency_secs,
            app_consistent_secs: policy.app_consistent_secs,
            retention: KeepPoints {
                every_point_secs: policy.keep_every_point_secs,
                hourly_secs: policy.keep_hourly_secs,
                daily_secs: policy.keep_daily_secs,
                points_max: usize::try_from(policy.points_max).unwrap_or(usize::MAX),
            },
            compression: policy.compression,
            replica_compression: policy.replica_compression,
            small_writes: policy.small_writes,
            wire: policy.wire,
            bandwidth: policy.bandwidth,
            bandwidth_windows: policy.bandwidth_windows.iter().map(window_of).collect(),
            resync_window: policy.auto_resync.then_some(window),
        }
    }
}

fn window_of(window: &RateWindow) -> document::RateWindow {
    document::RateWindow {
        days: window.days.bits(),
        from_minute: window.from.get(),
        until_minute: window.until.get(),
        bandwidth: window.bandwidth,
    }
}

impl Policy {
    /// The limit in bytes a second at a minute (0 to 1439) of the source's local day (0 is
    /// Monday). None: no limit.
    #[must_use]
    pub fn limit_at(&self, day: u8, minute: u16) -> Option<u64> {
        limit_at(&self.bandwidth_windows, self.bandwidth, day, minute)
    }

    /// How the first copy of a machine is made that is enabled at `now_ms` (milliseconds
    /// since the Unix epoch) on a site whose clocks are `ahead_minutes` ahead of UTC.
    #[must_use]
    pub fn initial_copy(&self, now_ms: u64, ahead_minutes: i16) -> InitialCopy {
        match self.initial {
            InitialMethod::Now => InitialCopy::Now,
            InitialMethod::Offline => InitialCopy::Offline,
            InitialMethod::Existing => InitialCopy::Existing,
            InitialMethod::At { minute } => {
                let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
                let local = now.saturating_add(i64::from(ahead_minutes) * MINUTE_MS);
                let wait = (i64::from(minute.get()) * MINUTE_MS - local).rem_euclid(DAY_MS);
                InitialCopy::NotBefore { at_ms: now_ms.saturating_add(wait.unsigned_abs()) }
            }
        }
    }
}
