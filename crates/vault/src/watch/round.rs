//! One look over everything: histories go on, subjects are judged, alerts are raised and
//! resolved. Which notices are to be sent follows from the difference between the rows and
//! what is wrong now, so neither a crash nor a transaction that failed loses or repeats one.

use std::collections::{BTreeMap, BTreeSet};

use farshore_control::{HostReport, report::SourceState};
use farshore_health::{Alert, Alerts, Health, Replaced, Subject};
use farshore_types::PointId;
use uuid::Uuid;

use super::{Followed, ROUND_MS, judged::Ends};
use crate::{
    Core, Moment, Problem,
    rows::{Acknowledged, AlertRow, Event, NoticeRow, ProtectionRow},
};

/// Most alerts that are kept when they are over; the oldest go.
pub const RESOLVED_MAX: usize = 1_000;
/// Milliseconds that an alert is kept when it is over.
const RESOLVED_KEPT_MS: u64 = 30 * 24 * 3600 * 1000;
/// Most notices that wait; the oldest go unsent, and that is logged by who sends.
pub const NOTICES_MAX: usize = 10_000;
/// Most alerts that are raised, and most that are resolved, in one look: what is left over
/// comes with the next, and no transaction becomes too large for the store.
const CHANGED_MAX: usize = 2_000;
/// Reasons of a protection that its hosts' own alerts tell once for all of them.
const TOLD_BY_HOSTS: [&str; 2] = ["source-silent", "target-silent"];

/// By what an alert is found.
type Open = BTreeMap<(Subject, String), Uuid>;

impl Core {
    /// Looks over everything, where that is due: to be called about every second. What
    /// people are to be told waits in the open transaction.
    pub fn watch_over(&mut self, at: &Moment) {
        let due = self.watch.looked_ms.is_none_or(|looked| at.mono_ms.saturating_sub(looked) >= ROUND_MS);
        if !due {
            return;
        }
        self.watch.looked_ms = Some(at.mono_ms);
        if self.watch.begun.is_none() {
            self.watch.begun = Some((at.mono_ms, at.wall_ms.saturating_sub(at.mono_ms)));
            self.restore_alerts(at);
        }
        self.follow_protections(at);
        // A vault that another has superseded knows nothing that people should act on.
        if self.head().superseded.is_none() {
            self.update_alerts(at);
            self.settle_alerts(at);
        }
    }

    /// What was open when the vault was stopped is open still, and was told.
    fn restore_alerts(&mut self, at: &Moment) {
        #[cfg(feature = "deliberate-bugs")]
        if self.has_bug(crate::Bug::TellsAgain) {
            let rows: Vec<Uuid> = self.alerts().map(|row| row.id).collect();
            for id in &rows {
                self.tables.alerts.remove(id);
            }
            return;
        }
        let seen_ms = self.watch.clock(at);
        let open = self.tables.alerts.rows().filter(|row| row.is_open()).map(|row| Alert {
            subject: row.subject,
            reason: row.reason.clone(),
            since_ms: row.since_ms,
            seen_ms,
            raised: true,
        });
        self.watch.alerts = Alerts::restored(open);
    }

    fn follow_protections(&mut self, at: &Moment) {
        let now_ms = self.watch.clock(at);
        let mut all = std::mem::take(&mut self.watch.protections);
        all.retain(|id, _| self.tables.protections.get(id).is_some_and(ProtectionRow::is_live));
        for row in self.tables.protections.rows().filter(|row| row.is_live()) {
            let new = || Followed { kept_ms: now_ms, ..Followed::default() };
            let followed = all.entry(row.machine).or_insert_with(new);
            let ends = Ends::of(self, row, followed.newest, at);
            let source = ends.source();
            if let Some((state, seen)) = source {
                followed.note_cycles(now_ms, &seen.report, state);
            }
            followed.health = self.judged(row, &ends, followed.cycles.stats(now_ms), at).health;
            if let Some((id, age_ms)) = ends.newest() {
                // The cycle that made it: it took that long, and is told of with that delay.
                let made = source.and_then(|(state, seen)| Some((state.last_cycle?, seen.age_ms)));
                let made = made.filter(|(cycle, _)| cycle.point == id);
                let came_at = made.map_or(age_ms, |(cycle, delay)| cycle.took_ms.saturating_add(delay));
                followed.note_point(now_ms, (id, age_ms), came_at);
            }
        }
        self.watch.protections = all;
    }

