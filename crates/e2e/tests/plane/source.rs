//! A machine's source: a cycle captures an instant, and is over with the target's durable
//! acknowledgement. What is wanted of it is the shipped decision; the bytes are a model.

use farshore_agent::managed::decisions::{Aged, Role};
use farshore_control::report::SourcePhase;
use farshore_types::{HostId, MachineId, PointId};

use super::{
    host::{host_of, index_of},
    world::{Message, Ms, Node, SECOND, Timer, World},
};

/// Longest pause after a failure.
const PAUSE_MAX: Ms = 120 * SECOND;

/// What a source keeps of the last point that the target acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) target: HostId,
    pub(crate) epoch: u64,
    pub(crate) last: PointId,
    pub(crate) wall_ms: u64,
}

pub(crate) struct Room {
    pub(crate) role: Role,
    /// Timers and answers of before do not count.
    stamp: u64,
    session: Option<u64>,
    failures: u32,
    pub(crate) phase: SourcePhase,
    pub(crate) aged: Aged,
    /// The instant that is being sent.
    sending: Option<Ms>,
    /// When it was opened.
    pub(crate) opened: Ms,
    /// Whether the target holds what is here, so that only differences are sent.
    seeded: bool,
}

impl World {
    /// A room does from now on what is wanted.
    pub(crate) fn want(&mut self, n: usize, machine: MachineId, role: Role) {
        let (stamp, now) = (self.number(), self.now);
        let Some(run) = self.hosts[n].run.as_mut() else { return };
        if let Some(room) = run.rooms.get_mut(&machine) {
            let goes_on = match (&room.role, &role) {
                (Role::Run(old), Role::Run(new)) => old.goes_on_as(new),
                (old, new) => old == new,
            };
            if goes_on {
                room.role = role;
                return;
            }
        }
        let phase = match &role {
            Role::Run(_) => SourcePhase::Starting,
            Role::Rest(_, phase) => phase.clone(),
        };
        let runs = matches!(role, Role::Run(_));
        let aged = run.rooms.get(&machine).map(|room| room.aged);
        let aged = aged.or_else(|| run.left.remove(&machine)).unwrap_or_default();
        let (opened, sending, seeded) = (now, None, false);
        let room = Room { role, stamp, session: None, failures: 0, phase, aged, sending, opened, seeded };
        run.rooms.insert(machine, room);
        if runs {
            self.after(200, Node::Host(n), Timer::Cycle(machine, stamp));
        }
    }

    fn room(&mut self, n: usize, machine: MachineId) -> Option<&mut Room> {
        self.hosts[n].run.as_mut()?.rooms.get_mut(&machine)
    }

    /// A tick: a session is set up first where there is none.
    pub(crate) fn cycle(&mut self, n: usize, machine: MachineId, stamp: u64) {
        let now = self.now;
        let here = self.hosts[n].disk.guests.contains_key(&machine);
        let took = self.chance.within(200, 3_000);
        let seeding = self.chance.within(20_000, 60_000);
        let Some(room) = self.room(n, machine).filter(|room| room.stamp == stamp) else { return };
        let Role::Run(wanted) = &room.role else { return };
        let (epoch, target) = (wanted.epoch, wanted.target.server_name.clone());
        if !here {
            room.phase = SourcePhase::Failed { why: "the machine is not here".to_owned() };
            return self.try_again(n, machine);
        }
        match room.session {
            None => {
                room.sending = None;
                let to = self.hosts.iter().enumerate().position(|(n, _)| super::host::name_of(n) == target);
                let Some(to) = to else { return };
                self.send(Node::Host(n), Node::Host(to), stamp, Message::Begin { machine, epoch });
                self.after(15 * SECOND, Node::Host(n), Timer::CycleGivenUp(machine, stamp));
            }
            Some(_) => {
                let took = if room.seeded { took } else { seeding };
                room.sending = Some(now);
                self.after(took, Node::Host(n), Timer::Send(machine, stamp));
            }
        }
    }

