//! Source and target against each other, through random cuts and a target that forgets.
//! Whatever happens: what is sealed is what was sent, an acknowledged cycle is sealed,
//! and no more than one window is sent twice.

use std::collections::VecDeque;

use bytes::Bytes;
use farshore_types::{Digest, PointRef};

use super::samples::*;
use crate::*;

const WINDOW: u64 = limits::WINDOW_MIN as u64;

/// A small generator: the same seed is the same story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % sides
    }
}

type Change = (u16, u64, Digest);

/// What the target's owner has on disk, and what only in memory.
#[derive(Default)]
struct Replica {
    sessions: u64,
    last: Option<PointRef>,
    staged: Vec<Change>,
    held: Option<Held>,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) acked: u64,
    pub(super) resumed: u64,
    pub(super) resent: u64,
    pub(super) lost: u64,
    pub(super) acked_late: u64,
    pub(super) failed: u64,
}

struct World {
    dice: Dice,
    source: Source,
    target: Target,
    to_target: VecDeque<Bytes>,
    to_source: VecDeque<Bytes>,
    work: VecDeque<Effect>,
    replica: Replica,
    /// What the source has sent in the open cycle.
    sent: Vec<Change>,
    cycle: u64,
    tally: Tally,
}

/// Plays one story; what went wrong otherwise.
pub(super) fn play(seed: u64, steps: u32) -> Result<Tally, String> {
    let mut world = World {
        dice: Dice(seed),
        source: Source::new(hello()),
        target: Target::new(),
        to_target: VecDeque::new(),
        to_source: VecDeque::new(),
        work: VecDeque::new(),
        replica: Replica::default(),
        sent: Vec::new(),
        cycle: 0,
        tally: Tally::default(),
    };
    world.connect();
    for _ in 0..steps {
        world.step()?;
    }
    Ok(world.tally)
}

impl World {
    fn step(&mut self) -> Result<(), String> {
        match self.dice.roll(40) {
            0 => {
                self.cut();
                Ok(())
            }
            1..=12 => self.speak(),
            13..=24 => self.deliver_to_target(),
            25..=32 => self.do_work(),
            _ => self.deliver_to_source(),
        }
    }

    fn connect(&mut self) {
        let hello = self.source.connect();
        self.to_target.push_back(hello.to_bytes());
    }

    /// The line goes dead; the target finishes what it has, or is killed and forgets.
    fn cut(&mut self) {
        let mut target = std::mem::take(&mut self.target);
        target.disconnect();
        std::mem::swap(&mut self.target, &mut target);
        let killed = self.dice.roll(3) == 0;
        if killed {
            self.work.clear();
            self.target = Target::new();
        }
        while !self.work.is_empty() {
            // Errors would be the owner's; the checks at the next step see any harm.
            self.do_work().ok();
        }
        self.replica.held = std::mem::take(&mut self.target).into_held();
        self.to_target.clear();
        self.to_source.clear();
        self.source.disconnect();
        self.connect();
    }

    /// The source does what its state allows.
    fn speak(&mut self) -> Result<(), String> {
        let die = self.dice.roll(30);
        let spoken = if self.source.is_idle() {
            let (last, cycle) =
                (self.source.last(), self.cycle.max(self.source.last().map_or(0, |p| p.id.number)) + 1);
            let opened = self.source.open_cycle(open_cycle(cycle, last));
            if opened.is_ok() {
                self.cycle = cycle;
                self.sent.clear();
            }
            opened.map(Some)
        } else {
            match die {
                0 => self.source.seal(Outcome::Stage, 0, root(self.cycle), Bytes::new()).map(Some),
                1 => self.source.abort("the dice want it"),
                2 => self.source.ping(7).map(Some),
                _ => self.send_data().map(Some),
            }
        };
        if let Ok(Some(frame)) = spoken {
            self.to_target.push_back(frame.to_bytes());
        }
        if self.source.kept_bytes() > WINDOW {
            return Err(format!("{} bytes kept, window {WINDOW}", self.source.kept_bytes()));
        }
        Ok(())
    }

    fn small(&mut self, fill: u8) -> Record {
        match self.dice.roll(3) {
            0 => packed_patch(self.dice.roll(17), 0x0180, fill),
            _ => zstd(self.dice.roll(17), fill),
        }
    }

    fn send_data(&mut self) -> Result<Encoded, Misuse> {
        let disk = u16::try_from(self.dice.roll(2)).unwrap_or(0);
        let fill = u8::try_from(self.dice.roll(250)).unwrap_or(0);
        let size = if self.dice.roll(8) == 0 { 31 } else { 3 };
        let records: Vec<Record> =
            (0..size).map(|i| if size == 31 { raw(i, 1) } else { self.small(fill) }).collect();
        let changes: Vec<Change> = records.iter().map(|r| (disk, r.cluster, r.digest)).collect();
        let frame = self.source.data(disk, records)?;
        self.sent.extend(changes);
        Ok(frame)
    }

    fn deliver_to_target(&mut self) -> Result<(), String> {
        let Some(bytes) = self.to_target.pop_front() else { return Ok(()) };
        let raw = read_raw(&bytes).map_err(|e| e.to_string())?;
        let effects = self.target.receive(raw).map_err(|e| e.to_string())?;
        for effect in effects {
            match effect {
                Effect::Judge(hello) => self.judge(&hello),
                Effect::Send(frame) => self.to_source.push_back(frame.to_bytes()),
                work => self.work.push_back(work),
            }
        }
        Ok(())
    }

