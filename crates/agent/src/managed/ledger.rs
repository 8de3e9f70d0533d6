//! What a managed agent knows and may do, as a value: documents, lineages, requests. Every
//! change is a new ledger, made durable before it counts. Pure: this module must never touch
//! a file, a clock or the network.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use farshore_control::{
    Body, Document, Holder, HostDocument, Key, Order, Protection, Term, TrustDocument, Verdict, Version,
    ownership::{Denied, Heard, Lineage, Seal},
    request::{Ending, OUTCOMES_MAX, Outcome, Request},
    sync::Documents,
};
use farshore_types::{Epoch, HostId, MachineId, PointRef, RequestId};

use super::{
    kept::{Kept, KeptRequest},
    life::Station,
};

/// Everything that a managed agent decides by.
#[derive(Clone, Debug)]
pub struct Ledger {
    me: HostId,
    holder: Holder,
    lineages: BTreeMap<MachineId, Lineage>,
    requests: BTreeMap<RequestId, Option<Outcome>>,
    past: Vec<RequestId>,
    /// In which term each of those ended, where that is known.
    past_in: BTreeMap<RequestId, u64>,
    places: BTreeMap<MachineId, PathBuf>,
    stations: BTreeMap<MachineId, Station>,
}

/// What an answer from above came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Keys whose document is another one now.
    pub changed: BTreeSet<Key>,
    /// Documents that were not taken, and why, for people.
    pub refused: Vec<(Key, String)>,
    /// Whether anything is to be made durable, be it only a conflict that came to light.
    pub dirty: bool,
    /// Whether a vault spoke that another has superseded, or two speak with one term: its
    /// answers are not followed.
    pub unheard: Option<String>,
}

impl Ledger {
    /// What was kept.
    pub fn restored(me: HostId, kept: Kept) -> Ledger {
        let mut holder = Holder::restored(kept.documents);
        if let Some(term) = kept.term {
            holder.hear(term);
        }
        Ledger {
            me,
            holder,
            lineages: kept.lineages.into_iter().map(|lineage| (lineage.machine, lineage)).collect(),
            requests: kept.requests.into_iter().map(|kept| (kept.id, kept.outcome)).collect(),
            past: kept.past,
            past_in: kept.past_in.into_iter().collect(),
            places: kept.places.into_iter().collect(),
            stations: kept.stations.into_iter().map(|station| (station.machine, station)).collect(),
        }
    }

    /// As it is kept.
    pub fn kept(&self) -> Kept {
        Kept {
            term: self.holder.term(),
            documents: self.holder.documents().cloned().collect(),
            lineages: self.lineages.values().cloned().collect(),
            requests: self
                .requests
                .iter()
                .map(|(id, outcome)| KeptRequest { id: *id, outcome: outcome.clone() })
                .collect(),
            past: self.past.clone(),
            past_in: self.past_in.iter().map(|(id, term)| (*id, *term)).collect(),
            places: self.places.iter().map(|(machine, place)| (*machine, place.clone())).collect(),
            stations: self.stations.values().cloned().collect(),
            ..Kept::default()
        }
    }

    /// Takes an answer from above. What it leaves out stays as it is (rule R5).
    pub fn take(&mut self, answer: &Documents) -> Taken {
        let mut taken = Taken::default();
        match self.holder.hear(answer.term) {
            Order::Newer => taken.dirty = true,
            Order::Same => {}
            order => {
                let held = self.holder.term().map_or(0, |term| term.number);
                let number = answer.term.number;
                taken.unheard = Some(match order {
                    Order::Conflict => format!("two vaults speak with term {held}: promote one of them anew"),
                    _ => format!("a vault of term {number} was superseded by one of term {held}"),
                });
                return taken;
            }
        }
        for document in &answer.documents {
            self.take_one(document, &mut taken);
        }
        taken
    }

    fn take_one(&mut self, document: &Document, taken: &mut Taken) {
        let key = document.key.clone();
        let known = match &document.key {
            Key::Protection(machine) => self.lineages.get(machine).map(|lineage| lineage.epoch),
            Key::Request(id) if self.past.contains(id) => return self.end_past(document, taken),
            _ => None,
        };
        let held = self.holder.get(&key).cloned();
        match self.holder.take(document, known.as_ref()) {
            Verdict::Taken => {
                if let Body::Protection(protection) = &document.body {
                    self.hear(protection.machine, &protection.epoch, protection.source.host);
                }
                if let (Key::Protection(machine), Body::Removed { owner: Some((epoch, owner)), .. }) =
                    (&key, &document.body)
                {
                    self.hear(*machine, epoch, *owner);
                }
                self.keep_united(held, document);
                self.forget_ended(document);
                taken.dirty = true;
                taken.changed.insert(key);
            }
            Verdict::Known => {}
            Verdict::EpochConflict { held } => {
                if let Body::Protection(protection) = &document.body {
                    let heard = self.hear(protection.machine, &protection.epoch, protection.source.host);
                    taken.dirty |= heard == Heard::Conflict;
                    taken.changed.insert(key.clone());
                }
                taken.refused.push((key, format!("two owners hold epoch {}", held.number)));
            }
            Verdict::LowerEpoch { held } => {
                taken.refused.push((key, format!("it is of before epoch {}", held.number)));
            }
            Verdict::Stale { held } => {
                let why = format!("generation {} of term {} is held", held.generation, held.term.number);
                taken.refused.push((key, why));
            }
            Verdict::Conflict { held } => {
                let why = format!("two vaults speak with term {}", held.term.number);
                taken.refused.push((key, why));
            }
            Verdict::Refused { why } => taken.refused.push((key, why.to_owned())),
        }
    }