    /// Tells the alerts how everything is.
    fn update_alerts(&mut self, at: &Moment) {
        let now_ms = self.watch.clock(at);
        let early = self.is_early(at);
        let mut healths: Vec<(Subject, Health)> = Vec::new();
        let mut kept = BTreeSet::new();
        let mut silent = BTreeSet::new();
        for site in self.tables.sites.rows() {
            let health = self.site_health(site, at);
            if has(&health, "site-silent") {
                silent.insert(site.id);
            }
            let unheard = early && !self.watch.sites.contains_key(&site.id);
            push(Subject::Site(site.id), health, unheard, &mut healths, &mut kept);
        }
        for host in self.tables.hosts.rows().filter(|host| !host.removed) {
            let mut health = self.host_health(host, at);
            // Of a silent site, one alert is enough.
            health.reasons.retain(|reason| reason.code != "agent-silent" || !silent.contains(&host.site));
            let unheard = early && self.observed_of(host.id).is_none();
            push(Subject::Host(host.id), health, unheard, &mut healths, &mut kept);
        }
        for (machine, followed) in &self.watch.protections {
            let mut health = followed.health.clone();
            health.reasons.retain(|reason| !TOLD_BY_HOSTS.contains(&reason.code.as_str()));
            let row = self.tables.protections.get(machine);
            let unheard = early && row.is_some_and(|row| !Ends::of(self, row, None, at).is_heard());
            push(Subject::Protection(*machine), health, unheard, &mut healths, &mut kept);
        }
        let alerts = self.watch.alerts_mut();
        for (subject, health) in &healths {
            alerts.update(*subject, health, now_ms);
        }
        for gone in alerts.subjects().difference(&kept) {
            alerts.forget(*gone);
        }
    }

    /// Makes the rows say what is raised, and notices of what that changes.
    fn settle_alerts(&mut self, at: &Moment) {
        let now_ms = self.watch.clock(at);
        let open: Open = (self.tables.alerts.rows().filter(|row| row.is_open()))
            .map(|row| ((row.subject, row.reason.code.clone()), row.id))
            .collect();
        let known = |alert: &Alert| open.get(&(alert.subject, alert.reason.code.clone()));
        let level = |id: &Uuid| self.tables.alerts.get(id).map(|row| row.reason.level);
        let differs = |alert: &&Alert| known(alert).and_then(level) != Some(alert.reason.level);
        let raised: Vec<Alert> =
            self.watch.alerts.raised().filter(differs).take(CHANGED_MAX).cloned().collect();
        for alert in &raised {
            match open.get(&(alert.subject, alert.reason.code.clone())) {
                None => self.raise(alert, now_ms, at),
                Some(id) => self.follow_level(*id, alert, now_ms, at),
            }
        }
        let over =
            |(subject, code): &(Subject, String)| self.watch.alerts.raised_of(*subject, code).is_none();
        let over: Vec<Uuid> =
            open.iter().filter(|(key, _)| over(key)).take(CHANGED_MAX).map(|(_, id)| *id).collect();
        for id in over {
            self.tables.alerts.change(&id, |row| row.resolved_ms = Some(now_ms));
            self.tell(id, Event::Resolved, now_ms, at);
        }
        self.forget_old_alerts(now_ms);
    }

    fn raise(&mut self, alert: &Alert, now_ms: u64, at: &Moment) {
        let id = at.id(&format!("alert {:?} {}", alert.subject, alert.reason.code));
        self.tables.alerts.put(AlertRow {
            id,
            subject: alert.subject,
            name: self.subject_name(alert.subject),
            reason: alert.reason.clone(),
            worst: alert.reason.level,
            since_ms: alert.since_ms,
            raised_ms: now_ms,
            resolved_ms: None,
            acknowledged: None,
        });
        self.tell(id, Event::Raised, now_ms, at);
    }

    /// A row is written for a level that changes, and not for every word of the text.
    fn follow_level(&mut self, id: Uuid, alert: &Alert, now_ms: u64, at: &Moment) {
        let before = self.tables.alerts.get(&id).map(|row| row.reason.level);
        if before == Some(alert.reason.level) {
            return;
        }
        self.tables.alerts.change(&id, |row| {
            row.reason = alert.reason.clone();
            row.worst = row.worst.max(alert.reason.level);
        });
        if before < Some(alert.reason.level) {
            self.tell(id, Event::Worsened, now_ms, at);
        }
    }

    /// Makes a notice for every channel there is.
    fn tell(&mut self, id: Uuid, event: Event, at_ms: u64, at: &Moment) {
        let Some(alert) = self.tables.alerts.get(&id).cloned() else { return };
        if self.watch.channels.is_empty() {
            return;
        }
        let number = self.tables.notices.rows().next_back().map_or(1, |row| row.number + 1);
        let pending = self.watch.channels.clone();
        let id = at.id(&format!("notice {number}"));
        self.tables.notices.put(NoticeRow { number, id, event, at_ms, alert, pending });
        let excess = self.tables.notices.len().saturating_sub(NOTICES_MAX);
        let oldest: Vec<u64> = self.tables.notices.rows().take(excess).map(|row| row.number).collect();
        for number in &oldest {
            self.tables.notices.remove(number);
        }
    }

