//! Moving a replica to another host of its cloud: the target changes with the order, under a
//! new epoch, so that no point of the new copy has the name of one of the old. The old host
//! keeps what it has until the copy is whole, and gives it up only where that was ordered.

use farshore_control::InitialCopy;
use farshore_types::{Epoch, HostId, JobId, MachineId};

use crate::{
    Answer, Core, Finding, Moment, Problem, Severity,
    jobs::{Kind, Moving},
    preflight::Move,
    problem,
    rows::{About, Leaving, ProtectionRow},
};

impl Core {
    pub(super) fn move_replica(
        &mut self,
        machine: MachineId,
        to: Option<HostId>,
        delete_old: bool,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        let row = self.live_row(machine)?.clone();
        self.can_be_moved(&row)?;
        if to == Some(row.target()) {
            let what = format!("the replica of '{}' is on '{}'", row.name, self.host_name(row.target()));
            return Err(Problem::conflict("already-there", what, "name another host of its cloud"));
        }
        if delete_old {
            let instead = "or move it and keep the old replica: without `--delete-old`";
            self.has_no_own_writes(row.target(), machine, &row.name, instead)?;
        }
        self.move_all(&[(machine, to)], delete_old, at)
    }

    /// Moves replicas, all of them or none. An old one that keeps what was written on its host
    /// alone stays there, whatever is said of old ones.
    pub(super) fn move_all(
        &mut self,
        moves: &[(MachineId, Option<HostId>)],
        delete_old: bool,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        let (findings, choices) = self.examine_moves(moves, at);
        check_findings(&findings, moves.len())?;
        let (mut jobs, mut warnings) = (Vec::new(), findings);
        for choice in &choices {
            let stays = if delete_old { self.old_stays(choice.machine)? } else { None };
            jobs.push(self.begin_move(choice, delete_old && stays.is_none(), at)?);
            warnings.extend(stays);
        }
        Ok(Answer { warnings, ..Answer::changed(!jobs.is_empty()) }.with_jobs(jobs))
    }

    /// That the old replica of a machine is not to go, and why.
    fn old_stays(&self, machine: MachineId) -> Result<Option<Finding>, Problem> {
        let row = self.live_row(machine)?;
        let instead = "`farshore replica discard` deletes the old replica then";
        let goes = self.has_no_own_writes(row.target(), machine, &row.name, instead);
        Ok(goes.err().map(|Problem { code, what, advice, .. }| {
            let what = format!("the old replica of '{}' stays: {what}", row.name);
            Finding { severity: Severity::Warning, code, machine: Some(machine), what, advice }
        }))
    }

    fn begin_move(&mut self, choice: &Move, delete: bool, at: &Moment) -> Result<JobId, Problem> {
        let (machine, to) = (choice.machine, choice.to);
        let row = self.live_row(machine)?.clone();
        let about = About::Machine(machine);
        let old = self.epoch_of(machine)?;
        let fresh = self.is_fresh(to, machine);
        let token = at.draw(&format!("epoch of {machine}"));
        let life = row.life.relocated(to, token, &self.facts_of(&row, at));
        let life = life.map_err(|reason| Problem::refused(&reason.code, reason.what, &reason.advice))?;
        let epoch = life.epoch;
        self.put_life(machine, life);
        if let Some(open) = self.open_job(Kind::Resync, about) {
            self.cancel_job(open, "the move of the replica, which reads everything", at)?;
        }
        // What was asked of a former replica must not meet the new one.
        self.withdraw_requests(machine);
        let [source, target, from_name] = [row.source(), to, row.target()].map(|host| self.host_name(host));
        let (from, name, from_place) = (row.target(), row.name, row.place);
        self.tables.protections.change(&machine, |row| {
            row.leaving = Some(Leaving { host: from, place: from_place.clone(), by: epoch });
            (row.place, row.place_on) = (choice.place.clone(), Some(to));
            // What the new host may have is compared with at once, whatever the policy's window.
            (row.initial, row.resync, row.note) = (InitialCopy::Now, row.resync + 1, None);
        });
        let input = Moving {
            machine,
            epoch,
            name,
            source,
            target,
            from,
            from_name,
            from_place,
            to,
            old,
            fresh,
            delete,
        };
        self.begin_job(Kind::Move, about, &input, at)
    }

    /// That a replica can be moved as things are.
    pub(super) fn can_be_moved(&self, row: &ProtectionRow) -> Result<(), Problem> {
        self.is_not_moving(row)?;
        let name = &row.name;
        if let Some(open) = self.open_job(Kind::Move, About::Machine(row.machine)) {
            let what = format!("the old replica of machine '{name}' is still to be deleted by job {open}");
            return Err(Problem::conflict("moving", what, "wait for that job, or cancel it first"));
        }
        if row.life.paused {
            let what = format!("the protection of machine '{name}' is paused: nothing would be copied");
            return Err(Problem::refused("paused", what, "resume it first"));
        }
        if self.open_job(Kind::Enable, About::Machine(row.machine)).is_some() {
            let what = format!("the first copy of machine '{name}' is not complete");
            let advice = "wait for it; or cancel its job, and enable it anew with the other target";
            return Err(Problem::refused("initial-copy", what, advice));
        }
        Ok(())
    }

    /// That a replica is not on its way from one host to another.
    pub(super) fn is_not_moving(&self, row: &ProtectionRow) -> Result<(), Problem> {
        let Some(leaving) = self.leaving(row) else { return Ok(()) };
        let (from, to) = (self.host_name(leaving.host), self.host_name(row.target()));
        let what = format!("the replica of machine '{}' is being moved from '{from}' to '{to}'", row.name);
        Err(Problem::conflict("moving", what, "wait for that job, or cancel it first"))
    }

    pub(super) fn epoch_of(&self, machine: MachineId) -> Result<Epoch, Problem> {
        let row = self.tables.epochs.get(&machine);
        row.map(|row| row.epoch)
            .ok_or_else(|| Problem::unknown("epoch", format_args!("of machine {machine}")))
    }
}

fn check_findings(findings: &[Finding], machines: usize) -> Result<(), Problem> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors == 0 {
        return Ok(());
    }
    let against = problem::stand_against(errors);
    let what = format!("{against} moving the replicas of {}", problem::machines(machines));
    let problem = Problem::refused("preflight", what, "see the details; nothing was changed");
    Err(problem.with_details(findings.to_vec()))
}
