//! Whether what a step asked for is reached, and else what is waited for. This module must
//! never change a row.

use farshore_control::{
    Key,
    report::{SourcePhase, SourceState},
};
use farshore_job::{EffectId, Outcome, Progress};
use farshore_types::{HostId, PolicyId};
use serde_json::{Value, json};

use super::act::{Act, End, Of};
use crate::{
    Core, Moment,
    rows::{ProtectionRow, ReplicaFate},
};

/// Milliseconds without a word after which a host counts as silent: several of its reports.
pub(super) const SILENT_MS: u64 = 60_000;

/// How a step stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Look {
    /// Something is waited for.
    Wait { why: String, progress: Option<Progress> },
    /// It has ended.
    End(Outcome),
}

/// What is looked at.
pub(super) struct Asked<'a> {
    pub(super) id: EffectId,
    pub(super) act: &'a Act,
    /// Milliseconds since it was first asked for.
    pub(super) for_ms: u64,
}

impl Look {
    pub(super) fn wait(why: impl Into<String>) -> Look {
        Look::Wait { why: why.into(), progress: None }
    }

    pub(super) fn done(result: Value) -> Look {
        Look::End(Outcome::Done { result })
    }

    /// Done, and there is nothing to say of it.
    pub(super) fn reached() -> Look {
        Look::done(json!({}))
    }

    pub(super) fn failed(what: impl Into<String>, advice: &str) -> Look {
        Look::End(Outcome::Failed { what: what.into(), advice: advice.to_owned(), again: false })
    }

    fn part(why: impl Into<String>, done: u64, total: u64) -> Look {
        Look::Wait { why: why.into(), progress: Some(Progress { done, total }) }
    }
}

impl Core {
    pub(super) fn look(&self, asked: &Asked<'_>, at: &Moment) -> Look {
        match asked.act {
            Act::Ordered(of) => self.live(of).map_or_else(superseded, |_| Look::reached()),
            Act::Withdraw { of, .. } => self.is_withdrawn(of, asked.for_ms, at),
            Act::Startable(of) => self.is_answered(asked.id, of, at),
            Act::Verdict { problems } => super::check::verdict(problems),
            Act::Told { of, end } => self.is_told(of, *end, at),
            Act::FirstCopy(of) => self.is_copied(of, at),
            Act::Stopped { of, end } => self.is_stopped(of, *end, at),
            Act::Replica { of, delete } => self.is_settled(of, *delete, at),
            Act::Course { machine, goal } => self.is_on_course(*machine, goal, at),
            Act::Switch { of, to } => self.is_switched(of, *to),
            Act::LetGo { of, host, delete, .. } => self.is_let_go(asked.id, of, *host, *delete, at),
            Act::MoveBack(back) => self.is_moved_back(asked.id, back, asked.for_ms, at),
            Act::Informed { of, end } => self.is_informed(of, *end, at),
            Act::Discard { machine, host, .. } => self.is_discard_done(asked.id, *host, *machine, at),
            Act::Compared { of, number } => self.is_compared(of, *number, at),
            Act::Reached { policy } => self.is_reached(*policy, at),
            Act::Configured { host } => self.is_configured(*host, asked.for_ms, at),
            Act::Fit { host, with } => self.is_fit(*host, with, asked.for_ms, at),
            Act::Reaches { host, peers } => self.reaches(asked, *host, peers, at),
        }
    }

    fn live(&self, of: &Of) -> Option<&ProtectionRow> {
        self.row_of(of).filter(|row| row.is_live())
    }

    fn is_told(&self, of: &Of, end: End, at: &Moment) -> Look {
        let Some(row) = self.live(of) else { return superseded() };
        let host = row.end(end);
        match self.holds(&Key::Protection(of.machine), host) {
            true => Look::reached(),
            false => Look::wait(self.why_waiting(host, "takes the order", at)),
        }
    }

