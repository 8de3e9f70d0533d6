//! An agent as the vault sees one: what it keeps durably, what it says, what it carries out.
//! Killed, it keeps documents, lineages, requests that it took and outcomes; nothing else.

use std::collections::{BTreeMap, BTreeSet};

use farshore_control::{
    Body, Document, Holder, HostReport, Inventory, Key, Protection, Verdict,
    ownership::Lineage,
    report::{
        HostFacts, MachineFacts, PointAge, ReplicaPhase, ReplicaState, SourcePhase, SourceState, Space,
        StorageClass,
    },
    request::{Action, Answer, Ending, Outcome, Request},
};
use farshore_protection::Copying;
use farshore_types::{Epoch, HostId, MachineId, PointId, RequestId, SiteId};
use uuid::Uuid;

use super::{hand::Hand, world::GIB};

/// Parts in which a first copy or a comparison is made, one from each report to the next.
pub(super) const PARTS: u64 = 5;

/// What an agent keeps and says.
#[derive(Clone)]
pub(super) struct Agent {
    pub(super) host: HostId,
    pub(super) site: SiteId,
    pub(super) holder: Holder,
    pub(super) lineages: BTreeMap<MachineId, Lineage>,
    pub(super) machines: Vec<MachineFacts>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) free: u64,
    /// Whether it carries requests out; else a test does.
    pub(super) obeys: bool,
    /// Whether it replicates what it is told to; else it says nothing of it.
    pub(super) replicates: bool,
    /// What stands against starting any machine here.
    pub(super) cannot_start: Vec<(String, String)>,
    /// Hosts that it does not reach.
    pub(super) unreachable: BTreeSet<HostId>,
    /// Replicas that it has deleted, with what it held of their protection then.
    pub(super) deleted: Vec<(MachineId, Option<Body>)>,
    /// Replicas that it has, with the epoch of what was written last.
    pub(super) replicas: BTreeMap<MachineId, Epoch>,
    /// Points that each replica has; none: nothing is said of them.
    pub(super) points: u64,
    /// Points of each replica that keep what was written here alone.
    pub(super) own_writes: Vec<PointId>,
    /// Requests that it took, and that have no outcome yet.
    pub(super) open: Vec<Request>,
    /// How often each request's work was done.
    pub(super) worked: BTreeMap<RequestId, u32>,
    /// Killed at its next outcome: the work was done, and nobody has kept that.
    pub(super) dies_before_record: bool,
    /// Whether it does what lives want, and tells how it stands; one of before does not.
    pub(super) lives: bool,
    /// What it has of each machine.
    pub(super) hands: BTreeMap<MachineId, Hand>,
    /// What it replicates has to be copied anew.
    pub(super) copies_anew: bool,
    /// Why its cycles fail.
    pub(super) retries: Option<&'static str>,
    /// It sends nothing, as one of before whose host is in maintenance.
    pub(super) rests: bool,
    /// How far each copy is, in parts; lost in a kill.
    copies: BTreeMap<MachineId, u64>,
    /// The last comparison done of each machine; durable.
    resynced: BTreeMap<MachineId, u64>,
    run: u128,
    sequence: u64,
}

impl Agent {
    pub(super) fn new(host: HostId, site: SiteId) -> Agent {
        Agent {
            host,
            site,
            holder: Holder::default(),
            lineages: BTreeMap::new(),
            machines: Vec::new(),
            outcomes: Vec::new(),
            free: 500 * GIB,
            obeys: false,
            replicates: false,
            cannot_start: Vec::new(),
            unreachable: BTreeSet::new(),
            deleted: Vec::new(),
            replicas: BTreeMap::new(),
            points: 0,
            own_writes: Vec::new(),
            open: Vec::new(),
            worked: BTreeMap::new(),
            dies_before_record: false,
            lives: false,
            hands: BTreeMap::new(),
            copies_anew: false,
            retries: None,
            rests: false,
            copies: BTreeMap::new(),
            resynced: BTreeMap::new(),
            run: 1,
            sequence: 0,
        }
    }

    /// As a power cut would; it comes back by itself.
    pub(super) fn kill(&mut self) {
        self.copies.clear();
        self.run += 1;
        self.sequence = 0;
    }

