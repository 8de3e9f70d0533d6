//! A replica: points in the order in which they were sealed. Who may write it is the shipped
//! decision; a point is the instant that it shows.

use farshore_agent::managed::decisions::{
    Admission, Aged, Fence, Pruning, fence, halted, is_meant, is_target, judge, pruning, wanted_here,
};
use farshore_control::request::{Answer, Ending};
use farshore_link::Caller;
use farshore_types::{Epoch, EpochOrder, MachineId, PointId};

use super::{
    host::{host_of, name_of},
    world::{Message, Ms, Node, SECOND, World},
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) id: PointId,
    /// The instant that it shows.
    pub(crate) captured: Ms,
    /// As this host's clock has it.
    pub(crate) wall_ms: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) epoch: Epoch,
    pub(crate) points: Vec<Point>,
    /// False: the machine was brought up from it.
    pub(crate) receiving: bool,
    sessions: u64,
    live: Option<(u64, usize)>,
    halted: Option<String>,
    pub(crate) aged: Aged,
}

impl Replica {
    fn new() -> Replica {
        Replica {
            epoch: Epoch { number: 0, token: 0 },
            points: Vec::new(),
            receiving: true,
            sessions: 0,
            live: None,
            halted: None,
            aged: Aged::default(),
        }
    }

    /// After a kill nothing of a session is left.
    pub(crate) fn reopen(&mut self) {
        (self.live, self.aged) = (None, Aged::default());
    }

    /// Time counts from the newest point, not from a clock.
    fn prune(&mut self, keep: &Pruning) {
        let (Pruning::By(keep), Some(newest)) = (keep, self.points.last().map(|point| point.captured)) else {
            return;
        };
        let (every, hourly) =
            (keep.every_point_secs * SECOND, keep.hourly_secs.max(keep.daily_secs) * SECOND);
        let mut hour = None;
        self.points.retain(|point| {
            let age = newest - point.captured;
            let of = point.captured / (3_600 * SECOND);
            age <= every || (age <= hourly && hour.replace(of) != Some(of))
        });
    }
}

impl World {
    pub(crate) fn settle_replicas(&mut self, n: usize) {
        let Some(ledger) = self.ledger(n) else { return };
        let wanted: Vec<MachineId> =
            ledger.protections().filter(|p| is_target(p, host_of(n))).map(|p| p.machine).collect();
        for machine in wanted {
            self.hosts[n].disk.replicas.entry(machine).or_insert_with(Replica::new);
        }
        for machine in self.hosts[n].disk.replicas.keys().copied().collect::<Vec<_>>() {
            self.settle(n, machine);
        }
    }

