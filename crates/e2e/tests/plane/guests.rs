//! Guests: where they run, and the occasions on which one is started. The rules of ownership
//! are the shipped ones; who calls them here is what a failover will be.

use farshore_control::ownership::{Occasion, Seal, Witness};
use farshore_types::{Epoch, MachineId, PointId, PointRef, RootDigest};

use super::{
    host::{host_of, site_of},
    world::{HOSTS, Message, Ms, Node, SECOND, Timer, World},
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest {
    /// Whether it is to run when the host does.
    pub(crate) wanted: bool,
    pub(crate) running: bool,
    pub(crate) brought_up: Option<PointId>,
}

impl World {
    /// The host stops, with everything on it.
    pub(crate) fn lose_power(&mut self, n: usize) {
        self.hosts[n].disk.guests.values_mut().for_each(|guest| guest.running = false);
        self.crash(Node::Host(n));
    }

    /// What ran before the power went is asked for, before it is started.
    pub(crate) fn boot_guests(&mut self, n: usize) {
        let stopped =
            |(machine, guest): (&MachineId, &Guest)| (guest.wanted && !guest.running).then_some(*machine);
        for machine in self.hosts[n].disk.guests.iter().filter_map(stopped).collect::<Vec<_>>() {
            self.after(SECOND, Node::Host(n), Timer::Boot(machine));
        }
    }

    pub(crate) fn ask_witness(&mut self, n: usize, machine: MachineId) {
        let stopped =
            self.hosts[n].disk.guests.get(&machine).is_some_and(|guest| guest.wanted && !guest.running);
        if !stopped {
            return;
        }
        if self.ledger(n).is_none_or(|ledger| ledger.lineage(machine).is_none()) {
            // It came here, and nobody has told this host yet that it is protected: a gap that
            // only word which travels with the machine can close (docs/simulation.md).
            self.truth.count("started unheard");
            return self.start_guest(n, machine, true);
        }
        // Asked again until somebody answers.
        self.after(60 * SECOND, Node::Host(n), Timer::Boot(machine));
        let nonce = self.chance.number();
        if let Some(run) = self.hosts[n].run.as_mut() {
            run.nonces.insert(machine, nonce);
        }
        match self.other_end(n, machine) {
            Some(other) => {
                self.send(Node::Host(n), Node::Host(other), 0, Message::AskWitness { machine, nonce });
                self.boot(n, machine, None);
            }
            // Not protected any more: a person says so.
            None => self.start_if_allowed(n, machine, Occasion::Ordered),
        }
    }

    pub(crate) fn bear_witness(&mut self, n: usize, from: usize, machine: MachineId, nonce: u128) {
        let replica = self.hosts[n].disk.replicas.get(&machine).map(|replica| replica.epoch);
        let lineage = self.ledger(n).and_then(|ledger| ledger.lineage(machine)).map(|lineage| lineage.epoch);
        let highest = [replica, lineage].into_iter().flatten().max_by_key(|epoch| epoch.number);
        let witness = highest.map(|epoch| Witness { nonce, epoch });
        self.send(Node::Host(n), Node::Host(from), 0, Message::Witness { machine, witness });
    }

    /// With what the other side has said, if anything.
    pub(crate) fn boot(&mut self, n: usize, machine: MachineId, answer: Option<Witness>) {
        let Some(nonce) = self.hosts[n].run.as_ref().and_then(|run| run.nonces.get(&machine).copied()) else {
            return;
        };
        self.start_if_allowed(n, machine, Occasion::Boot { nonce, answer });
    }

    fn start_if_allowed(&mut self, n: usize, machine: MachineId, occasion: Occasion) {
        let stopped =
            self.hosts[n].disk.guests.get(&machine).is_some_and(|guest| guest.wanted && !guest.running);
        let Some(lineage) = self.ledger(n).and_then(|ledger| ledger.lineage(machine)) else { return };
        if !stopped {
            return;
        }
        match lineage.may_start(host_of(n), occasion) {
            // What a person orders is that person's word, as is what is done by force.
            Ok(()) => self.start_guest(n, machine, matches!(occasion, Occasion::Ordered)),
            Err(denied) => {
                if !matches!(denied, farshore_control::ownership::Denied::NoWitness) {
                    self.note(|| format!("host {n} holds {machine}: {denied}"));
                }
            }
        }
    }

    fn start_guest(&mut self, n: usize, machine: MachineId, forced: bool) {
        let elsewhere = (0..HOSTS).filter(|other| *other != n);
        let runs =
            |other: &usize| self.hosts[*other].disk.guests.get(&machine).is_some_and(|guest| guest.running);
        let other = elsewhere.into_iter().find(runs);
        // By force both may run. Its owner by the highest epoch may always start it again.
        let excused = forced || self.truth.owners.get(&machine) == Some(&n);
        assert!(other.is_none() || excused, "R3, R8: {machine} starts on host {n} and runs on {other:?}");
        if let Some(guest) = self.hosts[n].disk.guests.get_mut(&machine) {
            (guest.wanted, guest.running) = (true, true);
        }
        self.note(|| format!("{machine} starts on host {n}, forced: {forced}"));
    }

    /// A person takes a machine over where its replica is, whatever the other side does.
    pub(crate) fn break_glass(&mut self, n: usize, machine: MachineId) -> bool {
        let token = self.chance.number();
        let Some(replica) = self.hosts[n].disk.replicas.get_mut(&machine) else { return false };
        let Some(last) = replica.points.last().map(|point| point.id).filter(|_| replica.receiving) else {
            return false;
        };
        replica.epoch = Epoch { number: replica.epoch.number + 1, token };
        replica.receiving = false;
        let guest = Guest { wanted: true, running: false, brought_up: Some(last) };
        self.hosts[n].disk.guests.insert(machine, guest);
        self.truth.turned.insert(machine);
        self.truth.owners.insert(machine, n);
        self.start_guest(n, machine, true);
        self.reconcile(n);
        true
    }

    /// The old owner hands a machine over: stopped for good, sealed, told.
    pub(crate) fn hand_over(&mut self, n: usize, machine: MachineId) -> bool {
        let token = self.chance.number();
        let runs = self.hosts[n].disk.guests.get(&machine).is_some_and(|guest| guest.running);
        let record = self.hosts[n].disk.records.get(&machine).copied();
        let target = self.ledger(n).and_then(|ledger| Some(ledger.protection(machine)?.target.host));
        let Some(record) = record.filter(|record| runs && Some(record.target) == target) else {
            return false;
        };
        let last = PointRef { id: record.last, root: RootDigest([0; 32]) };
        let me = host_of(n);
        let sealed = self.change_lineage(n, machine, |lineage| {
            let next = Epoch { number: lineage.epoch.number + 1, token };
            let same = lineage.epoch.number == record.epoch;
            if same {
                lineage.seal(me, last, next)
            } else {
                Err(farshore_control::ownership::Denied::NoWitness)
            }
        });
        if sealed.is_none() {
            return false;
        }
        self.truth.turned.insert(machine);
        if let Some(guest) = self.hosts[n].disk.guests.get_mut(&machine) {
            guest.running = false;
        }
        self.note(|| format!("host {n} hands {machine} over"));
        if !self.calm && self.chance.ppm(300_000) {
            // Sealed, and not told yet.
            self.lose_power(n);
        }
        self.hand_over_again(n);
        true
    }

    /// Until the new owner is heard of.
    pub(crate) fn hand_over_again(&mut self, n: usize) {
        let Some(ledger) = self.ledger(n) else { return };
        let seals: Vec<Seal> = ledger.lineages().filter_map(|lineage| lineage.seal).collect();
        for seal in seals {
            if let Some(other) = self.other_end(n, seal.machine) {
                let message = Message::HandOver { seal, captured: 0 };
                self.send(Node::Host(n), Node::Host(other), 0, message);
            }
        }
    }

    pub(crate) fn accept(&mut self, n: usize, _: usize, seal: &Seal, _: Ms) {
        let (machine, me) = (seal.machine, host_of(n));
        let has = self.hosts[n].disk.replicas.get(&machine).is_some_and(|replica| {
            replica.points.last().is_some_and(|point| point.id == seal.last.id)
                && replica.epoch.number < seal.next.number
        });
        if !has || self.change_lineage(n, machine, |lineage| lineage.accept(me, seal)).is_none() {
            return;
        }
        if let Some(replica) = self.hosts[n].disk.replicas.get_mut(&machine) {
            (replica.epoch, replica.receiving) = (seal.next, false);
        }
        let guest = Guest { wanted: true, running: false, brought_up: Some(seal.last.id) };
        self.hosts[n].disk.guests.insert(machine, guest);
        self.start_guest(n, machine, false);
        self.truth.owners.insert(machine, n);
        self.reconcile(n);
    }

    /// Where a document says that the machine is another host's, a person puts the old copy
    /// away.
    pub(crate) fn stop_old_guests(&mut self, n: usize) {
        let Some(ledger) = self.ledger(n) else { return };
        let me = host_of(n);
        // What is nowhere else is not put away, whatever a document says for a while.
        let elsewhere = |machine: &MachineId| {
            (0..HOSTS).any(|other| other != n && self.hosts[other].disk.guests.contains_key(machine))
        };
        // Brought up here by force, which could not be made known to the ledger yet.
        let brought_up = |machine: &MachineId| {
            let replica = self.hosts[n].disk.replicas.get(machine);
            replica.is_some_and(|replica| {
                let known = ledger.lineage(*machine).map_or(0, |lineage| lineage.epoch.number);
                !replica.receiving && replica.epoch.number > known
            })
        };
        let lost = |p: &&farshore_control::Protection| {
            p.source.host != me
                && !brought_up(&p.machine)
                && elsewhere(&p.machine)
                && ledger.lineage(p.machine).is_none_or(|lineage| lineage.owner != me)
                && self.truth.turned.contains(&p.machine)
        };
        let lost: Vec<MachineId> = ledger.protections().filter(lost).map(|p| p.machine).collect();
        for machine in lost {
            if self.hosts[n].disk.guests.remove(&machine).is_some() {
                self.note(|| format!("host {n} puts {machine} away"));
            }
        }
    }

    /// A machine is migrated to another host of its site.
    pub(crate) fn migrate(&mut self, machine: MachineId, to: usize) -> bool {
        let at = |n: &usize| self.hosts[*n].disk.guests.contains_key(&machine);
        let Some(from) = (0..HOSTS).find(at) else { return false };
        let up = self.hosts[from].run.is_some() && self.hosts[to].run.is_some();
        let guest = self.hosts[from].disk.guests[&machine];
        let fits = from != to && site_of(from) == site_of(to) && guest.running && guest.brought_up.is_none();
        if !up || !fits || self.truth.turned.contains(&machine) {
            return false;
        }
        self.hosts[from].disk.guests.remove(&machine);
        self.hosts[to].disk.guests.insert(machine, guest);
        self.note(|| format!("{machine} moves from host {from} to {to}"));
        self.report_in(from, SECOND);
        self.report_in(to, SECOND);
        true
    }
}
