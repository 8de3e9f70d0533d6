//! The figures by name: what documents and dashboards are checked against.

use farshore_health::Level;

use super::{
    figures::{Host, Protection, Site, Vault},
    to_f64,
};

/// One figure of each thing of a kind.
pub(super) struct Def<T> {
    /// Without the prefix, and without the suffix of counters.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Whether it only rises.
    pub(super) counts: bool,
    pub(super) value: fn(&T) -> Option<f64>,
}

pub(super) const SPACE_FREE: &str = "Bytes free where replicas and scratch files are kept";
pub(super) const SPACE_TOTAL: &str = "Bytes in all where replicas and scratch files are kept";
pub(super) const ALERTS: &str = "Open alerts, by level and code";

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Def<T> {
    Def { name, help, counts: false, value }
}

const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Def<T> {
    Def { name, help, counts: true, value }
}

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
];

pub(super) const HOST: &[Def<Host>] = &[
    gauge("host_health", "How well a host is: 0 normal, 1 warning, 2 critical", |h| level(h.health)),
    gauge("host_silent_seconds", "Seconds since a host's agent was heard of", |h| h.heard_ms.map(secs)),
    gauge("host_clock_skew_seconds", "Seconds that a host's clock is ahead of the vault's", |h| {
        let skew = h.skew_ms?;
        Some(secs(skew.unsigned_abs()) * if skew < 0 { -1.0 } else { 1.0 })
    }),
    gauge("host_certificate_end_seconds", "When a host's certificate ends, in seconds since 1970", |h| {
        h.certificate_until_ms.map(secs)
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

fn secs(ms: u64) -> f64 {
    to_f64(ms) / 1000.0
}
