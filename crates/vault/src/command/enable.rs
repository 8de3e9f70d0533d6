//! Enabling protections, and pausing and comparing them.

use std::collections::BTreeMap;

use farshore_control::ownership;
use farshore_protection::{Life, Operation, Order};
use farshore_types::{HostId, JobId, MachineId};

use super::Enable;
use crate::{
    Answer, Core, Moment, Problem, Severity,
    jobs::{Enabling, Kind, Resyncing},
    preflight::Choice,
    problem::{machines, stand_against},
    rows::{About, EpochRow, ProtectionRow},
};

/// Most machines that are enabled by one command.
pub(crate) const ENABLE_MAX: usize = 1000;

impl Core {
    /// Protects machines, all of them or none. What pre-flight calls an error stands against
    /// it; its warnings are in the answer.
    pub(crate) fn enable(&mut self, enable: &Enable, at: &Moment) -> Result<Answer, Problem> {
        let (findings, choices) = self.examine(enable, at);
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        if errors > 0 {
            let what = format!("{} protecting {}", stand_against(errors), machines(enable.machines.len()));
            let advice = "see the details; nothing was changed";
            return Err(Problem::refused("preflight", what, advice).with_details(findings));
        }
        let mut jobs = Vec::new();
        for choice in &choices {
            let fresh = self.is_fresh(choice.target, choice.machine);
            self.protect(choice, enable, at)?;
            jobs.push(self.see_to_enabling(choice.machine, fresh, at)?);
        }
        Ok(Answer { warnings: findings, ..Answer::changed(true) }.with_jobs(jobs))
    }

    /// Whether the target is known to have no replica of the machine.
    pub(super) fn is_fresh(&self, target: HostId, machine: MachineId) -> bool {
        let observed = self.tables.observed.get(&target);
        observed.is_some_and(|seen| {
            let kept = seen.report.replicas.iter().any(|state| state.machine == machine);
            let left = seen.report.unclaimed.iter().any(|left| left.machine == machine);
            !kept && !left
        })
    }

    /// Begins the job that sees to a protection which was just ordered.
    fn see_to_enabling(&mut self, machine: MachineId, fresh: bool, at: &Moment) -> Result<JobId, Problem> {
        let row = self.live_row(machine)?.clone();
        let epoch = self.tables.epochs.get(&machine).map(|row| row.epoch);
        let epoch = epoch.ok_or_else(|| Problem::unknown("epoch", format_args!("of machine {machine}")))?;
        let (source, target) = (self.host_name(row.source()), self.host_name(row.target()));
        let input = Enabling { machine, epoch, name: row.name, source, target, fresh };
        self.begin_job(Kind::Enable, About::Machine(machine), &input, at)
    }

    fn protect(&mut self, choice: &Choice, enable: &Enable, at: &Moment) -> Result<(), Problem> {
        let machine = choice.machine;
        self.issue_epoch(machine, choice.source, [choice.source, choice.target], at)?;
        // What was asked of a former replica must not meet the new one.
        self.withdraw_requests(machine);
        let ahead = self.tables.hosts.get(&choice.source).and_then(|host| self.tables.sites.get(&host.site));
        let ahead_minutes = ahead.map_or(0, |site| site.ahead_minutes);
        let policy = self.policy_row(choice.policy)?;
        let initial = enable.initial.unwrap_or_else(|| policy.policy.initial_copy(at.wall_ms, ahead_minutes));
        let resync = self.tables.protections.get(&machine).map_or(0, |row| row.resync);
        let life = self.begun(machine, choice.source, choice.target)?;
        // What people said of the guest is true of it still.
        let before = self.tables.protections.get(&machine);
        let (addresses, drills) =
            before.map(|row| (row.addresses.clone(), row.drills.clone())).unwrap_or_default();
        self.tables.protections.put(ProtectionRow {
            machine,
            name: choice.name.clone(),
            policy: Some(choice.policy),
            settings: None,
            life,
            initial,
            resync,
            excluded: enable.excluded.clone(),
            place: choice.place.clone(),
            place_on: Some(choice.target),
            enabled_ms: at.wall_ms,
            note: None,
            ended: None,
            leaving: None,
            addresses,
            drills,
            twin: None,
        });
        Ok(())
    }

    /// A new life, by the epoch that was issued for it. What the life before it issued and never
    /// used is not issued again.
    fn begun(&self, machine: MachineId, source: HostId, target: HostId) -> Result<Life, Problem> {
        let begun = Life::begin(source, target, self.epoch_of(machine)?);
        let Some(before) = self.tables.protections.get(&machine).map(|row| &row.life) else {
            return Ok(begun);
        };
        Ok(Life { version: before.version + 1, ups: before.ups, ..begun })
    }