    /// Revocations are united: a vault that knows of fewer takes none back.
    fn keep_united(&mut self, held: Option<Document>, arrived: &Document) {
        let (Some(Document { body: Body::Trust(held), .. }), Body::Trust(trust)) = (held, &arrived.body)
        else {
            return;
        };
        if held.revoked_number > trust.revoked_number {
            let (revoked_pem, revoked_number) = (held.revoked_pem, held.revoked_number);
            let united = TrustDocument { revoked_pem, revoked_number, ..trust.clone() };
            let rest = self.holder.documents().filter(|document| document.key != arrived.key).cloned();
            let united = Document { body: Body::Trust(united), ..arrived.clone() };
            let term = self.holder.term();
            self.holder = Holder::restored(rest.chain([united]).collect::<Vec<_>>());
            term.map(|term| self.holder.hear(term));
        }
    }

    /// A request that is not wanted any more is not begun; an outcome that nobody has
    /// acknowledged stays all the same.
    fn forget_ended(&mut self, document: &Document) {
        if let (Key::Request(id), Body::Removed { .. }) = (&document.key, &document.body)
            && !self.requests.contains_key(id)
        {
            self.holder.forget_removed(&document.key);
            self.set_past(*id);
        }
    }

    /// A request that is past comes once more, by somebody who has not heard of its end.
    fn end_past(&mut self, document: &Document, taken: &mut Taken) {
        match &document.body {
            Body::Request(request) => self.ask_again(document, request, taken),
            Body::Removed { .. } if self.holder.get(&document.key).is_some() => {
                self.holder.take(document, None);
                self.holder.forget_removed(&document.key);
                taken.dirty = true;
            }
            _ => {}
        }
    }

    /// A vault of another term asks once more what this host has answered: it was restored,
    /// and waits for an answer that nobody has any more. What deletes or stops anything is
    /// not done again for that; the vault looks at what is so, and asks anew.
    fn ask_again(&mut self, document: &Document, request: &Request, taken: &mut Taken) {
        let later = self.past_in.get(&request.id).is_some_and(|term| *term < document.version.term.number);
        if !later || self.holder.take(document, None) != Verdict::Taken {
            return;
        }
        self.past.retain(|id| *id != request.id);
        self.past_in.remove(&request.id);
        if request.action.is_drastic() {
            self.end(request.id, Ending::Expired);
        }
        taken.dirty = true;
        taken.changed.insert(document.key.clone());
    }

    /// Takes notice of an epoch, from wherever.
    pub fn hear(&mut self, machine: MachineId, epoch: &Epoch, owner: HostId) -> Heard {
        match self.lineages.get_mut(&machine) {
            Some(lineage) => lineage.hear(epoch, owner),
            None => {
                self.lineages.insert(machine, Lineage::new(machine, *epoch, owner));
                Heard::Superseded
            }
        }
    }

    /// Which host this is.
    pub fn me(&self) -> HostId {
        self.me
    }

    /// The highest term heard of.
    pub fn term(&self) -> Option<Term> {
        self.holder.term()
    }

    /// The documents held.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// What is held of the lineages.
    pub fn lineages(&self) -> impl Iterator<Item = &Lineage> {
        self.lineages.values()
    }

    /// What is held of one machine's lineage.
    pub fn lineage(&self, machine: MachineId) -> Option<&Lineage> {
        self.lineages.get(&machine)
    }

    /// The protections held.
    pub fn protections(&self) -> impl Iterator<Item = &Protection> {
        self.holder.documents().filter_map(|document| match &document.body {
            Body::Protection(protection) => Some(&**protection),
            _ => None,
        })
    }

    /// The protection of a machine.
    pub fn protection(&self, machine: MachineId) -> Option<&Protection> {
        match &self.holder.get(&Key::Protection(machine))?.body {
            Body::Protection(protection) => Some(protection),
            _ => None,
        }
    }

    /// Whether a document says that a machine's protection is over.
    pub fn is_removed(&self, machine: MachineId) -> bool {
        let document = self.holder.get(&Key::Protection(machine));
        document.is_some_and(|document| matches!(document.body, Body::Removed { .. }))
    }

    /// What is wanted of this host as a whole.
    pub fn host(&self) -> Option<&HostDocument> {
        match &self.holder.get(&Key::Host(self.me))?.body {
            Body::Host(host) => Some(host),
            _ => None,
        }
    }

