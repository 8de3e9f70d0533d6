//! Maintenance of a host: nothing new comes to it, its replicas pause or move to other hosts,
//! its machines pause or are replicated until they have moved away.

use farshore_types::HostId;
use serde::{Deserialize, Serialize};

use crate::{
    Answer, Core, Finding, Moment, Problem, Severity,
    rows::{About, ProtectionRow},
};

/// What becomes of a host's roles in its maintenance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Of the replicas on it.
    #[serde(default)]
    pub replicas: ReplicasThen,
    /// Of the machines on it.
    #[serde(default)]
    pub machines: MachinesThen,
    /// Whether a replica that moved away is deleted here once its copy is whole.
    #[serde(default)]
    pub delete_old: bool,
}

/// What becomes of replicas on a host in maintenance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ReplicasThen {
    /// Their protections pause until it ends.
    #[default]
    Pause,
    /// They are moved to other hosts of the cloud.
    Move,
}

/// What becomes of the replication of machines on a host in maintenance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MachinesThen {
    /// It pauses while they are on it.
    #[default]
    Pause,
    /// It goes on, and follows them to the host that they are migrated to.
    Follow,
}

impl Core {
    pub(super) fn set_maintenance(
        &mut self,
        host: HostId,
        on: bool,
        how: Maintenance,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        self.host_row(host)?;
        let go_on = on && how.machines == MachinesThen::Follow;
        let changed = self.tables.hosts.change(&host, |row| {
            (row.maintenance, row.machines_go_on) = (on, go_on);
        });
        if !on || how.replicas == ReplicasThen::Pause {
            return Ok(Answer::changed(changed));
        }
        let (moves, stay) = self.to_be_moved(host);
        let mut answer = self.move_all(&moves, how.delete_old, at)?;
        answer.warnings.extend(stay);
        answer.changed |= changed;
        // Asked again, it is told by what jobs they are on their way.
        let on_the_way = self
            .tables
            .protections
            .rows()
            .filter(|row| self.leaving(row).is_some_and(|leaving| leaving.host == host));
        let jobs =
            on_the_way.filter_map(|row| self.open_job(crate::jobs::Kind::Move, About::Machine(row.machine)));
        answer.jobs = jobs.collect();
        Ok(answer)
    }

    /// Machines whose replica has to leave a host, and what has to stay there.
    fn to_be_moved(&self, host: HostId) -> (Vec<(farshore_types::MachineId, Option<HostId>)>, Vec<Finding>) {
        let (mut moves, mut stay) = (Vec::new(), Vec::new());
        let here = |row: &&ProtectionRow| row.is_live() && row.target() == host;
        for row in self.tables.protections.rows().filter(here) {
            match self.can_be_moved(row) {
                Ok(()) => moves.push((row.machine, None)),
                Err(problem) => stay.push(Finding {
                    severity: Severity::Warning,
                    code: problem.code,
                    machine: Some(row.machine),
                    what: format!("the replica of machine '{}' stays: {}", row.name, problem.what),
                    advice: problem.advice,
                }),
            }
        }
        (moves, stay)
    }
}
