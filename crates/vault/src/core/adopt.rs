//! What hosts know better (rules R2, R4, R6): documents that are newer than the vault's own,
//! and epochs that are higher.

use farshore_control::{
    Body, Document, Endpoint, Key, Protection, Version, decided, ownership::Lineage, report::HostReport,
};
use farshore_protection::{Event, Report};
use farshore_types::{EpochOrder, HostId, MachineId};

use super::Core;
use crate::{
    Moment,
    rows::{DocumentRow, Ended, EpochRow, ProtectionRow, ReplicaFate, RequestRow, TrustRow},
};

impl Core {
    /// Learns from a host that has not spoken to this term: whether it has told all that the
    /// vault needs. Else its documents are wanted, and it is not spoken to yet.
    pub(super) fn learn_from(&mut self, report: &HostReport, at: &Moment) -> bool {
        let told = |key: &Key, version: &Version| {
            report.documents.iter().any(|document| document.key == *key && document.version == *version)
        };
        let missing =
            |(key, version): (&Key, &Version)| self.may_learn_of(key, version) && !told(key, version);
        if report.holds.iter().any(missing) {
            return false;
        }
        for document in &report.documents {
            self.learn_addresses(document);
            if document.is_consistent() && self.may_learn_of(&document.key, &document.version) {
                self.unite_with(document, report, at);
            }
        }
        self.host_was_heard(report.host);
        true
    }

    /// Whether a host may hold something that the vault does not know.
    fn may_learn_of(&self, key: &Key, held: &Version) -> bool {
        let Some(own) = self.tables.documents.get(key).map(|row| row.document.version) else { return true };
        #[cfg(feature = "deliberate-bugs")]
        if self.has_bug(super::Bug::DropsLate) {
            use farshore_control::Order::{Conflict, Newer};
            return matches!(own.order_of(held), Newer | Conflict);
        }
        decided::may_tell(Some(&own), held)
    }

    /// Of each part of a document what was decided last counts, the vault's own word or the
    /// host's; the document is written anew where that is not the vault's own already.
    fn unite_with(&mut self, theirs: &Document, report: &HostReport, at: &Moment) {
        let own = self.tables.documents.get(&theirs.key).map(|row| row.document.clone());
        let united = own.as_ref().map_or_else(|| theirs.clone(), |own| own.united(theirs));
        let (known, news) = own.map_or((false, true), |own| {
            let known = own.body == united.body;
            (known, !known || own.hosts != united.hosts || !own.is_decided_as(&united))
        });
        if !news {
            return;
        }
        if let Key::Protection(machine) = theirs.key {
            self.let_the_replica_stay(machine);
        }
        // Sequence 0: it is not given to anybody before it was written anew in this term.
        self.tables.documents.put(DocumentRow { document: united.clone(), sequence: 0 });
        if !known {
            self.adopt(&united, report, at);
        }
    }

    fn adopt(&mut self, document: &Document, report: &HostReport, at: &Moment) {
        match (&document.key, &document.body) {
            (Key::Protection(machine), Body::Protection(body)) => {
                let tells = report.standings.iter().any(|standing| standing.machine == *machine);
                self.adopt_protection(*machine, body, tells, at);
            }
            (Key::Protection(machine), Body::Removed { why, .. }) => self.adopt_end(*machine, why, at),
            (Key::Host(host), Body::Host(body)) => {
                self.tables.hosts.change(host, |row| {
                    row.name.clone_from(&body.name);
                    (row.maintenance, row.machines_go_on) = (body.maintenance, body.machines_go_on);
                    if !body.address.is_empty() {
                        row.address.clone_from(&body.address);
                        row.principal.clone_from(&body.principal);
                    }
                });
            }
            (Key::Trust(_), Body::Trust(body)) => self.adopt_trust(body),
            (Key::Request(id), Body::Request(request)) => {
                let (host, request) = (report.host, request.clone());
                let row = RequestRow {
                    id: *id,
                    host,
                    machine: None,
                    request,
                    ending: None,
                    withdrawn: false,
                    effect: None,
                };
                self.tables.requests.put(row);
            }
            (Key::Request(id), Body::Removed { .. }) => {
                self.tables.requests.change(id, |row| row.withdrawn = true);
            }
            _ => {}
        }
    }

    /// Somebody decided about a protection after what the vault knows: a deletion that was
    /// ordered before that may not be wanted any more, and takes nothing (rule R6).
    fn let_the_replica_stay(&mut self, machine: MachineId) {
        #[cfg(feature = "deliberate-bugs")]
        if self.has_bug(super::Bug::DeletesByBackup) {
            return;
        }
        let goes = |ended: &Ended| matches!(ended.replica, ReplicaFate::ToDelete | ReplicaFate::Asked { .. });
        if !self.tables.protections.get(&machine).is_some_and(|row| row.ended.as_ref().is_some_and(goes)) {
            return;
        }
        self.withdraw_requests(machine);
        self.tables.protections.change(&machine, |row| {
            row.ended.iter_mut().for_each(|ended| ended.replica = ReplicaFate::Kept);
            let note = "the vault was restored from before its end was decided anew: the replica is kept";
            row.note = Some(note.to_owned());
        });
    }

    /// Hosts that were only learned of are reached as documents of before say.
    fn learn_addresses(&mut self, document: &Document) {
        let ends = |end: &Endpoint| (end.host, end.address.clone(), None);
        let found: Vec<_> = match &document.body {
            Body::Protection(body) => [&body.source, &body.target].map(ends).into(),
            Body::Host(body) => body
                .peers
                .iter()
                .map(|peer| (peer.host, peer.address.clone(), peer.principal.clone()))
                .collect(),
            _ => Vec::new(),
        };
        for (host, address, principal) in found {
            self.tables.hosts.change(&host, |row| {
                if row.address.is_empty() {
                    row.address = address;
                    row.principal = row.principal.take().or(principal);
                }
            });
        }
    }

