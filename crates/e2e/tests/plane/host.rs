//! A host: everything by which the shipped agent decides, a disk that keeps what was made
//! durable, and the conversation with its site server.

use std::collections::BTreeMap;

use farshore_agent::managed::decisions::{Aged, Contact, Kept, Ledger, Role, Step, step};
use farshore_control::{
    Body, Key,
    ownership::{Denied, Heard, Lineage},
    request::{Action, Answer, Ending},
    sync::{Documents, Poll},
};
use farshore_types::{Epoch, HostId, MachineId, RequestId};
use uuid::Uuid;

use super::{
    chance::Chance,
    guests::Guest,
    source::{Record, Room},
    target::Replica,
    world::{Clock, HOUR, Message, Ms, Node, SECOND, Timer, World},
};

pub(crate) fn host_of(n: usize) -> HostId {
    HostId(Uuid::from_u128(0x1000 + n as u128))
}

pub(crate) fn index_of(host: HostId) -> usize {
    usize::try_from(host.0.as_u128() - 0x1000).unwrap()
}

pub(crate) fn name_of(n: usize) -> String {
    format!("h{n}.example")
}

/// Three hosts a side.
pub(crate) fn site_of(n: usize) -> usize {
    n / 3
}

pub(crate) struct Host {
    pub(crate) life: u64,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    pub(crate) run: Option<Run>,
}

/// What outlives the agent.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) kept: Kept,
    pub(crate) replicas: BTreeMap<MachineId, Replica>,
    pub(crate) records: BTreeMap<MachineId, Record>,
    pub(crate) guests: BTreeMap<MachineId, Guest>,
}

/// A run of the agent.
pub(crate) struct Run {
    pub(crate) id: Uuid,
    pub(crate) ledger: Ledger,
    pub(crate) contact: Contact,
    pub(crate) sequence: u64,
    poll: (u64, Ms),
    poll_due: u64,
    pause: Ms,
    pub(crate) report: (u64, Ms),
    pub(crate) report_due: u64,
    /// Digest, and whether inventory and documents were in the report that is on its way.
    pub(crate) told: (String, bool, bool),
    pub(crate) rooms: BTreeMap<MachineId, Room>,
    /// What rooms that are over knew of their newest point's age.
    pub(crate) left: BTreeMap<MachineId, Aged>,
    /// Questions to the other side, by machine.
    pub(crate) nonces: BTreeMap<MachineId, u128>,
}

impl Host {
    pub(crate) fn new(_: usize, chance: &mut Chance) -> Host {
        let ahead = i64::try_from(chance.below(2 * HOUR)).unwrap() - i64::try_from(HOUR).unwrap();
        Host { life: 0, clock: Clock::new(ahead), disk: Disk::default(), run: None }
    }
}

impl World {
    pub(crate) fn ledger(&self, n: usize) -> Option<&Ledger> {
        self.hosts[n].run.as_ref().map(|run| &run.ledger)
    }

    fn start_host(&mut self, n: usize) {
        let id = Uuid::from_u128(self.chance.number());
        let now = self.now;
        let host = &mut self.hosts[n];
        host.life += 1;
        host.clock.began = now;
        host.run = Some(Run {
            id,
            ledger: Ledger::restored(host_of(n), host.disk.kept.clone()),
            contact: Contact::default(),
            sequence: 0,
            poll: (0, 0),
            poll_due: 0,
            pause: SECOND,
            report: (0, 0),
            report_due: 0,
            told: (String::new(), false, false),
            rooms: BTreeMap::new(),
            left: BTreeMap::new(),
            nonces: BTreeMap::new(),
        });
        host.disk.replicas.values_mut().for_each(Replica::reopen);
        self.note(|| format!("agent {n} starts"));
        self.boot_guests(n);
        self.reconcile(n);
        self.after(1, Node::Host(n), Timer::Poll(0));
        self.report_in(n, 1);
        self.after(60 * SECOND, Node::Host(n), Timer::Tick);
    }

    /// Changes the ledger: durable first, then in force. None where it could not be written.
    pub(crate) fn change<T>(&mut self, n: usize, change: impl FnOnce(&mut Ledger) -> (T, bool)) -> Option<T> {
        let fails = !self.calm && self.chance.ppm(self.fate.store_fails);
        let host = &mut self.hosts[n];
        let run = host.run.as_mut()?;
        let mut next = run.ledger.clone();
        let (outcome, dirty) = change(&mut next);
        if dirty {
            if fails {
                return None;
            }
            host.disk.kept = next.kept();
            run.ledger = next;
            self.report_in(n, SECOND);
        }
        Some(outcome)
    }