    fn judge(&mut self, hello: &Hello) {
        self.replica.sessions += 1;
        let acceptance = Acceptance {
            session: SessionId(self.replica.sessions),
            held_epoch: Some(hello.epoch),
            last: self.replica.last,
            held: self.replica.held.take(),
            window: limits::WINDOW_MIN,
            disks: Vec::new(),
            free_space: 0,
        };
        for effect in self.target.accept(acceptance) {
            match effect {
                Effect::Send(frame) => self.to_source.push_back(frame.to_bytes()),
                work => self.work.push_back(work),
            }
        }
    }

    fn do_work(&mut self) -> Result<(), String> {
        let answer = match self.work.pop_front() {
            Some(Effect::Open(..)) => {
                self.replica.staged.clear();
                None
            }
            Some(Effect::Append(ticket, data)) => {
                if self.dice.roll(200) == 0 {
                    self.replica.staged.clear();
                    let failure = Failure::new(FailureCode::NoSpace, "full", "free some");
                    let told = self.target.failed(ticket, failure);
                    // As the worker does: what is queued for the cycle is nobody's any more.
                    self.work.retain(|w| {
                        !matches!(w, Effect::Append(..) | Effect::Seal(..) | Effect::Drop { .. })
                    });
                    told
                } else {
                    self.replica.staged.extend(data.records.iter().map(|r| (data.disk, r.cluster, r.digest)));
                    self.target.appended(ticket).map_err(|e| e.to_string())?
                }
            }
            Some(Effect::Seal(ticket, seal)) => {
                if self.replica.staged != self.sent {
                    return Err(format!("cycle {} sealed other than sent", seal.cycle));
                }
                let sealed = point(seal.cycle);
                self.replica.last = Some(sealed);
                self.target.sealed(ticket, sealed).map_err(|e| e.to_string())?
            }
            Some(Effect::Drop { .. }) => {
                self.replica.staged.clear();
                None
            }
            _ => None,
        };
        self.to_source.extend(answer.map(|frame| frame.to_bytes()));
        Ok(())
    }

    fn deliver_to_source(&mut self) -> Result<(), String> {
        let Some(bytes) = self.to_source.pop_front() else { return Ok(()) };
        let raw = read_raw(&bytes).map_err(|e| e.to_string())?;
        match self.source.receive(raw).map_err(|e| e.to_string())? {
            Notice::Welcomed { resumption, send, .. } => {
                self.to_target.extend(send.iter().map(Encoded::to_bytes));
                self.resumed(&resumption)
            }
            Notice::Ended(CycleEnd::Sealed(point)) => self.acked(point),
            Notice::Ended(CycleEnd::Failed { cycle, failure }) => {
                self.tally.failed += 1;
                self.cycle = cycle - 1;
                if failure.code == FailureCode::BaseMismatch || failure.code == FailureCode::RecordCount {
                    return Err(failure.to_string());
                }
                Ok(())
            }
            Notice::Refused(refusal) => Err(refusal.to_string()),
            Notice::Credit | Notice::Pong { .. } | Notice::Digests(_) => Ok(()),
        }
    }

    fn resumed(&mut self, resumption: &Resumption) -> Result<(), String> {
        match resumption {
            Resumption::Resumed { resent_bytes, reseal } => {
                self.tally.resumed += 1;
                self.tally.resent += u64::from(*resent_bytes > 0);
                if *resent_bytes > WINDOW {
                    return Err(format!("{resent_bytes} bytes sent again, window {WINDOW}"));
                }
                if *reseal {
                    let frame = self.source.reseal(5).map_err(|e| e.to_string())?;
                    self.to_target.push_back(frame.to_bytes());
                }
                Ok(())
            }
            Resumption::Sealed(point) => {
                self.tally.acked_late += 1;
                self.acked(*point)
            }
            Resumption::Lost { .. } => {
                self.tally.lost += 1;
                Ok(())
            }
            Resumption::Nothing | Resumption::Aborted { .. } => Ok(()),
        }
    }

    fn acked(&mut self, point: PointRef) -> Result<(), String> {
        self.tally.acked += 1;
        if self.replica.last == Some(point) {
            return Ok(());
        }
        Err(format!("point {} acknowledged, the replica holds {:?}", point.id, self.replica.last))
    }
}

#[test]
fn what_is_sealed_is_what_was_sent_through_any_cuts() {
    let mut sum = Tally::default();
    for seed in 0..80 {
        let tally = play(seed, 1000).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        sum.acked += tally.acked;
        sum.resumed += tally.resumed;
        sum.resent += tally.resent;
        sum.lost += tally.lost;
        sum.acked_late += tally.acked_late;
        sum.failed += tally.failed;
    }
    // Every corner was visited, or the test says nothing.
    assert!(sum.acked > 100 && sum.resumed > 100 && sum.resent > 50, "{sum:?}");
    assert!(sum.lost > 20 && sum.acked_late > 1 && sum.failed > 50, "{sum:?}");
}
