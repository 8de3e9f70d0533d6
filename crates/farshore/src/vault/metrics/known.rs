//! The figures by name: what documents and dashboards are checked against.

use farshore_figures::{Def, counter, gauge, secs, to_f64};
use farshore_health::Level;

use super::figures::{Host, HostSpace, Protection, Site, Vault};

/// Open alerts, counted.
pub(super) const ALERTS: (&str, &str) = ("alerts", "Open alerts, by level and code");
/// Jobs, counted.
pub(super) const JOBS: (&str, &str) =
    ("jobs", "Jobs by kind and state: all that are open, and those that ended within a week");

pub(super) const VAULT: &[Def<Vault>] = &[
    gauge("vault_term", "The vault's term", |v| Some(to_f64(v.term))),
    gauge("vault_uptime_seconds", "Seconds since the vault was started", |v| Some(to_f64(v.uptime_secs))),
    gauge("vault_learning_hosts", "Hosts that have not told this term yet what they hold", |v| {
        Some(to_f64(v.learning_from))
    }),
    gauge("notices_waiting", "Notices of alerts that some channel has not sent yet", |v| {
        Some(to_f64(v.notices))
    }),
];

pub(super) const SITE: &[Def<Site>] = &[
    gauge("site_health", "How well a site is: 0 normal, 1 warning, 2 critical", |s| level(s.health)),
    gauge("site_silent_seconds", "Seconds since a site's server was heard of", |s| s.heard_ms.map(secs)),
    gauge("site_clock_skew_seconds", "Seconds that a site server's clock is ahead of the vault's", |s| {
        s.skew_ms.map(skew)
    }),
    gauge(
        "site_certificate_end_timestamp_seconds",
        "When a site server's certificate ends, in seconds since 1970",
        |s| s.certificate_until_ms.map(secs),
    ),
];

pub(super) const HOST: &[Def<Host>] = &[
    gauge("host_health", "How well a host is: 0 normal, 1 warning, 2 critical", |h| level(h.health)),
    gauge("host_silent_seconds", "Seconds since a host's agent was heard of", |h| h.heard_ms.map(secs)),
    gauge("host_clock_skew_seconds", "Seconds that a host's clock is ahead of the vault's", |h| {
        h.skew_ms.map(skew)
    }),
    gauge(
        "host_certificate_end_timestamp_seconds",
        "When a host's certificate ends, in seconds since 1970",
        |h| h.certificate_until_ms.map(secs),
    ),
];

pub(super) const SPACE: &[Def<HostSpace>] = &[
    gauge("host_space_free_bytes", "Bytes free where replicas and scratch files are kept", |s| {
        Some(to_f64(s.space.free))
    }),
    gauge("host_space_bytes", "Bytes in all where replicas and scratch files are kept", |s| {
        Some(to_f64(s.space.total))
    }),
];

pub(super) const PROTECTION: &[Def<Protection>] = &[
    gauge("protection_health", "How well a protection is: 0 normal, 1 warning, 2 critical", |p| {
        level(p.health)
    }),
    gauge("protection_rpo_seconds", "Seconds from the newest point's instant to now", |p| p.rpo_ms.map(secs)),
    gauge("protection_pending_bytes", "Bytes that wait to be sent, as far as they are known", |p| {
        p.pending.map(to_f64)
    }),
    gauge("protection_last_cycle_seconds", "Seconds that the last cycle took until it was durable", |p| {
        p.last.map(|cycle| secs(cycle.took_ms))
    }),
    gauge("protection_last_cycle_sent_bytes", "Bytes that the last cycle sent", |p| {
        p.last.map(|cycle| to_f64(cycle.sent))
    }),
    gauge("protection_last_cycle_dirty_bytes", "Bytes that had been dirtied before the last cycle", |p| {
        p.last.map(|cycle| to_f64(cycle.dirty))
    }),
    gauge(
        "protection_missed_ratio",
        "Share of the cycles of the last 12 hours that could not begin in time",
        |p| p.missed_share,
    ),
    gauge("protection_points", "Recovery points that the target holds", |p| p.points.map(to_f64)),
    gauge("protection_stored_bytes", "Bytes that the replica takes", |p| p.stored.map(to_f64)),
    counter("protection_cycles", "Cycles since the agent started", |p| p.totals.map(|t| to_f64(t.cycles))),
    counter("protection_cycles_missed", "Cycles that could not begin in time since the agent started", |p| {
        p.totals.map(|t| to_f64(t.missed))
    }),
    counter("protection_cycles_failed", "Cycles that failed since the agent started", |p| {
        p.totals.map(|t| to_f64(t.failed))
    }),
    counter("protection_sent_bytes", "Bytes sent since the agent started", |p| {
        p.totals.map(|t| to_f64(t.sent))
    }),
];

fn level(level: Level) -> Option<f64> {
    Some(match level {
        Level::Normal => 0.0,
        Level::Warning => 1.0,
        Level::Critical => 2.0,
    })
}

fn skew(ms: i64) -> f64 {
    secs(ms.unsigned_abs()) * if ms < 0 { -1.0 } else { 1.0 }
}