    /// Changes what is held of a lineage, as the failover of a machine does.
    pub(crate) fn change_lineage<T>(
        &mut self,
        n: usize,
        machine: MachineId,
        change: impl FnOnce(&mut Lineage) -> Result<T, Denied>,
    ) -> Option<T> {
        let me = host_of(n);
        let mut kept = self.ledger(n)?.kept();
        let lineage = kept.lineages.iter_mut().find(|lineage| lineage.machine == machine)?;
        let done = change(lineage).ok()?;
        self.change(n, |ledger| {
            *ledger = Ledger::restored(me, kept);
            ((), true)
        })?;
        Some(done)
    }

    pub(crate) fn host_hears(&mut self, n: usize, from: Node, call: u64, message: Message) {
        let now = self.now;
        match (from, message) {
            (Node::Site(_), Message::Documents(answer)) => {
                let Some(run) = self.hosts[n].run.as_mut().filter(|run| run.poll.0 == call) else { return };
                let asked = run.poll.1;
                run.poll.0 = 0;
                match answer {
                    Some(answer) => self.take(n, &answer, asked),
                    None => self.nobody_answers(n),
                }
            }
            (Node::Site(_), Message::Reply(reply)) => {
                let Some(run) = self.hosts[n].run.as_mut().filter(|run| run.report.0 == call) else { return };
                let (digest, whole, gave) = run.told.clone();
                run.contact.transit = std::time::Duration::from_millis(now - run.report.1);
                run.contact.wants_documents = reply.wants_documents;
                run.contact.told_inventory = (!reply.wants_inventory).then_some(digest);
                run.report.0 = 0;
                let again = (reply.wants_inventory && !whole) || (reply.wants_documents && !gave);
                if !reply.acknowledged.is_empty() {
                    self.change(n, |ledger| ((), ledger.acknowledge(&reply.acknowledged)));
                }
                self.report_in(n, if again { SECOND } else { self.fate.report });
            }
            (Node::Host(from), message) => self.host_hears_host(n, from, message),
            _ => {}
        }
    }

    fn take(&mut self, n: usize, answer: &Documents, asked: Ms) {
        let before: Vec<(MachineId, Option<Body>)> = answer
            .documents
            .iter()
            .filter_map(|document| match document.key {
                Key::Protection(machine) => Some(machine),
                _ => None,
            })
            .map(|m| {
                (m, self.ledger(n).and_then(|l| l.holder().get(&Key::Protection(m))).map(|d| d.body.clone()))
            })
            .collect();
        let taken = self.change(n, |ledger| {
            let taken = ledger.take(answer);
            let dirty = taken.dirty;
            (taken, dirty)
        });
        let Some(taken) = taken else { return self.nobody_answers(n) };
        let news = taken.dirty || !answer.documents.is_empty();
        if taken.unheard.is_some() {
            return self.nobody_answers(n);
        }
        for (key, why) in &taken.refused {
            self.note(|| format!("host {n} refuses {key:?}: {why}"));
        }
        for (machine, before) in before {
            self.truth_of_taken(n, machine, before.as_ref());
        }
        let asked = self.hosts[n].clock.mono(asked);
        let Some(run) = self.hosts[n].run.as_mut() else { return };
        run.contact.answered(answer.cursor, answer.clock_ms.map(|clock| (clock, asked)));
        run.pause = SECOND;
        let term = run.ledger.term();
        self.truth.follows(Node::Vault, Node::Host(n), term);
        let drastic = |document: &farshore_control::Document| matches!(&document.body, Body::Request(request) if request.action.is_drastic());
        if !self.calm && answer.documents.iter().any(drastic) && self.chance.ppm(100_000) {
            // It holds the order, and has not begun.
            return self.crash(Node::Host(n));
        }
        // What goes by the time alone, the tick sees to.
        if news {
            self.reconcile(n);
        }
        let quick = !answer.more && answer.documents.is_empty();
        self.poll_in(n, if quick { SECOND } else { 1 });
    }

    fn nobody_answers(&mut self, n: usize) {
        let mono = self.hosts[n].clock.mono(self.now);
        let Some(run) = self.hosts[n].run.as_mut() else { return };
        run.contact.failed(1, mono);
        run.poll.0 = 0;
        let pause = run.pause;
        run.pause = (pause * 2).min(15 * SECOND);
        self.poll_in(n, pause);
    }

    fn poll_in(&mut self, n: usize, ms: Ms) {
        let number = self.number();
        let Some(run) = self.hosts[n].run.as_mut() else { return };
        run.poll_due = number;
        self.after(ms, Node::Host(n), Timer::Poll(number));
    }

    fn ask(&mut self, n: usize) {
        let (call, now) = (self.number(), self.now);
        let mono = self.hosts[n].clock.mono(now);
        let Some(run) = self.hosts[n].run.as_mut().filter(|run| run.poll.0 == 0) else { return };
        run.contact.go_home(mono);
        let drastic = |(request, begun): &(farshore_control::request::Request, bool)| {
            request.action.is_drastic() && !begun
        };
        let urgent = run.ledger.open_requests().iter().any(drastic);
        let wait_secs = if urgent { 0 } else { 25 };
        let poll = Poll { cursor: run.contact.cursor(), term: run.ledger.term(), wait_secs };
        run.poll = (call, now);
        self.send(Node::Host(n), Node::Site(site_of(n)), call, Message::Poll(poll));
        self.after((wait_secs + 10) * SECOND, Node::Host(n), Timer::PollGivenUp(call));
    }

