//! Disabling a protection: the one way in which one ends. Its documents say so, and a replica
//! is deleted only where that is asked for, and only after the end of it is known there.

use farshore_policy::OnDisable;
use farshore_protection::{Operation, Order};
use farshore_types::{HostId, JobId, MachineId, PointId};

use crate::{
    Answer, Core, Moment, Problem,
    jobs::{Disable, Kind},
    rows::{About, Ended, ProtectionRow, ReplicaFate},
};

/// What else there is to do about a replica that is refused to go.
pub(super) const FORCE: &str = "or, where nothing of it is needed, `--force`";

impl Core {
    pub(super) fn disable(
        &mut self,
        machine: MachineId,
        replica: Option<OnDisable>,
        force: bool,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        let Some(row) = self.tables.protections.get(&machine) else {
            return Err(Problem::unknown("protection", format_args!("of machine {machine}")));
        };
        if row.is_live() {
            self.is_not_moving(row)?;
        }
        let follows = row.policy.and_then(|id| self.tables.policies.get(&id));
        // What was only learned of has no policy that could say that anything is deleted.
        let said = replica.unwrap_or_else(|| follows.map_or(OnDisable::Keep, |row| row.policy.on_disable));
        if let Some(ended) = &row.ended {
            return self.change_end(machine, ended.replica, replica, force, at);
        }
        if said == OnDisable::Delete && !force {
            self.has_another_copy(row)?;
            self.has_no_own_writes(row.target(), machine, &row.name, FORCE)?;
        }
        let fate = if said == OnDisable::Delete { ReplicaFate::ToDelete } else { ReplicaFate::Kept };
        let why = "protection was disabled".to_owned();
        let ended = Ended { why, at_ms: at.wall_ms, replica: fate };
        let row = row.clone();
        let disable = Order::new(Operation::Disable, 0);
        self.order_life(&row, &disable, Some(JobId(uuid::Uuid::nil())), at)?;
        let changed = self.tables.protections.change(&machine, |row| row.has_ended(ended));
        let job = self.see_to_the_end(machine, said == OnDisable::Delete, at)?;
        Ok(Answer::changed(changed).with_jobs(job))
    }

    /// Begins the job that sees to the end of a protection. One that waits already for the
    /// same machine waits for less, and is left to this one.
    fn see_to_the_end(
        &mut self,
        machine: MachineId,
        delete: bool,
        at: &Moment,
    ) -> Result<Option<JobId>, Problem> {
        let about = About::Machine(machine);
        if let Some(open) = self.open_job(Kind::Disable, about) {
            self.cancel_job(open, "a further order for the same machine", at)?;
        }
        let Some(row) = self.tables.protections.get(&machine).cloned() else { return Ok(None) };
        // Without an epoch nothing was ever told to a host.
        let Some(epoch) = self.tables.epochs.get(&machine).map(|row| row.epoch) else { return Ok(None) };
        let (source, target) = (self.host_name(row.source()), self.host_name(row.target()));
        let input = Disable { machine, epoch, name: row.name, source, target, delete };
        self.begin_job(Kind::Disable, about, &input, at).map(Some)
    }

    /// A protection that has ended already: its replica can still be asked to go.
    fn change_end(
        &mut self,
        machine: MachineId,
        fate: ReplicaFate,
        said: Option<OnDisable>,
        force: bool,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        if said != Some(OnDisable::Delete) || fate != ReplicaFate::Kept {
            let open = self.open_job(Kind::Disable, About::Machine(machine));
            return Ok(Answer::changed(false).with_jobs(open));
        }
        if let (false, Some(row)) = (force, self.tables.protections.get(&machine)) {
            self.has_another_copy(row)?;
            self.has_no_own_writes(row.target(), machine, &row.name, FORCE)?;
        }
        let changed = self.tables.protections.change(&machine, |row| {
            if let Some(ended) = &mut row.ended {
                ended.replica = ReplicaFate::ToDelete;
            }
        });
        let job = self.see_to_the_end(machine, true, at)?;
        Ok(Answer::changed(changed).with_jobs(job))
    }

    /// That a replica is not the only good copy, as far as its source's host says.
    pub(crate) fn has_another_copy(&self, row: &ProtectionRow) -> Result<(), Problem> {
        let seen = self.tables.machines.get(&(row.source(), row.machine)).is_some();
        let spoken = self.may_speak_to(row.source()) && self.tables.observed.get(&row.source()).is_some();
        if seen && spoken {
            return Ok(());
        }
        let host = self.host_name(row.source());
        let what =
            format!("host '{host}' does not show machine '{}': its replica may be the only copy", row.name);
        Err(Problem::refused("only-copy", what, "keep the replica, or force it where you know better"))
    }

    /// Points of a replica that keep what was written on its host alone, by its last report.
    pub(crate) fn own_writes(&self, host: HostId, machine: MachineId) -> &[PointId] {
        self.replica_on(host, machine).map_or(&[], |replica| &replica.own_writes)
    }

    /// That a replica keeps nothing that was written on its host alone: the machine's source never
    /// had that. `instead`: the other way than to let it go there.
    pub(crate) fn has_no_own_writes(
        &self,
        host: HostId,
        machine: MachineId,
        name: &str,
        instead: &str,
    ) -> Result<(), Problem> {
        let there = self.host_name(host);
        let removed = self.tables.hosts.get(&host).is_none_or(|row| row.removed);
        if self.tables.observed.get(&host).is_none() && !removed {
            let what = format!(
                "host '{there}' has not reported since the vault was started: whether its replica of machine \
                 '{name}' keeps what was written there alone is not known"
            );
            return Err(Problem::refused("own-writes-unknown", what, &format!("wait for it; {instead}")));
        }
        let kept = self.own_writes(host, machine);
        let Some(first) = kept.first() else { return Ok(()) };
        let points = kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let what = format!(
            "the replica of machine '{name}' on host '{there}' is the only place of what the machine wrote on \
             that host alone: points {points}, pinned by \"own writes of before\""
        );
        let advice = format!(
            "on '{there}', take what is needed of it (`farshore-agent export`), and then let it go \
             (`farshore-agent release {name} --point {first}`); {instead}"
        );
        Err(Problem::refused("own-writes", what, &advice))
    }
}
