//! What is seen of a protection at its two ends, how old its newest point is for certain, and
//! how well protections, hosts and sites are by that. Ages come from when a report was
//! received, never from another host's clock. This module must never remember anything.

use farshore_control::Intent;
use farshore_control::report::{PointAge, ReplicaState, SourcePhase, SourceState};
use farshore_health::{
    CycleStats, Health, HostSigns, ProtectionSigns, SILENT_MS, SiteSigns, of_host, of_protection, of_site,
};
use farshore_protection::{HandOver, Phase, Stage};
use farshore_types::{HostId, PointId};

use super::Watch;
use crate::{
    Core, Moment,
    rows::{HostRow, ObservedRow, ProtectionRow, SiteRow},
};

/// A protection as it is seen now.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// What its source's agent said last.
    pub source: Option<&'a SourceState>,
    /// What its target's agent said last.
    pub replica: Option<&'a ReplicaState>,
    /// The newest point that the target holds, and its age in milliseconds: never less than
    /// the truth.
    pub newest: Option<(PointId, u64)>,
    /// The newest of these that is application-consistent, likewise.
    pub newest_application: Option<(PointId, u64)>,
    /// How well it is.
    pub health: Health,
}

/// What one end said, and of when that is.
struct Said<'a, T> {
    state: Option<&'a T>,
    row: &'a ObservedRow,
    /// Milliseconds since it was measured, at most and at least.
    age_ms: u64,
    age_least_ms: u64,
}

impl<T> Clone for Said<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Said<'_, T> {}

fn said<'a, T>(row: Option<&'a ObservedRow>, state: Option<&'a T>, at: &Moment) -> Option<Said<'a, T>> {
    let row = row?;
    let since = at.mono_ms.saturating_sub(row.mono_ms);
    Some(Said { state, row, age_ms: since.saturating_add(row.age_ms), age_least_ms: since })
}

/// The two ends.
pub(super) struct Ends<'a> {
    source: Option<Said<'a, SourceState>>,
    target: Option<Said<'a, ReplicaState>>,
    source_silent_ms: u64,
    target_silent_ms: u64,
    /// The newest point that was known before, and its age.
    known: Option<(PointId, u64)>,
    trusts_any_clock: bool,
}

impl<'a> Ends<'a> {
    /// `known`: the newest point that was known before, and its instant by the watch's clock.
    pub(super) fn of(
        core: &'a Core,
        row: &ProtectionRow,
        known: Option<(PointId, u64)>,
        at: &Moment,
    ) -> Ends<'a> {
        // While a replica is moved, that on the old host is the whole one.
        let moved = core.leaving(row).map(|leaving| core.observed_of(leaving.host));
        let (source, new) = (core.observed_of(row.source()), core.observed_of(row.target()));
        let keeps = |seen: &ObservedRow| {
            seen.report.replicas.iter().any(|r| r.machine == row.machine && r.newest.is_some())
        };
        let target = moved.flatten().filter(|seen| keeps(seen)).or(new);
        let of_machine = |id| id == row.machine;
        let sends = source.and_then(|seen| seen.report.sources.iter().find(|s| of_machine(s.machine)));
        let keeps = target.and_then(|seen| seen.report.replicas.iter().find(|r| of_machine(r.machine)));
        let clock = core.watch.clock(at);
        #[cfg(feature = "deliberate-bugs")]
        let trusts_any_clock = core.has_bug(crate::Bug::TrustsAnyClock);
        #[cfg(not(feature = "deliberate-bugs"))]
        let trusts_any_clock = false;
        Ends {
            source: said(source, sends, at),
            target: said(target, keeps, at),
            source_silent_ms: core.watch.silent_ms(source, at),
            target_silent_ms: core.watch.silent_ms(target, at),
            known: known.map(|(id, instant_ms)| (id, clock.saturating_sub(instant_ms))),
            trusts_any_clock,
        }
    }

    pub(super) fn source(&self) -> Option<(&'a SourceState, &'a ObservedRow)> {
        self.source.and_then(|said| Some((said.state?, said.row)))
    }

    /// Whether any end has spoken to this run of the vault.
    pub(super) fn is_heard(&self) -> bool {
        self.source.is_some() || self.target.is_some()
    }

    /// The newest point that the target holds for certain, and its age now.
    ///
    /// The source's word counts: it has captured the point, and has both instants by one
    /// clock. The target's age of a point that the source has not told of yet mixes two
    /// hosts' clocks; it is taken for the worst that these can make of it, but no point is
    /// older than the one before it.
    pub(super) fn newest(&self) -> Option<(PointId, u64)> {
        let told = |age: u64, point: PointAge| (point.id, point.age_ms.saturating_add(age));
        let sent = self.source.and_then(|s| Some(told(s.age_ms, s.state?.newest?)));
        let kept = self.target.and_then(|t| Some(told(t.age_ms, t.state?.newest?)));
        if self.trusts_any_clock {
            let both = [sent, kept].into_iter().flatten();
            return both.max_by_key(|(id, age)| (*id, std::cmp::Reverse(*age)));
        }
        // What the source has told of is held for certain, unless the target has been looked
        // at since for certain, and has less.
        let lost = match (&self.source, &self.target) {
            (Some(source), Some(target)) => target.age_ms < source.age_least_ms,
            (None, Some(_)) => true,
            _ => false,
        };
        let vouched = [sent, self.known].into_iter().flatten().max_by_key(|(id, age)| (*id, *age));
        match (vouched, kept) {
            (_, None) if lost => None,
            (vouched, None) => vouched,
            (None, Some((id, age))) => Some((id, age.saturating_add(self.behind_ms()))),
            (Some(vouched), Some((id, age))) if id > vouched.0 => {
                Some((id, age.saturating_add(self.behind_ms()).min(vouched.1)))
            }
            (Some(vouched), Some((id, age))) if id < vouched.0 && lost => {
                Some((id, age.saturating_add(self.behind_ms()).max(vouched.1)))
            }
            (vouched, _) => vouched,
        }
    }

    /// The newest application-consistent point that the target holds, and its age now: never
    /// less than the truth.
    fn newest_application(&self) -> Option<(PointId, u64)> {
        let said = self.target?;
        let point = said.state?.newest_application?;
        Some((point.id, point.age_ms.saturating_add(said.age_ms).saturating_add(self.behind_ms())))
    }

    /// Milliseconds that the target's clock may be behind the source's, at most.
    fn behind_ms(&self) -> u64 {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        // What is told of a clock is its most; its least is less by what the way may have taken.
        let source_most = self.source.map_or(0, |said| said.row.skew_ms);
        let target_least =
            self.target.map_or(0, |said| said.row.skew_ms.saturating_sub(signed(said.row.age_ms)));
        u64::try_from(source_most.saturating_sub(target_least)).unwrap_or(0)
    }
}

