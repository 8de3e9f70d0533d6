//! Requests (rule R7): what is asked of a host once, its outcome, and what follows of it.

use farshore_control::{
    Key,
    request::{Action, Ending, Outcome, Request},
};
use farshore_types::{HostId, MachineId, RequestId};

use super::Core;
use crate::{
    Moment,
    rows::{ReplicaFate, RequestRow},
};

/// Milliseconds after which a host that was asked to delete a replica does not begin any more.
pub(crate) const DELETE_EXPIRES_MS: u64 = 3_600_000;

impl RequestRow {
    /// Whether an outcome is waited for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let running = self.ending.as_ref().is_none_or(|ending| matches!(ending, Ending::Running { .. }));
        running && !self.withdrawn
    }
}

impl Core {
    /// Takes an outcome; whether it is final, so that the host can forget it.
    pub(super) fn take_outcome(&mut self, outcome: &Outcome) -> bool {
        let done = !matches!(outcome.result, Ending::Running { .. });
        self.tables.requests.change(&outcome.id, |row| {
            if row.is_open() && row.host == outcome.host && done {
                row.ending = Some(outcome.result.clone());
            }
        });
        done
    }

    /// Lets follow what follows from ended protections whose replica is to go: it is asked
    /// for once the target knows that the protection has ended, and again where that failed.
    pub(super) fn see_to_deletions(&mut self, at: &Moment) {
        if !self.may_issue(at) {
            return;
        }
        let ended: Vec<_> = self
            .tables
            .protections
            .rows()
            .filter_map(|row| Some((row.machine, row.target(), row.ended.as_ref()?.replica)))
            .collect();
        for (machine, target, fate) in ended {
            match fate {
                ReplicaFate::ToDelete if self.knows_the_end(machine, target) => {
                    self.ask_to_delete(machine, target, at);
                }
                ReplicaFate::Asked { request } => self.see_how_it_went(machine, target, request, at),
                _ => {}
            }
        }
    }

    /// Whether a host said that it holds the document by which a protection ended.
    fn knows_the_end(&self, machine: MachineId, host: HostId) -> bool {
        self.holds(&Key::Protection(machine), host)
    }

    /// Whether a host said that it holds a document as it was written last.
    pub(crate) fn holds(&self, key: &Key, host: HostId) -> bool {
        let said = self.tables.observed.get(&host).and_then(|row| row.report.holds.get(key));
        let written = self.tables.documents.get(key).map(|row| row.document.version);
        said.is_some() && said.copied() == written
    }

    fn ask_to_delete(&mut self, machine: MachineId, target: HostId, at: &Moment) {
        let Some(epoch) = self.tables.epochs.get(&machine).map(|row| row.epoch) else { return };
        let id = RequestId(at.id(&format!("delete replica {machine}")));
        let expires_ms = Some(at.wall_ms.saturating_add(DELETE_EXPIRES_MS));
        let request = Request { id, expires_ms, action: Action::DeleteReplica { machine, epoch } };
        let (machine_of, ending, withdrawn) = (Some(machine), None, false);
        self.tables.requests.put(RequestRow {
            id,
            host: target,
            machine: machine_of,
            request,
            ending,
            withdrawn,
            effect: None,
        });
        self.set_fate(machine, ReplicaFate::Asked { request: id });
    }

    fn see_how_it_went(&mut self, machine: MachineId, target: HostId, request: RequestId, at: &Moment) {
        match self.tables.requests.get(&request).and_then(|row| row.ending.clone()) {
            Some(Ending::Done { .. }) => self.set_fate(machine, ReplicaFate::Deleted),
            Some(Ending::Expired) => self.ask_to_delete(machine, target, at),
            Some(Ending::Failed { what, advice }) => {
                let note = format!("the replica could not be deleted: {what}; {advice}");
                self.tables.protections.change(&machine, |row| row.note = Some(note));
                self.set_fate(machine, ReplicaFate::Kept);
            }
            Some(Ending::Running { .. }) | None => {}
        }
    }

    fn set_fate(&mut self, machine: MachineId, fate: ReplicaFate) {
        self.tables.protections.change(&machine, |row| {
            if let Some(ended) = &mut row.ended {
                ended.replica = fate;
            }
        });
    }

    /// Nothing that was asked about a machine's replica is wanted any more.
    pub(crate) fn withdraw_requests(&mut self, machine: MachineId) {
        let open = self.tables.requests.rows().filter(|row| row.machine == Some(machine) && row.is_open());
        for id in open.map(|row| row.id).collect::<Vec<_>>() {
            self.tables.requests.change(&id, |row| row.withdrawn = true);
        }
    }

    /// Drops requests whose outcome is known and that their host does not hold any more: their
    /// ids are never used again. A withdrawn one stays: it may still be on its way.
    pub(super) fn drop_old_requests(&mut self, host: HostId) {
        let Some(observed) = self.tables.observed.get(&host) else { return };
        let holds = |id: &RequestId| observed.report.holds.contains_key(&Key::Request(*id));
        let over =
            self.tables.requests.rows().filter(|row| row.host == host && !row.is_open() && !row.withdrawn);
        let asked = |id: &RequestId| {
            let fate = |row: &crate::rows::ProtectionRow| row.ended.as_ref().map(|ended| ended.replica);
            self.tables.protections.rows().any(|row| fate(row) == Some(ReplicaFate::Asked { request: *id }))
        };
        let over = over.filter(|row| !row.effect.is_some_and(|effect| self.is_awaited(effect)));
        let gone = over.map(|row| row.id).filter(|id| !holds(id) && !asked(id));
        for id in gone.collect::<Vec<_>>() {
            self.tables.requests.remove(&id);
            self.tables.documents.remove(&Key::Request(id));
        }
    }
}