    pub(crate) fn host_timer(&mut self, n: usize, timer: Timer) {
        let run = self.hosts[n].run.as_ref();
        match timer {
            Timer::Start => self.start_host(n),
            Timer::Poll(due) if run.is_some_and(|run| run.poll_due == due) => self.ask(n),
            Timer::PollGivenUp(call) if run.is_some_and(|run| run.poll.0 == call) => self.nobody_answers(n),
            Timer::Report(due) if run.is_some_and(|run| run.report_due == due) => self.tell(n),
            Timer::ReportGivenUp(call) if run.is_some_and(|run| run.report.0 == call) => {
                if let Some(run) = self.hosts[n].run.as_mut() {
                    run.report.0 = 0;
                }
                self.report_in(n, 5 * SECOND);
            }
            Timer::Tick => {
                self.reconcile(n);
                self.hand_over_again(n);
                self.after(60 * SECOND, Node::Host(n), Timer::Tick);
            }
            Timer::Cycle(machine, stamp) => self.cycle(n, machine, stamp),
            Timer::Send(machine, stamp) => self.send_cycle(n, machine, stamp),
            Timer::CycleGivenUp(machine, stamp) => self.cycle_failed(n, machine, stamp),
            Timer::Boot(machine) => self.ask_witness(n, machine),
            _ => {}
        }
    }

    /// Makes what runs what is wanted, from the whole ledger.
    pub(crate) fn reconcile(&mut self, n: usize) {
        self.settle_replicas(n);
        self.settle_sources(n);
        self.do_requests(n);
        self.stop_old_guests(n);
    }

    fn settle_sources(&mut self, n: usize) {
        let wall = self.hosts[n].clock.wall(self.now);
        let Some(run) = self.hosts[n].run.as_ref() else { return };
        let records = &self.hosts[n].disk.records;
        let role = |protection: &farshore_control::Protection| {
            let seeded = records.contains_key(&protection.machine);
            let role = farshore_agent::managed::decisions::source(&run.ledger, protection, wall, seeded)?;
            Some((protection.machine, role))
        };
        let roles: BTreeMap<MachineId, Role> = run.ledger.protections().filter_map(role).collect();
        if let Some(run) = self.hosts[n].run.as_mut() {
            let over = run.rooms.extract_if(.., |machine, _| !roles.contains_key(machine));
            run.left.extend(over.map(|(machine, room)| (machine, room.aged)));
        }
        for (machine, role) in roles {
            self.want(n, machine, role);
        }
    }

    fn do_requests(&mut self, n: usize) {
        let mono = self.hosts[n].clock.mono(self.now);
        let Some(run) = self.hosts[n].run.as_mut() else { return };
        let open = run.ledger.open_requests();
        let mut steps: Vec<(RequestId, Action, Option<u64>, Step)> = Vec::new();
        for (request, begun) in open {
            let seen = *run.contact.seen.entry(request.id).or_insert(mono);
            let step = step(&request, begun, run.contact.vault_ms(seen, mono));
            let expires = request.expires_ms.filter(|_| !begun);
            steps.push((request.id, request.action, expires, step));
        }
        for (id, action, expires_ms, step) in steps {
            let ending = match step {
                Step::Wait => continue,
                Step::End(ending) => ending,
                Step::Work => {
                    let begun = self.change(n, |ledger| (ledger.begin(id), true));
                    if begun.is_none() {
                        continue;
                    }
                    if action.is_drastic() {
                        let late =
                            expires_ms.is_some_and(|at| self.vault.clock.wall(self.now) > at + 5 * SECOND);
                        assert!(!late, "R7: host {n} begins {action:?} after its time");
                    }
                    // A kill between the effect and its record.
                    let ending = self.act(n, &action);
                    if !self.calm && self.chance.ppm(20_000) {
                        return self.crash(Node::Host(n));
                    }
                    ending
                }
            };
            self.note(|| format!("host {n}: {action:?} ended with {ending:?}"));
            self.change(n, |ledger| (ledger.end(id, ending), true));
        }
    }

    fn act(&mut self, n: usize, action: &Action) -> Ending {
        match action {
            Action::DeleteReplica { machine, epoch } => self.delete(n, *machine, epoch),
            _ => Ending::Done { answer: Answer::Done },
        }
    }

    /// An epoch came to be known here.
    pub(crate) fn hear(
        &mut self,
        n: usize,
        machine: MachineId,
        epoch: Epoch,
        owner: HostId,
    ) -> Option<Heard> {
        self.change(n, |ledger| {
            let heard = ledger.hear(machine, &epoch, owner);
            (heard, matches!(heard, Heard::Superseded | Heard::Conflict))
        })
    }
}