    /// Issues the epoch of a new owner (rule R1): above the highest that is known.
    pub(super) fn issue_epoch(
        &mut self,
        machine: MachineId,
        owner: HostId,
        hosts: [HostId; 2],
        at: &Moment,
    ) -> Result<(), Problem> {
        if !self.may_issue_for(hosts, at) {
            let what = format!("neither host of machine {machine} has told this vault what it holds");
            return Err(Problem::unavailable("learning", what, "see to the agents of both hosts"));
        }
        let row = self.tables.epochs.get(&machine).copied();
        let known = row.into_iter().flat_map(|row| [Some(row.epoch), row.conflict]).flatten();
        // What was issued for a hand-over and never used is used up.
        let issued = self.tables.protections.get(&machine).map(|row| row.life.issued);
        let known: Vec<_> = known.chain(issued).collect();
        let token = at.draw(&format!("epoch of {machine}"));
        let highest = known.iter().max_by_key(|epoch| epoch.number);
        let issued = ownership::issue(&known, highest, token);
        let epoch = issued.map_err(|denied| {
            let what = format!("machine {machine}: {denied}");
            Problem::refused("epoch", what, "settle who owns the machine first")
        })?;
        self.tables.epochs.put(EpochRow { machine, epoch, owner, conflict: None });
        Ok(())
    }

    pub(super) fn set_paused(
        &mut self,
        machine: MachineId,
        paused: bool,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        let row = self.live_row(machine)?;
        let conflict = self.tables.epochs.get(&machine).is_some_and(|row| row.conflict.is_some());
        if !paused && conflict {
            let what = format!("two hosts own machine '{}' by the same epoch", row.name);
            return Err(Problem::refused("epoch-conflict", what, "declare which of them is the winner"));
        }
        let operation = if paused { Operation::Pause } else { Operation::Resume };
        let row = row.clone();
        let judged = row.life.judge(&self.facts_of(&row, at), operation);
        if matches!(judged, farshore_protection::Answer::Already(_)) {
            return Ok(Answer::changed(false));
        }
        self.order_life(&row, &Order::new(operation, 0), None, at)
    }

    /// Asks for a comparison of everything; asked again before it was done it is the same one.
    pub(super) fn resync(&mut self, machine: MachineId, at: &Moment) -> Result<Answer, Problem> {
        let row = self.live_row(machine)?.clone();
        let resync = Order::new(Operation::Resync, 0);
        self.order_life(&row, &resync, Some(JobId(uuid::Uuid::nil())), at)?;
        let observed = self.tables.observed.get(&row.source());
        let state = observed.and_then(|o| o.report.sources.iter().find(|state| state.machine == machine));
        let done = state.map_or(0, |state| state.resynced);
        let asked = row.resync.max(done);
        let outstanding = row.resync > done && state.is_some();
        let next = if outstanding { row.resync } else { asked + 1 };
        let changed = self.tables.protections.change(&machine, |row| row.resync = next);
        let (about, epoch) = (About::Machine(machine), self.tables.epochs.get(&machine).map(|row| row.epoch));
        let job = match (self.open_job(Kind::Resync, about), epoch) {
            (Some(open), _) if !changed => Some(open),
            (_, None) => None,
            (_, Some(epoch)) => {
                let source = self.host_name(row.source());
                let input = Resyncing { machine, epoch, name: row.name, source, number: next };
                Some(self.begin_job(Kind::Resync, about, &input, at)?)
            }
        };
        Ok(Answer::changed(changed).with_jobs(job))
    }

    pub(super) fn live_row(&self, machine: MachineId) -> Result<&ProtectionRow, Problem> {
        let row = self.tables.protections.get(&machine).filter(|row| row.is_live());
        row.ok_or_else(|| Problem::unknown("protection", format_args!("of machine {machine}")))
    }

    /// Bytes that each host's replicas are going to need, by what is enabled already but not
    /// there yet.
    pub(crate) fn promised(&self) -> BTreeMap<HostId, u64> {
        let mut promised = BTreeMap::new();
        for row in self.tables.protections.rows().filter(|row| row.is_live()) {
            let stored = self.tables.observed.get(&row.target()).and_then(|observed| {
                observed.report.replicas.iter().find(|state| state.machine == row.machine).map(|s| s.stored)
            });
            let facts = self.tables.machines.get(&(row.source(), row.machine)).map(|machine| &machine.facts);
            let size: u64 = facts.map_or(0, |facts| facts.disks.iter().map(|disk| disk.size).sum());
            *promised.entry(row.target()).or_default() += size.saturating_sub(stored.unwrap_or(0));
        }
        promised
    }
}