    pub(super) fn report(&mut self, whole: bool) -> HostReport {
        self.sequence += 1;
        let inventory = self.inventory();
        let text = serde_json::to_vec(&inventory).unwrap();
        HostReport {
            host: self.host,
            run: Uuid::from_u128(self.run),
            sequence: self.sequence,
            urgent: false,
            agent_version: "0.1.0".to_owned(),
            clock_ms: 0,
            transit_ms: 1,
            certificate_until_ms: 0,
            inventory_digest: blake3::hash(&text).to_hex().to_string(),
            inventory: whole.then_some(inventory),
            space: vec![Space {
                path: "/r".to_owned(),
                of: "replicas".to_owned(),
                free: self.free,
                total: self.free,
            }],
            sources: self.sources(),
            replicas: self.replica_states(),
            lineages: self.lineages.values().cloned().collect(),
            standings: self.standings(),
            holds: self.holder.versions(),
            documents: if whole { self.holder.documents().cloned().collect() } else { Vec::new() },
            unclaimed: Vec::new(),
            outcomes: self.outcomes.clone(),
            problems: Vec::new(),
        }
    }

    fn inventory(&self) -> Inventory {
        let host = HostFacts {
            arch: "x86_64".to_owned(),
            hypervisor_version: "10.0.2".to_owned(),
            ..Default::default()
        };
        let class = StorageClass { name: "ssd".to_owned(), path: "/srv/ssd".to_owned(), default: true };
        Inventory {
            host,
            machines: self.machines.clone(),
            networks: vec!["lan".to_owned(), "far".to_owned()],
            storage: vec![class],
        }
    }

    fn protections(&self) -> Vec<Protection> {
        let held = self.holder.documents().filter_map(|document| match &document.body {
            Body::Protection(body) => Some((**body).clone()),
            _ => None,
        });
        held.filter(|_| self.replicates).collect()
    }

    /// What it replicates from here; each copy is a part further with each report.
    fn sources(&mut self) -> Vec<SourceState> {
        let mine = self.protections().into_iter().filter(|body| body.source.host == self.host);
        let mine: Vec<Protection> = mine.collect();
        mine.iter().map(|body| self.source(body)).collect()
    }

    fn source(&mut self, body: &Protection) -> SourceState {
        let done = self.resynced.get(&body.machine).copied();
        // A copy that is whole is gone on with, unless it is not to be found.
        let whole = body.life.as_ref().is_some_and(|life| life.copying == Copying::Steady) && self.lives;
        let wanted = self.copies_anew || (!whole && done.is_none_or(|done| done < body.resync));
        let part = self.copies.entry(body.machine).or_insert(0);
        if wanted {
            *part += 1;
        }
        let (at, over) = (*part, wanted && *part > PARTS);
        if over {
            self.copies_anew = false;
            self.resynced.insert(body.machine, body.resync);
            self.copies.remove(&body.machine);
        }
        let (done_parts, total) = (at * GIB, PARTS * GIB);
        let phase = match (wanted && !over, done.filter(|_| !self.copies_anew)) {
            _ if self.retries.is_some() => {
                SourcePhase::Retrying { why: self.retries.unwrap_or_default().to_owned() }
            }
            _ if self.rests => SourcePhase::Paused,
            (false, _) => SourcePhase::Replicating,
            (true, None) => SourcePhase::Seeding { done: done_parts, total },
            (true, Some(_)) => {
                SourcePhase::Resynchronizing { why: "asked for".to_owned(), done: done_parts, total }
            }
        };
        let point = PointId { epoch: body.epoch.number, number: self.sequence };
        let point = match self.lives {
            true => self.hands.get(&body.machine).and_then(|hand| hand.sent),
            false => Some(point),
        };
        let sealed = point.filter(|_| !matches!(phase, SourcePhase::Seeding { .. }));
        let newest = sealed.map(|id| PointAge { id, age_ms: 9 });
        SourceState {
            machine: body.machine,
            epoch: body.epoch,
            phase,
            newest,
            totals: Default::default(),
            last_cycle: None,
            pending: 0,
            resynced: self.resynced.get(&body.machine).copied().unwrap_or(0),
            notes: Vec::new(),
            apps: None,
        }
    }

    fn replica_states(&mut self) -> Vec<ReplicaState> {
        for body in self.protections().into_iter().filter(|body| body.target.host == self.host) {
            self.replicas.insert(body.machine, body.epoch);
        }
        let state = |(machine, epoch): (&MachineId, &Epoch)| ReplicaState {
            machine: *machine,
            name: String::new(),
            epoch: *epoch,
            phase: ReplicaPhase::Receiving,
            newest: self.newest_of(machine, epoch).map(|id| PointAge { id, age_ms: 9 }),
            consistency: None,
            oldest: self.oldest_of(machine).map(|id| PointAge { id, age_ms: 99_000 }),
            points: self.points,
            stored: 0,
            faults: Vec::new(),
            own_writes: self.own_writes.clone(),
            newest_application: None,
        };
        self.replicas.iter().map(state).collect()
    }