    fn is_copied(&self, of: &Of, at: &Moment) -> Look {
        let Some(row) = self.live(of) else { return superseded() };
        #[cfg(feature = "deliberate-bugs")]
        if self.has_bug(crate::Bug::LetsGoEarly) {
            return Look::reached();
        }
        let source = self.source_state(row, of);
        let replica = self.replica_on(row.target(), of.machine);
        let points = [source.and_then(|s| s.newest), replica.and_then(|r| r.newest)];
        let newest = points.into_iter().flatten().map(|point| point.id).max();
        let moved = source.is_none_or(|s| !matches!(s.phase, SourcePhase::Seeding { .. }));
        if let Some(point) = newest.filter(|point| point.epoch == of.epoch.number && moved) {
            return Look::done(json!({ "point": point.to_string() }));
        }
        if row.life.paused {
            return Look::wait("the protection is paused: resume it");
        }
        if let Some(silent) = self.silence(row.source(), at) {
            return Look::wait(silent);
        }
        match source.map(|s| &s.phase) {
            None => Look::wait(self.why_waiting(row.source(), "begins", at)),
            Some(phase) => self.under_way(row, phase, at),
        }
    }

    fn is_compared(&self, of: &Of, number: u64, at: &Moment) -> Look {
        let Some(row) = self.live(of) else { return superseded() };
        if row.life.paused {
            return Look::wait("the protection is paused: resume it");
        }
        if let Some(silent) = self.silence(row.source(), at) {
            return Look::wait(silent);
        }
        match self.source_state(row, of) {
            Some(state) if state.resynced >= number => Look::reached(),
            Some(state) => self.under_way(row, &state.phase, at),
            None => Look::wait(self.why_waiting(row.source(), "begins", at)),
        }
    }

    /// What a source does on the way to having everything on the other side.
    pub(super) fn source_on_course(&self, row: &ProtectionRow, at: &Moment) -> Look {
        let of = Of { machine: row.machine, epoch: row.life.epoch };
        match self.source_state(row, &of) {
            Some(state) => self.under_way(row, &state.phase, at),
            None => Look::wait(self.why_waiting(row.source(), "begins", at)),
        }
    }

    /// What a source does that is not there yet.
    fn under_way(&self, row: &ProtectionRow, phase: &SourcePhase, at: &Moment) -> Look {
        match phase {
            SourcePhase::Seeding { done, total } => Look::part("the disks are read once", *done, *total),
            SourcePhase::Resynchronizing { why, done, total } => Look::part(why, *done, *total),
            SourcePhase::Starting => Look::wait("it is starting"),
            SourcePhase::Replicating => Look::wait("the next cycle is waited for"),
            SourcePhase::Paused => {
                let rests = |host: &HostId| self.tables.hosts.get(host).is_some_and(|row| row.maintenance);
                match row.hosts().into_iter().find(rests) {
                    Some(host) => Look::wait(format!("host '{}' is in maintenance", self.host_name(host))),
                    None => Look::wait(self.why_waiting(row.source(), "begins", at)),
                }
            }
            SourcePhase::ResyncNeeded { why }
            | SourcePhase::Waiting { why }
            | SourcePhase::Retrying { why }
            | SourcePhase::Failed { why } => Look::wait(why.as_str()),
        }
    }

    pub(super) fn is_stopped(&self, of: &Of, end: End, at: &Moment) -> Look {
        let Some(row) = self.row_of(of).filter(|row| !row.is_live()) else { return protected_again() };
        let host = row.end(end);
        if self.is_removed(host) {
            return Look::done(json!({ "note": "the host was removed from the vault" }));
        }
        let runs = end == End::Source && self.source_state(row, of).is_some();
        match self.holds(&Key::Protection(of.machine), host) && !runs {
            true => Look::reached(),
            false => Look::wait(self.why_waiting(host, "stops", at)),
        }
    }

    fn is_settled(&self, of: &Of, delete: bool, at: &Moment) -> Look {
        if !delete {
            return Look::reached();
        }
        let Some(row) = self.row_of(of).filter(|row| !row.is_live()) else { return protected_again() };
        let fate = row.ended.as_ref().map(|ended| ended.replica);
        match fate {
            Some(ReplicaFate::Deleted) => Look::reached(),
            Some(ReplicaFate::Kept) | None => {
                let why = row.note.clone().unwrap_or_else(|| "the replica is kept after all".to_owned());
                Look::failed(why, "put that right, and order the deletion again")
            }
            Some(_) if self.is_removed(row.target()) => {
                let what = format!("host '{}' was removed: the replica is still on it", row.target());
                Look::failed(what, "delete it there by hand")
            }
            Some(_) => Look::wait(self.why_waiting(row.target(), "deletes the replica", at)),
        }
    }

