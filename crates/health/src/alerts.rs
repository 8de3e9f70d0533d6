//! Alerts: a reason that lasts is raised once, and resolved by itself once it is gone for a
//! while. This module must never know who is told, nor how.

use std::collections::{BTreeMap, BTreeSet};

use farshore_types::{HostId, MachineId, SiteId};
use serde::{Deserialize, Serialize};

use crate::{Health, Level, Reason};

/// Milliseconds that a warning must last before it is raised: shorter ones heal by
/// themselves and would only teach people not to look.
const WARNING_LASTS_MS: u64 = 120 * 1000;
/// Milliseconds that something critical must last.
const CRITICAL_LASTS_MS: u64 = 10 * 1000;
/// Milliseconds that a reason must be gone before its alert is resolved.
const GONE_MS: u64 = 60 * 1000;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "of", content = "id")]
pub enum Subject {
    /// The protection of a machine.
    Protection(MachineId),
    /// A host.
    Host(HostId),
    /// A site.
    Site(SiteId),
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// About what.
    pub subject: Subject,
    /// What is wrong, as last told.
    pub reason: Reason,
    /// Since when, in milliseconds.
    pub since_ms: u64,
    /// When it was last seen, in milliseconds.
    pub seen_ms: u64,
    /// Whether people have been told.
    pub raised: bool,
}

/// What people are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something is wrong.
    Raised(Alert),
    /// It is worse than it was said to be.
    Worsened(Alert),
    /// It is over.
    Resolved(Alert),
}

/// All alerts that are open, raised or still waiting for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    open: BTreeMap<(Subject, String), Alert>,
}

impl Alerts {
    /// Those that were open when they were last kept.
    #[must_use]
    pub fn restored(alerts: impl IntoIterator<Item = Alert>) -> Alerts {
        let keyed = alerts.into_iter().map(|alert| ((alert.subject, alert.reason.code.clone()), alert));
        Alerts { open: keyed.collect() }
    }

    /// Those that were raised and are not over, in the order of their subjects.
    pub fn raised(&self) -> impl Iterator<Item = &Alert> {
        self.open.values().filter(|alert| alert.raised)
    }

    /// What it is about that has anything open.
    #[must_use]
    pub fn subjects(&self) -> BTreeSet<Subject> {
        self.open.keys().map(|(subject, _)| *subject).collect()
    }

    /// One that was raised and is not over.
    #[must_use]
    pub fn raised_of(&self, subject: Subject, code: &str) -> Option<&Alert> {
        self.open.get(&(subject, code.to_owned())).filter(|alert| alert.raised)
    }

