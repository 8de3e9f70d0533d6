//! Disabling a protection: the one way in which one ends. Its documents say so, and a replica
//! is deleted only where that is asked for, and only after the end of it is known there.

use farshore_policy::OnDisable;
use farshore_types::MachineId;

use crate::{
    Answer, Core, Moment, Problem,
    rows::{Ended, ProtectionRow, ReplicaFate},
};

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
        let follows = row.policy.and_then(|id| self.tables.policies.get(&id));
        // What was only learned of has no policy that could say that anything is deleted.
        let said = replica.unwrap_or_else(|| follows.map_or(OnDisable::Keep, |row| row.policy.on_disable));
        if let Some(ended) = &row.ended {
            return self.change_end(machine, ended.replica, replica, force);
        }
        if said == OnDisable::Delete && !force {
            self.has_another_copy(row)?;
        }
        let fate = if said == OnDisable::Delete { ReplicaFate::ToDelete } else { ReplicaFate::Kept };
        let why = "protection was disabled".to_owned();
        let ended = Ended { why, at_ms: at.wall_ms, replica: fate };
        Ok(Answer::changed(self.tables.protections.change(&machine, |row| row.ended = Some(ended))))
    }

    /// A protection that has ended already: its replica can still be asked to go.
    fn change_end(
        &mut self,
        machine: MachineId,
        fate: ReplicaFate,
        said: Option<OnDisable>,
        force: bool,
    ) -> Result<Answer, Problem> {
        if said != Some(OnDisable::Delete) || fate != ReplicaFate::Kept {
            return Ok(Answer::changed(false));
        }
        if let (false, Some(row)) = (force, self.tables.protections.get(&machine)) {
            self.has_another_copy(row)?;
        }
        Ok(Answer::changed(self.tables.protections.change(&machine, |row| {
            if let Some(ended) = &mut row.ended {
                ended.replica = ReplicaFate::ToDelete;
            }
        })))
    }

    /// That a replica is not the only good copy, as far as its source's host says.
    fn has_another_copy(&self, row: &ProtectionRow) -> Result<(), Problem> {
        let seen = self.tables.machines.get(&(row.source, row.machine)).is_some();
        let spoken = self.may_speak_to(row.source) && self.tables.observed.get(&row.source).is_some();
        if seen && spoken {
            return Ok(());
        }
        let host = self.host_name(row.source);
        let what =
            format!("host '{host}' does not show machine '{}': its replica may be the only copy", row.name);
        Err(Problem::refused("only-copy", what, "keep the replica, or force it where you know better"))
    }
}
