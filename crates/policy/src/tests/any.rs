//! Any policy that is allowed, for the property tests.

use farshore_control::{Compression, Wire};
use proptest::prelude::*;

use crate::{Days, InitialMethod, Minute, OnDisable, Policy, RateWindow, Window};

fn minute(most: u16) -> impl Strategy<Value = Minute> {
    (0..=most).prop_map(|minutes| Minute::new(minutes).unwrap())
}

fn rate() -> impl Strategy<Value = u64> {
    prop_oneof![65_536u64..=125_000_000_000, (1u64..=125).prop_map(|gb| gb * 1_000_000_000)]
}

pub(super) fn rate_window() -> impl Strategy<Value = RateWindow> {
    let ends = (minute(1439), minute(1440)).prop_filter("equal ends", |(from, until)| from != until);
    (1u8..=0x7f, ends, prop::option::of(rate())).prop_map(|(days, (from, until), bandwidth)| RateWindow {
        days: Days::new(days).unwrap(),
        from,
        until,
        bandwidth,
    })
}

fn initial() -> impl Strategy<Value = InitialMethod> {
    prop_oneof![
        Just(InitialMethod::Now),
        Just(InitialMethod::Offline),
        Just(InitialMethod::Existing),
        minute(1439).prop_map(|minute| InitialMethod::At { minute }),
    ]
}

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let times = (1u64..=3600, 0u64..=24, 0u64..=3600 * 24, 0u64..=31, 0u64..=365, 1u64..=65_000);
    let words = (
        prop_oneof![Just(Compression::Auto), Just(Compression::On), Just(Compression::Off)],
        prop_oneof![Just(Wire::Certificate), Just(Wire::Kerberos)],
        prop_oneof![Just(OnDisable::Keep), Just(OnDisable::Delete)],
        initial(),
    );
    let window = (minute(1440), minute(1440)).prop_map(|(from, until)| Window { from, until });
    let rates = (
        prop::option::of(rate()),
        prop::collection::vec(rate_window(), 0..5),
        prop::option::of(window),
        prop::option::of(0u64..=3600),
    );
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (times, words, rates, switches).prop_map(|(times, words, rates, switches)| {
        let (copy, app, every, hourly, daily, points_max) = times;
        let (compression, wire, on_disable, initial) = words;
        let (bandwidth, bandwidth_windows, resync_window, slack) = rates;
        let keep_hourly_secs = if hourly == 0 { 0 } else { every + hourly * 3600 };
        let younger = every.max(keep_hourly_secs);
        Policy {
            copy_frequency_secs: copy,
            app_consistent_secs: (1..=12).contains(&app).then_some(app * 3600),
            keep_every_point_secs: every,
            keep_hourly_secs,
            keep_daily_secs: if daily == 0 { 0 } else { younger + daily * 86_400 },
            points_max,
            compression,
            replica_compression: switches.0,
            small_writes: switches.1,
            wire,
            bandwidth,
            bandwidth_windows,
            auto_resync: switches.2,
            resync_window,
            rpo_objective_secs: slack.map(|slack| copy + 1 + slack),
            initial,
            on_disable,
            auto_protect: switches.3,
        }
    })
}