    fn adopt_protection(&mut self, machine: MachineId, body: &Protection, tells: bool, at: &Moment) {
        let known = self.tables.protections.get(&machine);
        let policy = known.and_then(|row| row.policy);
        let follows = policy.and_then(|id| self.tables.policies.get(&id));
        let same = follows.is_some_and(|row| farshore_control::Settings::from(&row.policy) == body.settings);
        let note = "the vault learned of it from its hosts after a restore".to_owned();
        let life = decided::learned_life(body, known.map(|row| &row.life));
        let row = ProtectionRow {
            machine,
            name: body.name.clone(),
            policy,
            settings: (!same).then(|| body.settings.clone()),
            life,
            initial: body.initial,
            resync: body.resync.max(known.map_or(0, |row| row.resync)),
            excluded: body.excluded.clone(),
            place: body.place.clone(),
            place_on: Some(body.target.host),
            enabled_ms: known.map_or(0, |row| row.enabled_ms),
            note: Some(note),
            ended: None,
            // Documents do not tell of a move that is under way: what was kept does.
            leaving: known.and_then(|row| row.leaving.clone()).filter(|leaving| leaving.by == body.epoch),
            addresses: body.addresses.clone(),
            drills: known.map(|row| row.drills.clone()).unwrap_or_default(),
            twin: known.and_then(|row| row.twin),
        };
        self.tables.protections.put(row);
        self.adopt_lineage(&Lineage::new(machine, body.epoch, body.source.host), None, at);
        // What was written before the owner changed does not change it back (rule R2).
        let life = self.tables.protections.get(&machine).map_or(body.epoch, |row| row.life.epoch);
        let known = self.tables.epochs.get(&machine).copied();
        let known = known.filter(|row| row.epoch.number > life.number);
        if let Some(known) = known {
            let (epoch, owner) = (known.epoch, known.owner);
            match &body.life {
                // Whether that is an owner that took over cleanly, its hosts tell, if they can.
                Some(life) if tells => {
                    let event = Event::Owned { epoch, owner, alone: false, twice: false };
                    self.happens(machine, &Report { epoch: life.epoch, event }, at);
                }
                _ => self.turn_to(machine, &Lineage::new(machine, epoch, owner)),
            }
        }
    }

    fn adopt_end(&mut self, machine: MachineId, why: &str, at: &Moment) {
        let ended = Ended { why: why.to_owned(), at_ms: at.wall_ms, replica: ReplicaFate::Kept };
        self.tables.protections.change(&machine, |row| {
            row.has_ended(ended);
        });
    }

    /// Revocations are never taken back: the list of the higher number counts.
    fn adopt_trust(&mut self, body: &farshore_control::TrustDocument) {
        let known = self.tables.trust.get(&());
        if known.is_none_or(|row| row.revoked_number < body.revoked_number) {
            self.tables.trust.put(TrustRow {
                authority_pem: body.authority_pem.clone(),
                revoked_pem: body.revoked_pem.clone(),
                revoked_number: body.revoked_number,
            });
        }
    }

    /// Takes notice of an epoch that a host holds durably (rules R2 and R4), always.
    /// `teller` is who says so, and whether it also tells how it stands with the machine: then
    /// the life hears of it by that.
    pub(super) fn adopt_lineage(&mut self, lineage: &Lineage, teller: Option<(HostId, bool)>, at: &Moment) {
        #[cfg(feature = "deliberate-bugs")]
        if self.has_bug(super::Bug::ForgetsEpochs) {
            return;
        }
        let (machine, epoch, owner) = (lineage.machine, lineage.epoch, lineage.owner);
        let row = EpochRow { machine, epoch, owner, conflict: None };
        let Some(known) = self.tables.epochs.get(&machine) else {
            self.tables.epochs.put(row);
            return;
        };
        match known.epoch.order_of(&epoch) {
            EpochOrder::Newer => {
                self.tables.epochs.put(row);
                match teller {
                    Some((host, _)) if self.is_stranger(host, machine) => self.contests(lineage, host, at),
                    Some((_, true)) => {}
                    _ => self.turn_to(machine, lineage),
                }
            }
            EpochOrder::Conflict => {
                self.tables.epochs.change(&machine, |row| row.conflict = Some(epoch));
                if let Some((host, tells)) = teller
                    && (!tells || self.is_stranger(host, machine))
                {
                    self.contests(lineage, host, at);
                }
            }
            EpochOrder::Same | EpochOrder::Older => {}
        }
        let other = lineage.conflict.filter(|other| other.number >= epoch.number);
        if let (Some(other), EpochOrder::Same) = (other, known_order(self, machine, lineage)) {
            self.tables.epochs.change(&machine, |row| row.conflict = Some(other));
            if let Some((host, false)) = teller {
                self.contests(lineage, host, at);
            }
        }
    }
}

impl Core {
    /// Whether a host is none of the two of a machine's protection: what it owns by itself, as one
    /// that kept the replica once and on which somebody brought it up, a person has to settle.
    fn is_stranger(&self, host: HostId, machine: MachineId) -> bool {
        let row = self.tables.protections.get(&machine).filter(|row| row.is_live());
        row.is_some_and(|row| !row.hosts().contains(&host)) && self.may_speak_to(host)
    }
}

fn known_order(core: &Core, machine: MachineId, lineage: &Lineage) -> EpochOrder {
    let known = core.tables.epochs.get(&machine);
    known.map_or(EpochOrder::Older, |row| row.epoch.order_of(&lineage.epoch))
}