    fn newest_of(&self, machine: &MachineId, epoch: &Epoch) -> Option<PointId> {
        if self.lives {
            return self.hands.get(machine)?.points.keys().last().copied();
        }
        (self.points > 0).then_some(PointId { epoch: epoch.number, number: self.points })
    }

    fn oldest_of(&self, machine: &MachineId) -> Option<PointId> {
        self.hands.get(machine)?.points.keys().next().copied()
    }

    /// Takes a document as an agent does.
    pub(super) fn take(&mut self, document: &Document) -> Verdict {
        let machine = match document.key {
            Key::Protection(machine) => Some(machine),
            _ => None,
        };
        let known = machine.and_then(|machine| self.lineages.get(&machine)).map(|lineage| lineage.epoch);
        let verdict = self.holder.take(document, known.as_ref());
        if let (Verdict::Taken, Body::Protection(body)) = (&verdict, &document.body) {
            let (epoch, owner) = (body.epoch, body.source.host);
            let lineage = || Lineage::new(body.machine, epoch, owner);
            let held = self.lineages.entry(body.machine).or_insert_with(lineage);
            if held.epoch != epoch {
                self.resynced.remove(&body.machine);
            }
            held.hear(&epoch, owner);
        }
        if let (Verdict::Taken, Body::Removed { .. }, Some(machine)) = (&verdict, &document.body, machine) {
            self.copies.remove(&machine);
        }
        if let (Verdict::Taken, Key::Request(id), true) = (&verdict, &document.key, self.obeys) {
            self.open.retain(|open| open.id != *id);
            let ended = self.outcomes.iter().any(|outcome| outcome.id == *id);
            if let (Body::Request(request), false) = (&document.body, ended) {
                self.open.push(request.clone());
            }
            if !self.dies_before_record {
                self.work();
            }
        }
        verdict
    }

    /// Carries out what it was asked: the work of each may be done again after a kill, its
    /// outcome is kept once.
    pub(super) fn work(&mut self) {
        while let Some(request) = self.open.first().cloned() {
            let result = self.carry_out(&request);
            *self.worked.entry(request.id).or_default() += 1;
            if std::mem::take(&mut self.dies_before_record) {
                return self.kill();
            }
            self.open.remove(0);
            self.outcomes.push(Outcome { id: request.id, host: self.host, result });
        }
    }

    fn carry_out(&mut self, request: &Request) -> Ending {
        let answer = match &request.action {
            Action::DeleteReplica { machine, epoch } => {
                self.delete(*machine, epoch);
                Answer::Done
            }
            Action::Definition { machine } => {
                if self.machines.iter().all(|facts| facts.id != *machine) {
                    let what = "there is no such machine here".to_owned();
                    return Ending::Failed { what, advice: "look where it is".to_owned() };
                }
                Answer::Definition { text: format!("<domain>{machine}</domain>") }
            }
            Action::CheckStartable { .. } => Answer::Startable { problems: self.cannot_start.clone() },
            Action::CheckPeer { peer } if self.unreachable.contains(&peer.host) => {
                let what = format!("{} does not answer", peer.address);
                return Ending::Failed { what, advice: "see to the network".to_owned() };
            }
            Action::CheckPeer { .. } => {
                let (setup_ms, skew_ms, free) = (5, 1, self.free);
                Answer::Peer { setup_ms, skew_ms, agent: "0.1.0".to_owned(), free }
            }
            _ => Answer::Done,
        };
        Ending::Done { answer }
    }

    /// A replica goes only while it is of the epoch that was named.
    fn delete(&mut self, machine: MachineId, epoch: &Epoch) {
        let held = self.holder.get(&Key::Protection(machine)).map(|document| document.body.clone());
        // One that does not replicate has no store that would know its own epoch.
        let lineage = self.lineages.get(&machine).map(|lineage| lineage.epoch);
        let own = if self.replicates { self.replicas.get(&machine).copied() } else { lineage };
        let same = own == Some(*epoch);
        if same {
            self.deleted.push((machine, held));
            self.replicas.remove(&machine);
        }
    }

    /// A person on the host takes the machine over (R1).
    pub(super) fn break_glass(&mut self, machine: MachineId, token: u128) {
        let known = self.lineages.get(&machine).map_or(0, |lineage| lineage.epoch.number);
        let epoch = Epoch { number: known + 1, token };
        let host = self.host;
        self.lineages.entry(machine).or_insert_with(|| Lineage::new(machine, epoch, host)).hear(&epoch, host);
    }
}
