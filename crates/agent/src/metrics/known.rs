//! The figures by name: what documents and dashboards are checked against.

use farshore_figures::{Def, counter, gauge, secs, to_f64};

use super::figures::{One, ProblemCode, ReplicaFigures, Room, SourceFigures};

pub(super) const AGENT: &[Def<One>] = &[
    gauge("agent_uptime_seconds", "Seconds since the agent was started", |a| Some(secs(a.uptime_ms))),
    gauge(
        "agent_upstream_silent_seconds",
        "Seconds that neither site server nor vault has answered, 0 while one does; of an agent under a vault",
        |a| a.silent_ms.map(secs),
    ),
    gauge(
        "agent_certificate_end_timestamp_seconds",
        "When the certificate of the agent's host ends, in seconds since 1970",
        |a| a.certificate_until_ms.map(secs),
    ),
];

pub(super) const SOURCE: &[Def<SourceFigures>] = &[
    gauge(
        "agent_source_rpo_seconds",
        "Seconds from the newest acknowledged point's instant to now, by the source host's clock",
        |s| s.rpo_ms.map(secs),
    ),
    gauge(
        "agent_source_pending_bytes",
        "Bytes that the source has to look at yet, while it copies all",
        |s| s.pending.map(to_f64),
    ),
    gauge("agent_source_last_cycle_seconds", "Seconds that the source's last cycle took", |s| {
        s.last.map(|cycle| secs(cycle.took_ms))
    }),
    gauge("agent_source_last_cycle_sent_bytes", "Bytes that the source's last cycle sent", |s| {
        s.last.map(|cycle| to_f64(cycle.sent))
    }),
    gauge("agent_source_last_cycle_dirty_bytes", "Bytes dirtied before the source's last cycle", |s| {
        s.last.map(|cycle| to_f64(cycle.dirty))
    }),
    gauge(
        "agent_source_frozen_seconds",
        "Seconds that the guest stood frozen at most, hooks included, for the source's last application-consistent point",
        |s| s.apps.as_ref()?.frozen_ms.map(secs),
    ),
    gauge(
        "agent_source_unthawed",
        "1 while a guest that was frozen for a point does not say that it is thawed, else 0",
        |s| s.apps.as_ref().map(|apps| f64::from(u8::from(apps.unthawed.is_some()))),
    ),
    counter("agent_source_app_points", "Application-consistent points of a source", |s| {
        s.apps.as_ref().map(|apps| to_f64(apps.made))
    }),
    counter(
        "agent_source_app_points_failed",
        "Points of a source that were to be application-consistent, and are crash-consistent",
        |s| s.apps.as_ref().map(|apps| to_f64(apps.failed)),
    ),
    counter("agent_source_cycles", "Cycles of a source that were sealed", |s| Some(to_f64(s.totals.cycles))),
    counter("agent_source_cycles_missed", "Cycles of a source that could not begin in time", |s| {
        Some(to_f64(s.totals.missed))
    }),
    counter("agent_source_cycles_failed", "Cycles of a source that failed", |s| {
        Some(to_f64(s.totals.failed))
    }),
    counter("agent_source_resyncs", "Times that a source began to compare everything", |s| {
        Some(to_f64(s.totals.resyncs))
    }),
    counter("agent_source_sent_bytes", "Bytes that a source sent", |s| Some(to_f64(s.totals.sent))),
];

pub(super) const REPLICA: &[Def<ReplicaFigures>] = &[
    gauge("agent_replica_points", "Recovery points of a replica", |r| count(r.line.points)),
    gauge("agent_replica_stored_bytes", "Bytes that a replica takes", |r| Some(to_f64(r.line.stored))),
    gauge("agent_replica_faults", "What is damaged of a replica, or keeps it from being used", |r| {
        count(r.line.faults.len())
    }),
    gauge("agent_replica_decayed", "Places of a replica whose data is not what was sealed", |r| {
        count(r.line.scrub.as_ref()?.decayed)
    }),
];

pub(super) const SPACE: &[Def<Room>] = &[
    gauge("agent_space_free_bytes", "Bytes free where the agent keeps replicas and scratch files", |s| {
        Some(to_f64(s.0.free))
    }),
    gauge("agent_space_bytes", "Bytes in all where the agent keeps replicas and scratch files", |s| {
        Some(to_f64(s.0.total))
    }),
];

pub(super) const PROBLEM: &[Def<ProblemCode>] =
    &[gauge("agent_problem", "1 for each problem that `farshore-agent status` shows", |_| Some(1.0))];

fn count(of: usize) -> Option<f64> {
    Some(to_f64(u64::try_from(of).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use farshore_figures::{Board, document};

    use super::super::figures::Figures;

    fn file(path: &str) -> String {
        let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        fs::read_to_string(root.join(path)).unwrap()
    }

    #[test]
    fn the_documents_list_every_figure_and_the_dashboard_asks_for_none_that_is_not_there() {
        let text = Board::new(|_| {}).text(Figures::default()).unwrap();
        let ours = |name: &str| name.starts_with("farshore_agent_");
        assert_eq!(document::faults(&file("docs/metrics.md"), &text, ours), Vec::<String>::new());
        let (asked, known) =
            (document::used(&file("packaging/grafana/farshore.json")), document::names(&text));
        let asked: Vec<&String> = asked.iter().filter(|name| ours(name)).collect();
        assert!(asked.len() > 2, "{asked:?}");
        assert!(asked.iter().all(|name| known.contains(*name)), "{asked:?}");
    }
}
