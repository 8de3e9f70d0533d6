//! Every reason that this crate itself knows, in words for people: what documents are checked
//! against. This module must never decide whether one holds.

/// A reason that can be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its code.
    pub code: &'static str,
    /// About what: `protection`, `host` or `site`.
    pub of: &'static str,
    /// How bad it is, or becomes.
    pub level: &'static str,
    /// When it holds.
    pub when: &'static str,
}

const fn known(code: &'static str, of: &'static str, level: &'static str, when: &'static str) -> Known {
    Known { code, of, level, when }
}

/// All of them. What agents and site servers say of themselves comes with codes of their own.
pub const REASONS: &[Known] = &[
    known(
        "owner-conflict",
        "protection",
        "critical",
        "two owners were issued one epoch; nothing is replicated",
    ),
    known(
        "runs-nowhere",
        "protection",
        "critical",
        "it is sealed for the other side, which does not take it",
    ),
    known("held-after-boot", "protection", "critical", "its host has booted, and nobody says who owns it"),
    known(
        "runs-twice",
        "protection",
        "critical",
        "the machine runs on two hosts at the same time: neither is replicated",
    ),
    known(
        "drill-overdue",
        "protection",
        "warning",
        "a test failover is open for longer than it may be, and is not cleaned up",
    ),
    known("failed", "protection", "critical", "replication has stopped and cannot go on without a person"),
    known(
        "resync-needed",
        "protection",
        "critical",
        "everything must be compared, and that waits for its window or an order",
    ),
    known(
        "rpo-missed",
        "protection",
        "warning, critical",
        "the newest point is older than the policy's objective (critical: ten times that, or an hour where that is more), or than an hour where there is none",
    ),
    known("damaged", "protection", "critical", "something of the replica is damaged"),
    known("retrying", "protection", "warning", "the last try failed; the next comes by itself"),
    known("resyncing", "protection", "warning", "everything is being compared"),
    known("paused", "protection", "warning", "replication was paused"),
    known("initial-copy", "protection", "warning", "there is no recovery point yet"),
    known(
        "source-silent",
        "protection",
        "warning",
        "the source host's agent has not been heard of for two minutes",
    ),
    known(
        "target-silent",
        "protection",
        "warning",
        "the target host's agent has not been heard of for two minutes",
    ),
    known(
        "cycles-missed",
        "protection",
        "warning",
        "over 20 % of the cycles of the last 12 hours could not begin in time",
    ),
    known(
        "app-consistency",
        "protection",
        "warning",
        "the policy wants application-consistent points, and the last try came to none, or the newest is twice as old as wanted though others were made",
    ),
    known(
        "guest-frozen",
        "protection",
        "critical",
        "a guest was frozen for a point, and does not say that it is thawed; it is tried all the time",
    ),
    known(
        "maintenance",
        "protection, host",
        "normal",
        "its host is in maintenance; of a protection, it stands still until that ends, and nobody is alerted",
    ),
    known(
        "agent-silent",
        "host",
        "critical",
        "its agent has not been heard of for two minutes, and it is not in maintenance",
    ),
    known(
        "clock-skew",
        "host, site",
        "warning, critical",
        "its clock differs from the vault's by 5 s (critical: 4 min) more than the round trip explains",
    ),
    known("certificate", "host", "warning, critical", "its certificate ends within 30 days (critical: 7)"),
    known(
        "space-low",
        "host",
        "warning, critical",
        "less than 10 % (critical: 3 %) is free where replicas or scratch files are kept",
    ),
    known("site-silent", "site", "critical", "its server has not been heard of for two minutes"),
    known(
        "vault-was-silent",
        "site",
        "warning",
        "its server could not reach the vault for a while; told for ten minutes after that",
    ),
];