impl Watch {
    /// Milliseconds since somebody was heard of; since the watch began where never.
    fn silent_ms(&self, seen: Option<&ObservedRow>, at: &Moment) -> u64 {
        seen.map_or(self.watched_ms(at), |seen| at.mono_ms.saturating_sub(seen.mono_ms))
    }
}

impl Core {
    /// What is seen of a protection, and how well it is.
    #[must_use]
    pub fn judge<'a>(&'a self, row: &ProtectionRow, at: &Moment) -> Judged<'a> {
        let followed = self.watch.protections.get(&row.machine);
        let ends = Ends::of(self, row, followed.and_then(|followed| followed.newest), at);
        self.judged(row, &ends, self.cycles_of(row.machine, at), at)
    }

    pub(super) fn judged<'a>(
        &'a self,
        row: &ProtectionRow,
        ends: &Ends<'a>,
        cycles: CycleStats,
        at: &Moment,
    ) -> Judged<'a> {
        let (source, replica) = (ends.source().map(|s| s.0), ends.target.and_then(|said| said.state));
        let newest = ends.newest();
        let newest_application = ends.newest_application();
        let apps = source.and_then(|source| source.apps.as_ref());
        let policy = row.policy.and_then(|id| self.policy(id)).map(|row| &row.policy);
        let maintenance = self.in_maintenance(row);
        let when = |of: fn(&SourcePhase) -> Option<&str>| source.map(|source| &source.phase).and_then(of);
        let rests = (row.intent() == Intent::Pause && !row.life.paused).then(|| row.life.so());
        let health = of_protection(&ProtectionSigns {
            intent: Some(if row.life.paused { Intent::Pause } else { Intent::Replicate }),
            rests: rests.as_ref().map(|what| (what.as_str(), row.life.instead())),
            has_point: newest.is_some(),
            age_ms: newest.map(|(_, age)| age),
            enabled_ms: if row.enabled_ms == 0 { 0 } else { at.wall_ms.saturating_sub(row.enabled_ms) },
            objective_secs: policy.and_then(|policy| policy.rpo_objective_secs),
            app_secs: policy.and_then(|policy| policy.app_consistent_secs),
            app_age_ms: newest_application.map(|(_, age)| age),
            app_fault: apps.and_then(|apps| apps.fault.as_deref()),
            unthawed: apps.and_then(|apps| apps.unthawed.as_deref()),
            cycles,
            resync_needed: when(|p| if let SourcePhase::ResyncNeeded { why } = p { Some(why) } else { None }),
            resyncing: when(|p| match p {
                SourcePhase::Resynchronizing { why, .. } => Some(why),
                _ => None,
            }),
            retrying: when(|p| if let SourcePhase::Retrying { why } = p { Some(why) } else { None }),
            failed: when(|p| if let SourcePhase::Failed { why } = p { Some(why) } else { None }),
            faults: replica.map_or(&[], |replica| &replica.faults),
            source_silent_ms: ends.source_silent_ms,
            target_silent_ms: ends.target_silent_ms,
            drill_overdue: row.life.drill.as_ref().is_some_and(|drill| drill.overdue),
            runs_on: &self.runs_at_once(row, at),
            runs_nowhere: self.runs_nowhere(row, at).as_deref(),
            held_on: self.held_on(row).as_deref(),
            conflict: row.life.rival.is_some()
                || self.epoch(row.machine).is_some_and(|epoch| epoch.conflict.is_some()),
            maintenance: maintenance.as_deref(),
        });
        Judged { source, replica, newest, newest_application, health }
    }

    /// The hosts on which its machine runs, where those are more than one. The last word of a host
    /// that is not heard of any more is of before a failover, and says nothing of now.
    fn runs_at_once(&self, row: &ProtectionRow, at: &Moment) -> Vec<String> {
        let runs = |host: &HostId| self.is_heard_now(*host, at) && self.runs_uncut(*host, row.machine);
        let ends = row.hosts().into_iter().filter(runs);
        let mut hosts: Vec<HostId> = ends.collect();
        if let Some(twin) = row.twin {
            hosts.retain(|host| *host == row.source());
            hosts.push(twin);
        }
        hosts.into_iter().map(|host| self.host_name(host)).collect()
    }

    /// Why the other side does not take a machine that is sealed for it.
    fn runs_nowhere(&self, row: &ProtectionRow, at: &Moment) -> Option<String> {
        let sealed = |over: &HandOver| matches!(over.phase, Phase::Sealed | Phase::Aborting { sealed: true });
        if !matches!(&row.life.stage, Stage::HandingOver(over) if sealed(over)) {
            return None;
        }
        let cannot = self.standing(row.target(), row.machine).and_then(|standing| standing.cannot.as_ref());
        let silent = self.silence(row.target(), at);
        silent.or_else(|| cannot.map(ToString::to_string))
    }

    /// The host that holds the machine after a boot.
    fn held_on(&self, row: &ProtectionRow) -> Option<String> {
        let held = |host: &HostId| self.standing(*host, row.machine).is_some_and(|s| s.held_without_witness);
        row.hosts().into_iter().find(held).map(|host| self.host_name(host))
    }

    /// The host in whose maintenance a protection stands still, by its name.
    fn in_maintenance(&self, row: &ProtectionRow) -> Option<String> {
        let source = self.host(row.source()).filter(|host| host.maintenance && !host.machines_go_on);
        let target = || self.host(row.target()).filter(|host| host.maintenance);
        source.or_else(target).map(|host| host.name.clone())
    }

    /// How well a host is.
    #[must_use]
    pub fn host_health(&self, row: &HostRow, at: &Moment) -> Health {
        let seen = self.observed_of(row.id);
        let report = seen.map(|seen| &seen.report);
        of_host(&HostSigns {
            silent_ms: self.watch.silent_ms(seen, at),
            // What the way here does not explain.
            skew_ms: seen.map_or(0, |s| s.skew_ms.unsigned_abs().saturating_sub(s.age_ms)),
            certificate_left_ms: report
                .map(|r| r.certificate_until_ms)
                .filter(|until| *until > 0)
                .map(|until| until.saturating_sub(at.wall_ms)),
            space: report.map_or(&[], |r| &r.space),
            problems: report.map_or(&[], |r| &r.problems),
            maintenance: row.maintenance,
        })
    }

    /// How well a site is. A site whose server is expected nowhere yet is well.
    #[must_use]
    pub fn site_health(&self, row: &SiteRow, at: &Moment) -> Health {
        let seen = self.watch.sites.get(&row.id);
        let expected = || self.hosts().any(|host| host.site == row.id && !host.removed);
        let unheard = || expected().then(|| self.watch.watched_ms(at));
        of_site(&SiteSigns {
            silent_ms: seen.map(|seen| at.mono_ms.saturating_sub(seen.mono_ms)).or_else(unheard),
            skew_ms: seen.map_or(0, |s| s.skew_ms.unsigned_abs().saturating_sub(s.transit_ms)),
            problems: seen.map_or(&[], |seen| &seen.problems),
        })
    }

    /// Whether a host counts as gone: it was removed, or has been silent for long enough. One
    /// that could not have been heard yet, because the vault has just started, is not gone.
    pub(crate) fn is_gone(&self, host: HostId, at: &Moment) -> bool {
        let removed = self.host(host).is_none_or(|row| row.removed);
        removed || self.watch.silent_ms(self.observed_of(host), at) >= SILENT_MS
    }

    /// Milliseconds since a host was heard of; none where this run has not heard of it.
    #[must_use]
    pub fn heard_ms(&self, host: HostId, at: &Moment) -> Option<u64> {
        self.observed_of(host).map(|seen| at.mono_ms.saturating_sub(seen.mono_ms))
    }

    /// Whether who was not heard of yet may only have had no time for it since the start.
    pub(super) fn is_early(&self, at: &Moment) -> bool {
        self.watch.watched_ms(at) < SILENT_MS
    }
}