    pub(crate) fn send_cycle(&mut self, n: usize, machine: MachineId, stamp: u64) {
        let Some(room) = self.room(n, machine).filter(|room| room.stamp == stamp) else { return };
        let (Role::Run(wanted), Some(session), Some(captured)) = (&room.role, room.session, room.sending)
        else {
            return;
        };
        let (epoch, target) = (wanted.epoch, wanted.target.server_name.clone());
        let to = (0..self.hosts.len()).find(|n| super::host::name_of(*n) == target);
        let Some(to) = to else { return };
        let message = Message::Cycle { machine, epoch, session, captured };
        self.send(Node::Host(n), Node::Host(to), stamp, message);
        self.after(30 * SECOND, Node::Host(n), Timer::CycleGivenUp(machine, stamp));
    }

    pub(crate) fn begun(
        &mut self,
        n: usize,
        from: usize,
        machine: MachineId,
        result: Result<(u64, Option<PointId>), bool>,
    ) {
        let record = self.hosts[n].disk.records.get(&machine).copied();
        let stamp = self.number();
        let Some(room) = self.room(n, machine).filter(|room| room.session.is_none()) else { return };
        match result {
            Ok((session, newest)) => {
                let same = record
                    .is_some_and(|record| record.target == host_of(from) && Some(record.last) == newest);
                (room.session, room.seeded, room.stamp) = (Some(session), same, stamp);
                self.after(1, Node::Host(n), Timer::Cycle(machine, stamp));
            }
            Err(lost) => {
                let why = "the target refuses".to_owned();
                room.phase = if lost { SourcePhase::Failed { why } } else { SourcePhase::Retrying { why } };
                self.try_again(n, machine);
            }
        }
    }

    pub(crate) fn sealed(
        &mut self,
        n: usize,
        from: usize,
        machine: MachineId,
        captured: Ms,
        result: Result<PointId, bool>,
    ) {
        let now = self.now;
        let clock = self.hosts[n].clock.clone();
        let stamp = self.number();
        let Some(room) = self.room(n, machine).filter(|room| room.sending == Some(captured)) else { return };
        let Role::Run(wanted) = &room.role else { return };
        let (every, epoch) = (wanted.settings.copy_frequency_secs * SECOND, wanted.epoch.number);
        let Ok(id) = result else { return self.try_again(n, machine) };
        let age = now - captured;
        let wall_ms = clock.wall(now).saturating_sub(age);
        room.aged = Aged::default();
        room.aged.of(id, wall_ms, age, (clock.wall(now), clock.mono(now)));
        (room.stamp, room.seeded, room.failures, room.sending) = (stamp, true, 0, None);
        let first = !matches!(room.phase, SourcePhase::Replicating);
        room.phase = SourcePhase::Replicating;
        let record = Record { target: host_of(from), epoch, last: id, wall_ms };
        self.hosts[n].disk.records.insert(machine, record);
        self.truth.acknowledged(machine, from, id);
        if first {
            self.report_in(n, SECOND);
        }
        self.after(
            (captured + every).saturating_sub(now).max(SECOND),
            Node::Host(n),
            Timer::Cycle(machine, stamp),
        );
    }

    /// Nobody answered in time.
    pub(crate) fn cycle_failed(&mut self, n: usize, machine: MachineId, stamp: u64) {
        if self.room(n, machine).is_some_and(|room| room.stamp == stamp) {
            self.try_again(n, machine);
        }
    }

    fn try_again(&mut self, n: usize, machine: MachineId) {
        let stamp = self.number();
        let Some(room) = self.room(n, machine) else { return };
        room.failures += 1;
        (room.session, room.sending, room.stamp) = (None, None, stamp);
        let pause = ((5 * SECOND) << room.failures.min(6)).min(PAUSE_MAX);
        self.after(pause, Node::Host(n), Timer::Cycle(machine, stamp));
    }

    /// The host at the other end of a protection that is held here.
    pub(crate) fn other_end(&self, n: usize, machine: MachineId) -> Option<usize> {
        let protection = self.ledger(n)?.protection(machine)?;
        let ends = [protection.source.host, protection.target.host];
        ends.into_iter().find(|host| *host != host_of(n)).map(index_of)
    }
}