    /// Everything that is open, to be kept.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.open.values()
    }

    /// Takes a subject's health as it is now; tells what changed.
    pub fn update(&mut self, subject: Subject, health: &Health, now_ms: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for reason in health.reasons.iter().filter(|reason| reason.level > Level::Normal) {
            let alert = self.open.entry((subject, reason.code.clone())).or_insert_with(|| Alert {
                subject,
                reason: reason.clone(),
                since_ms: now_ms,
                seen_ms: now_ms,
                raised: false,
            });
            // Of several reasons of one code, the worst comes first and counts.
            if alert.seen_ms == now_ms && alert.reason.level > reason.level {
                continue;
            }
            let worse = reason.level > alert.reason.level;
            alert.seen_ms = now_ms;
            alert.reason = reason.clone();
            let lasts = match reason.level {
                Level::Critical => CRITICAL_LASTS_MS,
                Level::Normal | Level::Warning => WARNING_LASTS_MS,
            };
            if alert.raised && worse {
                changes.push(Change::Worsened(alert.clone()));
            } else if !alert.raised && now_ms.saturating_sub(alert.since_ms) >= lasts {
                alert.raised = true;
                changes.push(Change::Raised(alert.clone()));
            }
        }
        changes.extend(self.resolve(subject, now_ms));
        changes
    }

    /// Ends all alerts of a subject that is no more.
    pub fn forget(&mut self, subject: Subject) -> Vec<Change> {
        let gone = self.open.extract_if(.., |(about, _), _| *about == subject);
        gone.filter(|(_, alert)| alert.raised).map(|(_, alert)| Change::Resolved(alert)).collect()
    }

    fn resolve(&mut self, subject: Subject, now_ms: u64) -> Vec<Change> {
        let over = |alert: &Alert| match alert.raised {
            true => now_ms.saturating_sub(alert.seen_ms) >= GONE_MS,
            // What was never raised may go at once: it has to last from its beginning on.
            false => alert.seen_ms != now_ms,
        };
        let gone = self.open.extract_if(.., |(about, _), alert| *about == subject && over(alert));
        gone.filter(|(_, alert)| alert.raised).map(|(_, alert)| Change::Resolved(alert)).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const SUBJECT: Subject = Subject::Host(HostId(Uuid::nil()));

    fn health(reasons: &[(&str, Level)]) -> Health {
        let reason = |(code, level): &(&str, Level)| Reason {
            code: (*code).to_owned(),
            level: *level,
            what: "what".into(),
            advice: "advice".into(),
        };
        let level = reasons.iter().map(|r| r.1).max().unwrap_or_default();
        Health { level, reasons: reasons.iter().map(reason).collect() }
    }

    fn told(changes: &[Change]) -> Vec<String> {
        let told = |change: &Change| match change {
            Change::Raised(alert) => format!("raised {}", alert.reason.code),
            Change::Worsened(alert) => format!("worse {}", alert.reason.code),
            Change::Resolved(alert) => format!("resolved {}", alert.reason.code),
        };
        changes.iter().map(told).collect()
    }

    #[test]
    fn what_lasts_is_raised_once_and_resolved_by_itself() {
        let mut alerts = Alerts::default();
        let (bad, good) = (health(&[("space-low", Level::Warning)]), Health::default());
        let mut all = Vec::new();
        for second in 0..600 {
            let now = second * 1000;
            let health = if second < 300 { &bad } else { &good };
            all.extend(told(&alerts.update(SUBJECT, health, now)));
        }
        assert_eq!(all, ["raised space-low", "resolved space-low"]);
        assert_eq!(alerts, Alerts::default());
    }

    #[test]
    fn what_comes_and_goes_is_not_told_again_and_again() {
        let mut alerts = Alerts::default();
        let (bad, good) = (health(&[("agent-silent", Level::Critical)]), Health::default());
        let mut all = Vec::new();
        for second in 0..1200u64 {
            // Twenty seconds bad, twenty good.
            let now = if second / 20 % 2 == 0 { &bad } else { &good };
            all.extend(told(&alerts.update(SUBJECT, now, second * 1000)));
        }
        assert_eq!(all, ["raised agent-silent"], "it has not been gone for a minute");
        let mut short = Alerts::default();
        let warn = health(&[("retrying", Level::Warning)]);
        for second in 0..1200u64 {
            let now = if second % 60 < 30 { &warn } else { &good };
            assert!(short.update(SUBJECT, now, second * 1000).is_empty(), "no half minute is worth a word");
        }
    }

    #[test]
    fn what_gets_worse_is_said_again_and_the_worst_of_one_code_counts() {
        let mut alerts = Alerts::default();
        alerts.update(SUBJECT, &health(&[("space-low", Level::Warning)]), 0);
        let changes = alerts.update(SUBJECT, &health(&[("space-low", Level::Warning)]), WARNING_LASTS_MS);
        assert_eq!(told(&changes), ["raised space-low"]);
        let both = health(&[("space-low", Level::Critical), ("space-low", Level::Warning)]);
        assert_eq!(told(&alerts.update(SUBJECT, &both, 130_000)), ["worse space-low"]);
        assert_eq!(told(&alerts.update(SUBJECT, &both, 131_000)), Vec::<String>::new());
        assert_eq!(alerts.raised().map(|a| a.reason.level).collect::<Vec<_>>(), [Level::Critical]);
    }

    #[test]
    fn alerts_survive_being_kept_and_a_subject_that_goes_takes_its_own_along() {
        let mut alerts = Alerts::default();
        let other = Subject::Site(SiteId(Uuid::nil()));
        for now in [0, CRITICAL_LASTS_MS] {
            alerts.update(SUBJECT, &health(&[("a", Level::Critical), ("b", Level::Warning)]), now);
            alerts.update(other, &health(&[("c", Level::Critical)]), now);
        }
        let kept: Vec<String> = alerts.all().map(|a| serde_json::to_string(a).unwrap()).collect();
        let mut again = Alerts::restored(kept.iter().map(|text| serde_json::from_str(text).unwrap()));
        assert_eq!(again, alerts);
        assert!(again.update(SUBJECT, &health(&[("a", Level::Critical)]), CRITICAL_LASTS_MS + 1).is_empty());
        assert_eq!(told(&again.forget(SUBJECT)), ["resolved a"], "b was never raised");
        assert_eq!(again.raised().count(), 1);
    }
}
