//! What the agents get of a policy.

use farshore_control::{InitialCopy, Settings};
use proptest::prelude::*;

use super::any::policy;
use crate::{InitialMethod, Policy};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 1440 * MINUTE_MS;

#[test]
fn resync_by_itself_and_its_window_become_one_setting() {
    let resync = |auto_resync, window: &str| {
        let policy = super::with("resync_window", window).unwrap();
        Settings::from(&Policy { auto_resync, ..policy }).resync_window
    };
    assert_eq!(resync(true, "any"), Some((0, 0)), "equal ends: at any time");
    assert_eq!(resync(true, "18:30-06:00"), Some((1110, 360)));
    assert_eq!(resync(false, "any"), None);
    assert_eq!(resync(false, "18:30-06:00"), None);
}

#[test]
fn a_first_copy_at_a_time_waits_for_the_sources_clock() {
    let at = |text: &str, now_ms, ahead| super::with("initial", text).unwrap().initial_copy(now_ms, ahead);
    let evening = 20 * 60 * MINUTE_MS;
    assert_eq!(at("at 22:00", evening, 0), InitialCopy::NotBefore { at_ms: evening + 120 * MINUTE_MS });
    assert_eq!(at("at 22:00", evening, 60), InitialCopy::NotBefore { at_ms: evening + 60 * MINUTE_MS });
    let (late, wait) = (evening + 180 * MINUTE_MS, 23 * 60 * MINUTE_MS);
    assert_eq!(at("at 22:00", late, 0), InitialCopy::NotBefore { at_ms: late + wait }, "of the next day");
    assert_eq!(at("now", evening, 0), InitialCopy::Now);
    assert_eq!(at("offline", evening, 0), InitialCopy::Offline);
    assert_eq!(at("existing", evening, 0), InitialCopy::Existing);
}

proptest! {
    #[test]
    fn nothing_that_agents_need_is_lost(policy in policy()) {
        let sent = Settings::from(&policy);
        let kept = &sent.retention;
        prop_assert_eq!(sent.copy_frequency_secs, policy.copy_frequency_secs);
        prop_assert_eq!(sent.app_consistent_secs, policy.app_consistent_secs);
        prop_assert_eq!(kept.every_point_secs, policy.keep_every_point_secs);
        prop_assert_eq!(kept.hourly_secs, policy.keep_hourly_secs);
        prop_assert_eq!(kept.daily_secs, policy.keep_daily_secs);
        prop_assert_eq!(kept.points_max as u64, policy.points_max);
        prop_assert_eq!(sent.compression, policy.compression);
        prop_assert_eq!(sent.replica_compression, policy.replica_compression);
        prop_assert_eq!(sent.small_writes, policy.small_writes);
        prop_assert_eq!(sent.wire, policy.wire);
        prop_assert_eq!(sent.bandwidth, policy.bandwidth);
        prop_assert_eq!(sent.bandwidth_windows.len(), policy.bandwidth_windows.len());
        for (sent, kept) in sent.bandwidth_windows.iter().zip(&policy.bandwidth_windows) {
            let ends = (kept.from.get(), kept.until.get());
            prop_assert_eq!((sent.from_minute, sent.until_minute), ends);
            prop_assert_eq!((sent.days, sent.bandwidth), (kept.days.bits(), kept.bandwidth));
        }
        prop_assert_eq!(sent.resync_window.is_some(), policy.auto_resync);
    }

    #[test]
    fn the_first_copys_time_is_the_next_such_minute(now_ms in 0u64..1 << 45, ahead in -720i16..=840, policy in policy()) {
        let copy = policy.initial_copy(now_ms, ahead);
        if let (InitialMethod::At { minute }, InitialCopy::NotBefore { at_ms }) = (policy.initial, copy) {
            prop_assert!(at_ms >= now_ms && at_ms - now_ms < DAY_MS);
            let local = (i128::from(at_ms) + i128::from(ahead) * 60_000).rem_euclid(i128::from(DAY_MS));
            prop_assert_eq!(local, i128::from(minute.get()) * 60_000);
        } else {
            let waits = matches!(copy, InitialCopy::NotBefore { .. });
            prop_assert!(!waits);
        }
    }
}
