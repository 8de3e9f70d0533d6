//! What leaving a host comes to: a replica that moves away, or back; one that goes; a host that
//! is gone. Nothing is deleted while it is the only whole copy, or wanted by a protection.

use farshore_control::{
    Key,
    request::{Action, Request},
};
use farshore_job::EffectId;
use farshore_types::{Epoch, HostId, MachineId, RequestId};
use serde_json::json;

use super::{
    act::{Back, End, Of},
    look::{Look, SILENT_MS, protected_again, superseded},
};
use crate::{
    Core, Moment,
    core::DELETE_EXPIRES_MS,
    rows::{ProtectionRow, RequestRow},
};

/// Most times that a host is asked to delete one replica: each time expires.
const ASKED_MAX: u32 = 1000;

impl Core {
    /// The new replica is the one that counts from now on.
    pub(super) fn switch(&mut self, of: &Of, to: HostId) {
        if self.moved(of, to).is_some() {
            self.tables.protections.change(&of.machine, |row| row.leaving = None);
        }
    }

    /// The live protection, while its target is that host.
    fn moved(&self, of: &Of, to: HostId) -> Option<&ProtectionRow> {
        self.row_of(of).filter(|row| row.is_live() && row.target() == to)
    }

    pub(super) fn is_switched(&self, of: &Of, to: HostId) -> Look {
        match self.moved(of, to) {
            Some(row) if row.leaving.is_none() => Look::reached(),
            Some(_) => Look::wait("the new replica is whole"),
            None => superseded(),
        }
    }

    /// The old replica goes, once another one counts.
    pub(super) fn let_go(&mut self, id: EffectId, of: &Of, (host, epoch): (HostId, Epoch), at: &Moment) {
        let other =
            self.row_of(of).is_some_and(|row| row.is_live() && row.leaving.is_none() && row.target() != host);
        // A host that has not been heard of may keep what nobody else has.
        let heard = self.tables.observed.get(&host).is_some();
        if other && heard && self.own_writes(host, of.machine).is_empty() {
            self.ask_to_discard(id, host, of.machine, epoch, at);
        }
    }

    pub(super) fn is_let_go(&self, id: EffectId, of: &Of, host: HostId, delete: bool, at: &Moment) -> Look {
        let name = self.host_name(host);
        if !delete {
            let note = format!("host '{name}' keeps it; `farshore replica discard` deletes it");
            return Look::done(json!({ "note": note }));
        }
        if self.row_of(of).is_none_or(|row| !row.is_live() || row.target() == host) {
            return Look::failed(
                format!("things have changed meanwhile: host '{name}' keeps the old replica"),
                "look at the protection; `farshore replica discard` deletes a replica that nothing wants",
            );
        }
        match self.is_discarded(id, host, at) {
            Look::Wait { .. } if !self.own_writes(host, of.machine).is_empty() => Look::failed(
                format!("host '{name}' keeps the old replica: it has what was written on that host alone"),
                "take what is needed of it there (`farshore-agent export`); `farshore replica discard` deletes it",
            ),
            look => look,
        }
    }

    /// The old host is the target again, unless the copy was whole already.
    pub(super) fn move_back(&mut self, id: EffectId, back: &Back, at: &Moment) {
        let row = self.moved(&back.of, back.to);
        if row.is_some_and(|row| row.leaving.is_some()) {
            self.tables.protections.change(&back.of.machine, |row| {
                (row.place, row.place_on, row.leaving) = (back.place.clone(), Some(back.from), None);
                row.life = row.life.put_back(back.from);
                // Cycles begin again with a comparison, which no window holds up.
                row.resync += 1;
            });
        }
        let Some(row) = self.row_of(&back.of) else { return };
        // Half a copy is of no use to anybody; another order may have made it one that is.
        if back.fresh && row.is_live() && row.target() == back.from {
            self.ask_to_discard(id, back.to, back.of.machine, back.of.epoch, at);
        }
    }