    /// Whom to trust.
    pub fn trust(&self) -> Option<&TrustDocument> {
        self.holder.documents().find_map(|document| match &document.body {
            Body::Trust(trust) => Some(trust),
            _ => None,
        })
    }

    /// Requests to this host that have not ended here, and whether they were begun.
    pub fn open_requests(&self) -> Vec<(Request, bool)> {
        let mine = |document: &&Document| document.hosts.contains(&self.me);
        let of = |document: &Document| match &document.body {
            Body::Request(request) if !self.past.contains(&request.id) => {
                match self.requests.get(&request.id) {
                    None => Some((request.clone(), false)),
                    Some(None) => Some((request.clone(), true)),
                    Some(Some(_)) => None,
                }
            }
            _ => None,
        };
        self.holder.documents().filter(mine).filter_map(of).collect()
    }

    /// A request is begun: after a crash it is known that it may have been done in part.
    pub fn begin(&mut self, id: RequestId) {
        self.requests.entry(id).or_default();
    }

    /// A request ended.
    pub fn end(&mut self, id: RequestId, result: Ending) {
        let outcome = Outcome { id, host: self.me, result };
        self.requests.insert(id, Some(outcome));
        // An upstream that never acknowledges must not fill the disk.
        while self.requests.len() > OUTCOMES_MAX {
            let Some(ended) = self.requests.iter().find(|(_, outcome)| outcome.is_some()) else { break };
            let id = *ended.0;
            self.requests.remove(&id);
            self.set_past(id);
        }
    }

    /// Outcomes that were not acknowledged.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.requests.values().flatten()
    }

    /// Somebody above has made these outcomes durable. Whether anything changed.
    pub fn acknowledge(&mut self, ids: &[RequestId]) -> bool {
        let mut changed = false;
        for id in ids {
            if matches!(self.requests.get(id), Some(Some(_))) {
                self.requests.remove(id);
                self.set_past(*id);
                self.holder.forget_removed(&Key::Request(*id));
                changed = true;
            }
        }
        changed
    }

    fn set_past(&mut self, id: RequestId) {
        self.past.push(id);
        self.past_in.insert(id, self.holder.term().map_or(0, |term| term.number));
        if self.past.len() > OUTCOMES_MAX {
            // One whose document is still held would be done again.
            let gone = |id: &RequestId| self.holder.get(&Key::Request(*id)).is_none();
            if let Some(at) = self.past.iter().position(gone) {
                let id = self.past.remove(at);
                self.past_in.remove(&id);
            }
        }
    }

    /// The version of the document that is held of a machine's protection.
    pub fn version_of(&self, machine: MachineId) -> Option<Version> {
        self.holder.get(&Key::Protection(machine)).map(|document| document.version)
    }

    /// How this host stands with a machine.
    pub fn station(&self, machine: MachineId) -> Station {
        self.stations.get(&machine).cloned().unwrap_or_else(|| Station::of(machine))
    }

    /// The same, to be changed.
    pub fn station_mut(&mut self, machine: MachineId) -> &mut Station {
        self.stations.entry(machine).or_insert_with(|| Station::of(machine))
    }

    /// All of those.
    pub fn stations(&self) -> impl Iterator<Item = &Station> {
        self.stations.values()
    }

    /// Hands a machine over (rule R3).
    ///
    /// # Errors
    /// As [`Lineage::seal`].
    pub fn seal(
        &mut self,
        machine: MachineId,
        me: HostId,
        last: PointRef,
        next: Epoch,
    ) -> Result<Seal, Denied> {
        self.known(machine)?.seal(me, last, next)
    }

    /// Becomes a machine's owner by a seal (rule R3).
    ///
    /// # Errors
    /// As [`Lineage::accept`].
    pub fn accept(&mut self, me: HostId, seal: &Seal) -> Result<(), Denied> {
        self.known(seal.machine)?.accept(me, seal)
    }

    /// Refuses the seal of an epoch for good.
    ///
    /// # Errors
    /// As [`Lineage::refuse`].
    pub fn refuse(&mut self, machine: MachineId, next: &Epoch) -> Result<(), Denied> {
        self.known(machine)?.refuse(next)
    }

    /// Takes a seal of this host's back, which was refused.
    ///
    /// # Errors
    /// As [`Lineage::unseal`].
    pub fn unseal(&mut self, machine: MachineId, refused: &Epoch) -> Result<(), Denied> {
        self.known(machine)?.unseal(refused)
    }

    fn known(&mut self, machine: MachineId) -> Result<&mut Lineage, Denied> {
        self.lineages.get_mut(&machine).ok_or(Denied::NotOwner { epoch: 0 })
    }

    /// Where replicas are that are not in the default place.
    pub fn places(&self) -> &BTreeMap<MachineId, PathBuf> {
        &self.places
    }

    /// A replica's place is chosen, for as long as it is there.
    pub fn set_place(&mut self, machine: MachineId, place: Option<PathBuf>) {
        match place {
            Some(place) => self.places.insert(machine, place),
            None => self.places.remove(&machine),
        };
    }
}

#[cfg(test)]
mod tests;