    fn settle(&mut self, n: usize, machine: MachineId) {
        let host = &mut self.hosts[n];
        let (Some(run), Some(replica)) = (host.run.as_ref(), host.disk.replicas.get_mut(&machine)) else {
            return;
        };
        replica.prune(&pruning(&run.ledger, machine));
        replica.halted = halted(&run.ledger, machine);
        match fence(&run.ledger, machine, replica.epoch, replica.receiving) {
            Fence::Nothing => {}
            Fence::Take { epoch, .. } => (replica.epoch, replica.live) = (epoch, None),
            Fence::Hear { epoch, owner } => {
                self.hear(n, machine, epoch, owner);
                let host = &mut self.hosts[n];
                if let (Some(run), Some(replica)) = (host.run.as_ref(), host.disk.replicas.get_mut(&machine))
                {
                    replica.halted = halted(&run.ledger, machine);
                }
            }
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a message is delivered once")]
    pub(crate) fn host_hears_host(&mut self, n: usize, from: usize, message: Message) {
        match message {
            Message::Begin { machine, epoch } => {
                let result = self.admit(n, from, machine, epoch);
                self.send(Node::Host(n), Node::Host(from), 0, Message::Begun { machine, result });
            }
            Message::Begun { machine, result } => self.begun(n, from, machine, result),
            Message::Cycle { machine, epoch, session, captured } => {
                let result = self.seal(n, from, machine, epoch, session, captured);
                self.send(Node::Host(n), Node::Host(from), 0, Message::Sealed { machine, captured, result });
            }
            Message::Sealed { machine, captured, result } => self.sealed(n, from, machine, captured, result),
            Message::AskWitness { machine, nonce } => self.bear_witness(n, from, machine, nonce),
            Message::Witness { machine, witness } => self.boot(n, machine, witness),
            Message::HandOver { seal, captured } => self.accept(n, from, &seal, captured),
            _ => {}
        }
    }

    /// A session, and the newest point; or whether trying again is of no use.
    fn admit(
        &mut self,
        n: usize,
        from: usize,
        machine: MachineId,
        epoch: Epoch,
    ) -> Result<(u64, Option<PointId>), bool> {
        let judged =
            judge(self.ledger(n).ok_or(false)?, machine, &Caller::by_certificate(name_of(from)), &epoch);
        let (hear, yes) = match judged {
            Admission::Yes { hear } => (hear, true),
            Admission::No { hear, .. } => (hear, false),
            Admission::Unnamed => (None, false),
        };
        if let Some((epoch, owner)) = hear {
            self.hear(n, machine, epoch, owner).ok_or(false)?;
        }
        if !yes {
            return Err(false);
        }
        let source = self.ledger(n).and_then(|ledger| ledger.protection(machine)).map(|p| p.source.host);
        assert!(
            source == Some(host_of(from)),
            "host {from} may write {machine} on host {n}, whose source is {source:?}"
        );
        let replica = self.hosts[n].disk.replicas.get_mut(&machine).ok_or(false)?;
        if !replica.receiving {
            return Err(true);
        }
        match replica.epoch.order_of(&epoch) {
            EpochOrder::Older | EpochOrder::Conflict => return Err(true),
            EpochOrder::Same | EpochOrder::Newer => replica.epoch = epoch,
        }
        replica.sessions += 1;
        replica.live = Some((replica.sessions, from));
        Ok((replica.sessions, replica.points.last().map(|point| point.id)))
    }

    /// Whether the point exists now, durably.
    fn seal(
        &mut self,
        n: usize,
        from: usize,
        machine: MachineId,
        epoch: Epoch,
        session: u64,
        captured: Ms,
    ) -> Result<PointId, bool> {
        let now = self.now;
        let fails = !self.calm && self.chance.ppm(self.fate.store_fails);
        let host = &mut self.hosts[n];
        let replica = host.disk.replicas.get_mut(&machine).ok_or(false)?;
        let live = replica.live == Some((session, from)) && replica.epoch == epoch && replica.receiving;
        if !live || replica.halted.is_some() || fails {
            replica.live = None;
            return Err(false);
        }
        let number = replica.points.last().map_or(0, |point| point.id.number) + 1;
        let (id, wall_ms) =
            (PointId { epoch: epoch.number, number }, host.clock.wall(now) - (now - captured));
        replica.points.push(Point { id, captured, wall_ms });
        replica.aged = Aged::default();
        replica.aged.of(id, wall_ms, now - captured, (host.clock.wall(now), host.clock.mono(now)));
        if let Some(run) = &host.run {
            replica.prune(&pruning(&run.ledger, machine));
        }
        let lineage = host.run.as_ref().and_then(|run| run.ledger.lineage(machine)).cloned();
        self.truth.written(n, machine, epoch, session, lineage.as_ref());
        self.truth.points.insert((machine, id), captured);
        Ok(id)
    }

    /// As the shipped action does it.
    pub(crate) fn delete(&mut self, n: usize, machine: MachineId, epoch: &Epoch) -> Ending {
        let refused = |what: &str| Ending::Failed { what: what.to_owned(), advice: "look again".to_owned() };
        let host = &mut self.hosts[n];
        let Some(run) = host.run.as_ref() else { return refused("it is down") };
        if wanted_here(&run.ledger, machine).is_some() {
            return refused("the replica is wanted");
        }
        let Some(replica) = host.disk.replicas.get(&machine) else {
            return Ending::Done { answer: Answer::Done };
        };
        if !replica.receiving {
            return refused("the machine runs here");
        }
        if !is_meant(&replica.epoch, !replica.points.is_empty(), epoch) {
            return refused("it is of another epoch");
        }
        host.disk.replicas.remove(&machine);
        self.truth.deleted(n, machine);
        self.note(|| format!("host {n} deletes the replica of {machine}"));
        Ending::Done { answer: Answer::Done }
    }
}