    fn forget_old_alerts(&mut self, now_ms: u64) {
        let mut over: Vec<(u64, Uuid)> =
            self.tables.alerts.rows().filter_map(|row| Some((row.resolved_ms?, row.id))).collect();
        over.sort_unstable();
        let excess = over.len().saturating_sub(RESOLVED_MAX);
        let old = |ms: u64| now_ms.saturating_sub(ms) > RESOLVED_KEPT_MS;
        for (at, (ms, id)) in over.into_iter().enumerate() {
            if at < excess || old(ms) {
                self.tables.alerts.remove(&id);
            }
        }
    }

    fn subject_name(&self, subject: Subject) -> String {
        match subject {
            Subject::Protection(id) => {
                self.protection(id).map_or_else(|| id.to_string(), |row| row.name.clone())
            }
            Subject::Host(id) => self.host_name(id),
            Subject::Site(id) => self.site(id).map_or_else(|| id.to_string(), |row| row.name.clone()),
        }
    }

    /// Somebody has taken note of an alert. That of one that is acknowledged stays as it is.
    ///
    /// # Errors
    /// There is no such alert.
    pub fn acknowledge(&mut self, id: Uuid, by: &str, at: &Moment) -> Result<(), Problem> {
        if self.tables.alerts.get(&id).is_none() {
            return Err(Problem::unknown("alert", id));
        }
        let note = Acknowledged { by: by.to_owned(), at_ms: at.wall_ms };
        self.tables.alerts.change(&id, |row| row.acknowledged = row.acknowledged.take().or(Some(note)));
        Ok(())
    }

    /// An alert's text as it is now; that of the row was written when its level changed.
    #[must_use]
    pub fn alert_text(&self, row: &AlertRow) -> String {
        let live = self.watch.alerts.raised_of(row.subject, &row.reason.code).filter(|_| row.is_open());
        live.map_or_else(|| row.reason.what.clone(), |alert| alert.reason.what.clone())
    }

    /// A channel has sent notices, or gives them up. Those that no channel has left are gone.
    pub fn notices_sent(&mut self, channel: &str, numbers: &[u64]) {
        let channels = self.watch.channels.clone();
        for number in numbers {
            let known = |name: &String| name != channel && channels.contains(name);
            self.tables.notices.change(number, |row| row.pending.retain(known));
            if self.tables.notices.get(number).is_some_and(|row| row.pending.is_empty()) {
                self.tables.notices.remove(number);
            }
        }
    }

    /// Notices for channels that are no more are dropped.
    pub fn drop_lost_notices(&mut self) {
        let channels: BTreeSet<&String> = self.watch.channels.iter().collect();
        let lost = |row: &&NoticeRow| row.pending.iter().all(|name| !channels.contains(name));
        let lost: Vec<u64> = self.tables.notices.rows().filter(lost).map(|row| row.number).collect();
        for number in &lost {
            self.tables.notices.remove(number);
        }
    }
}

fn has(health: &Health, code: &str) -> bool {
    health.reasons.iter().any(|reason| reason.code == code)
}

/// Who has not been heard of since the start is neither raised nor resolved.
fn push(
    subject: Subject,
    health: Health,
    unheard: bool,
    healths: &mut Vec<(Subject, Health)>,
    kept: &mut BTreeSet<Subject>,
) {
    kept.insert(subject);
    if !unheard {
        healths.push((subject, health));
    }
}

impl Followed {
    fn note_cycles(&mut self, now_ms: u64, report: &HostReport, state: &SourceState) {
        if self.noted.replace((report.run, report.sequence)) != Some((report.run, report.sequence)) {
            let last = state.last_cycle.map(|cycle| (cycle.sent, cycle.took_ms));
            self.cycles.note(now_ms, &report.run.to_string(), state.totals, last);
        }
    }

    /// Notes the newest point, its age, and its age when it came, at most.
    fn note_point(&mut self, now_ms: u64, (id, age_ms): (PointId, u64), came_at: u64) {
        if std::mem::take(&mut self.gap) {
            self.rpo.resume(now_ms, age_ms);
        } else {
            let before = self.newest.filter(|(known, _)| *known != id);
            let replaced = before.map(|(_, instant_ms)| {
                let since_ms = age_ms.saturating_sub(came_at);
                Replaced { peak_ms: now_ms.saturating_sub(instant_ms).saturating_sub(since_ms), since_ms }
            });
            self.rpo.note(now_ms, age_ms, replaced);
        }
        self.newest = Some((id, now_ms.saturating_sub(age_ms)));
    }
}