    /// What was ordered is taken back on every host that can be reached. One that cannot be
    /// learns of it when it is back: its document says so until then.
    fn is_withdrawn(&self, of: &Of, for_ms: u64, at: &Moment) -> Look {
        let Some(row) = self.row_of(of).filter(|row| !row.is_live()) else {
            return Look::done(json!({ "note": "another order was given meanwhile, and stands" }));
        };
        let (mut left, mut waits) = (Vec::new(), None);
        for end in [End::Source, End::Target] {
            let fate = row.ended.as_ref().map(|ended| ended.replica);
            let goes = matches!(fate, Some(ReplicaFate::ToDelete | ReplicaFate::Asked { .. }));
            let stopped = matches!(self.is_stopped(of, end, at), Look::End(_));
            if stopped && (end == End::Source || !goes) {
                continue;
            }
            match self.silence(row.end(end), at).filter(|_| for_ms >= SILENT_MS) {
                Some(silent) => left.push(format!("{silent}; it learns of it when it is back")),
                None => waits = waits.or(Some(self.why_waiting(row.end(end), "takes it back", at))),
            }
        }
        match waits {
            Some(why) => Look::wait(why),
            None if left.is_empty() => Look::reached(),
            None => Look::done(json!({ "note": left.join("; ") })),
        }
    }

    fn is_reached(&self, policy: PolicyId, at: &Moment) -> Look {
        let rows = self.tables.protections.rows();
        let (mut total, mut done, mut behind) = (0, 0, Vec::new());
        for row in rows.filter(|row| row.is_live() && row.policy == Some(policy)) {
            total += 1;
            let key = Key::Protection(row.machine);
            let late: Vec<HostId> = row.hosts().into_iter().filter(|host| !self.holds(&key, *host)).collect();
            done += u64::from(late.is_empty());
            behind.extend(late);
        }
        behind.sort_unstable();
        behind.dedup();
        match behind.as_slice() {
            [] => Look::done(json!({ "protections": total })),
            [one] => Look::part(self.why_waiting(*one, "takes it", at), done, total),
            [one, more @ ..] => {
                let why = format!("{}; and {} more", self.why_waiting(*one, "takes it", at), more.len());
                Look::part(why, done, total)
            }
        }
    }

    pub(super) fn is_removed(&self, host: HostId) -> bool {
        self.tables.hosts.get(&host).is_none_or(|row| row.removed)
    }

    /// What a source said last of a protection, if that was of its epoch.
    fn source_state(&self, row: &ProtectionRow, of: &Of) -> Option<&SourceState> {
        let report = &self.tables.observed.get(&row.source())?.report;
        report.sources.iter().find(|state| state.machine == of.machine && state.epoch == of.epoch)
    }

    /// That nothing is heard of a host, in words; none: it is in contact.
    pub(crate) fn silence(&self, host: HostId, at: &Moment) -> Option<String> {
        let name = self.host_name(host);
        if !self.may_speak_to(host) {
            return Some(format!("host '{name}' has not told this vault what it holds"));
        }
        let Some(ms) = self.heard_ms(host, at) else {
            return Some(format!("host '{name}' has not reported since the vault was started"));
        };
        (ms >= SILENT_MS).then(|| format!("host '{name}' has been silent for {} s", ms / 1000))
    }

    /// Whether a host has reported lately: what it says of itself is of now.
    #[must_use]
    pub fn is_heard_now(&self, host: HostId, at: &Moment) -> bool {
        self.heard_ms(host, at).is_some_and(|ms| ms < SILENT_MS)
    }

    /// Whether a host that is there would have been heard by now. A vault that was only just started
    /// has heard nobody, which is no sign that somebody is gone.
    pub(super) fn had_time_to_report(&self, host: HostId, at: &Moment) -> bool {
        let listens = self.tables.learning.get(&()).map_or(0, |row| at.mono_ms.saturating_sub(row.since_ms));
        self.tables.observed.get(&host).is_some() || listens >= SILENT_MS
    }

    /// Whom is waited for, and why where that is known.
    pub(super) fn why_waiting(&self, host: HostId, does: &str, at: &Moment) -> String {
        self.silence(host, at).unwrap_or_else(|| format!("until host '{}' {does}", self.host_name(host)))
    }
}

pub(super) fn superseded() -> Look {
    Look::failed(
        "the protection has ended meanwhile, or another host owns the machine",
        "look at the protection: what was ordered or happened since counts",
    )
}

pub(super) fn protected_again() -> Look {
    Look::failed(
        "the machine is protected again, or was taken over",
        "disable that protection, if it is not wanted",
    )
}