    pub(super) fn is_moved_back(&self, id: EffectId, back: &Back, for_ms: u64, at: &Moment) -> Look {
        let Some(row) = self.row_of(&back.of).filter(|row| row.is_live()) else {
            return Look::done(json!({ "note": "another order was given meanwhile, and stands" }));
        };
        if row.target() == back.to {
            return Look::done(json!({ "note": "the new replica was whole already: it stays" }));
        }
        if !back.fresh || self.is_removed(back.to) {
            return Look::reached();
        }
        match self.is_discarded(id, back.to, at) {
            Look::Wait { .. } if for_ms >= SILENT_MS && self.silence(back.to, at).is_some() => {
                let name = self.host_name(back.to);
                let note = format!(
                    "host '{name}' is silent: it keeps half a copy; `farshore replica discard` deletes it"
                );
                Look::done(json!({ "note": note }))
            }
            look => look,
        }
    }

    pub(super) fn is_informed(&self, of: &Of, end: End, at: &Moment) -> Look {
        let Some(row) = self.row_of(of).filter(|row| !row.is_live()) else { return protected_again() };
        match (self.is_stopped(of, end, at), self.silence(row.end(end), at)) {
            (Look::Wait { .. }, Some(silent)) => {
                Look::done(json!({ "note": format!("{silent}; it learns of it when it is back") }))
            }
            (look, _) => look,
        }
    }

    /// Asks a host to delete a replica that nothing wants; again where that came too late.
    pub(super) fn ask_to_discard(
        &mut self,
        effect: EffectId,
        host: HostId,
        machine: MachineId,
        epoch: Epoch,
        at: &Moment,
    ) {
        let key = Key::Protection(machine);
        let concerns = |row: &crate::rows::DocumentRow| row.document.hosts.contains(&host);
        let told = !self.tables.documents.get(&key).is_some_and(concerns) || self.holds(&key, host);
        let Some(id) = self.next_to_ask(effect).filter(|_| told && !self.is_removed(host)) else { return };
        if self.tables.requests.get(&id).is_some() {
            return;
        }
        let expires_ms = Some(at.wall_ms.saturating_add(DELETE_EXPIRES_MS));
        let request = Request { id, expires_ms, action: Action::DeleteReplica { machine, epoch } };
        let row = RequestRow {
            id,
            host,
            machine: Some(machine),
            request,
            ending: None,
            withdrawn: false,
            effect: Some(effect),
        };
        self.tables.requests.put(row);
    }

    /// The first of an effect's questions that has not expired.
    fn next_to_ask(&self, effect: EffectId) -> Option<RequestId> {
        use farshore_job::Outcome;
        (0..ASKED_MAX)
            .map(|part| effect.request_part(part))
            .find(|id| !matches!(self.ending_of(*id), Some(Err(Outcome::Expired))))
    }

    pub(super) fn is_discarded(&self, effect: EffectId, host: HostId, at: &Moment) -> Look {
        if self.is_removed(host) {
            let what = format!("host '{}' was removed: the replica is still on it", self.host_name(host));
            return Look::failed(what, "delete it there by hand");
        }
        match self.next_to_ask(effect).map(|id| self.ending_of(id)) {
            Some(Some(Ok(_))) => Look::reached(),
            Some(Some(Err(farshore_job::Outcome::Failed { what, advice, .. }))) => {
                Look::failed(format!("the replica could not be deleted: {what}"), &advice)
            }
            _ => Look::wait(self.why_waiting(host, "deletes the replica", at)),
        }
    }

    /// A replica that nothing wants goes, while that is still so.
    pub(super) fn discard(
        &mut self,
        id: EffectId,
        host: HostId,
        (machine, epoch): (MachineId, Epoch),
        at: &Moment,
    ) {
        if !self.wants_replica(host, machine) {
            self.ask_to_discard(id, host, machine, epoch, at);
        }
    }

    pub(super) fn is_discard_done(
        &self,
        id: EffectId,
        host: HostId,
        machine: MachineId,
        at: &Moment,
    ) -> Look {
        match self.is_discarded(id, host, at) {
            Look::Wait { .. } if self.wants_replica(host, machine) => {
                Look::failed("a protection wants the replica now: it is kept", "end that protection first")
            }
            look => look,
        }
    }

    fn wants_replica(&self, host: HostId, machine: MachineId) -> bool {
        let row = self.tables.protections.get(&machine).filter(|row| row.is_live());
        row.is_some_and(|row| {
            row.target() == host || self.leaving(row).is_some_and(|leaving| leaving.host == host)
        })
    }
}
