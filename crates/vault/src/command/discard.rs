//! Discarding a replica that no protection wants: one that was forgotten, or stayed after a
//! move. Only this and ending a protection with that order delete one.

use farshore_control::report::{ReplicaPhase, ReplicaState};
use farshore_types::{HostId, MachineId};

use crate::{
    Answer, Core, Moment, Problem,
    jobs::{Discarding, Kind},
    rows::About,
};

impl Core {
    pub(super) fn discard_replica(
        &mut self,
        host: HostId,
        machine: MachineId,
        force: bool,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        let there = self.host_row(host)?.name.clone();
        let seen = self.tables.observed.get(&host);
        let state = seen.and_then(|seen| seen.report.replicas.iter().find(|r| r.machine == machine)).cloned();
        let Some(state) = state else {
            let what = format!("host '{there}' shows no replica of machine {machine}");
            return Err(Problem::new(
                crate::ProblemKind::NotFound,
                "replica-unknown",
                what,
                "see `farshore replica list`",
            ));
        };
        self.is_not_wanted(host, &state, &there)?;
        if !force {
            self.is_not_the_only_copy(host, &state, &there)?;
            self.has_no_own_writes(host, machine, &state.name, super::disable::FORCE)?;
        }
        let about = About::Machine(machine);
        if let Some(open) = self.open_job(Kind::Discard, about) {
            let what = format!("a replica of '{}' is being discarded by job {open}", state.name);
            return Err(Problem::conflict("discarding", what, "wait for that job, or cancel it"));
        }
        let input = Discarding { machine, host, epoch: state.epoch, name: state.name, target: there };
        let job = self.begin_job(Kind::Discard, about, &input, at)?;
        Ok(Answer::changed(true).with_jobs([job]))
    }

    fn is_not_wanted(&self, host: HostId, state: &ReplicaState, there: &str) -> Result<(), Problem> {
        let name = &state.name;
        let row = self.tables.protections.get(&state.machine).filter(|row| row.is_live());
        let leaves = row.and_then(|row| self.leaving(row)).is_some_and(|leaving| leaving.host == host);
        if row.is_some_and(|row| row.target() == host) || leaves {
            let what = format!("machine '{name}' is protected by its replica on host '{there}'");
            return Err(Problem::refused("replica-wanted", what, "end the protection, or move it, first"));
        }
        if matches!(state.phase, ReplicaPhase::BroughtUp { .. }) {
            let what = format!("machine '{name}' was brought up on host '{there}' from this replica");
            return Err(Problem::refused("brought-up", what, "it holds the machine's disks: it stays"));
        }
        Ok(())
    }

    /// As far as hosts in contact say: the machine where it runs, or another replica.
    fn is_not_the_only_copy(&self, host: HostId, state: &ReplicaState, there: &str) -> Result<(), Problem> {
        let heard = |other: HostId| self.may_speak_to(other) && self.tables.observed.get(&other).is_some();
        let runs = self
            .tables
            .machines
            .rows()
            .any(|row| row.facts.id == state.machine && row.host != host && heard(row.host));
        let kept = self.tables.observed.rows().any(|seen| {
            let same = |r: &ReplicaState| r.machine == state.machine && r.newest.is_some();
            seen.host != host && seen.report.replicas.iter().any(same)
        });
        if runs || kept {
            return Ok(());
        }
        let what = format!(
            "no other host shows machine '{}' or a replica of it: that on '{there}' may be the only copy",
            state.name
        );
        Err(Problem::refused("only-copy", what, "keep it, or force it where you know better"))
    }
}
