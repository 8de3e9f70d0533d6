//! The frames of a cycle, as the target checks them.

use farshore_types::clusters_in;

use super::{Effect, Held, Target, Ticket};
use crate::{
    frame::TargetFrame,
    messages::{Abort, CycleKind, Data, OpenCycle, Seal, SessionId},
    record::Record,
    refusal::{Failure, FailureCode},
    violation::Violation,
};

#[derive(Debug)]
pub(super) enum Cycle {
    None,
    Open(Work),
    Sealing(Work, Seal),
    /// Failed was sent; the source may not have read it yet.
    Dropped {
        cycle: u64,
    },
}

/// An open cycle.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) turn: u64,
    opened_in: SessionId,
    pub(super) open: OpenCycle,
    /// Frames and records that arrived.
    next_index: u64,
    records: u64,
    /// Data bytes that arrived in this session.
    arrived_bytes: u64,
    /// Frames, records and bytes of these that were taken over.
    pub(super) taken_index: u64,
    taken_records: u64,
    pub(super) taken_bytes: u64,
}

impl Cycle {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Cycle::None => "no cycle is open",
            Cycle::Open(_) => "a cycle is open",
            Cycle::Sealing(..) => "a cycle is being sealed",
            Cycle::Dropped { .. } => "a cycle was dropped",
        }
    }
}

impl Work {
    fn new(turn: u64, opened_in: SessionId, open: OpenCycle) -> Work {
        Work::resumed(turn, Held { session: opened_in, open, next_index: 0, records: 0 })
    }

    pub(super) fn resumed(turn: u64, held: Held) -> Work {
        Work {
            turn,
            opened_in: held.session,
            open: held.open,
            next_index: held.next_index,
            records: held.records,
            arrived_bytes: 0,
            taken_index: held.next_index,
            taken_records: held.records,
            taken_bytes: 0,
        }
    }

    pub(super) fn into_held(self) -> Held {
        Held {
            session: self.opened_in,
            open: self.open,
            next_index: self.taken_index,
            records: self.taken_records,
        }
    }

    fn ticket(&self, bytes: u64, records: u64) -> Ticket {
        Ticket { cycle: self.open.cycle, turn: self.turn, next_index: self.next_index, bytes, records }
    }

    /// Counts an append as done. Appends are done in order, so a ticket that does not
    /// follow the last one is a fault of the owner's.
    pub(super) fn take_over(&mut self, ticket: &Ticket) -> bool {
        if ticket.next_index != self.taken_index + 1 {
            return false;
        }
        self.taken_index += 1;
        self.taken_records += ticket.records;
        self.taken_bytes += ticket.bytes;
        true
    }

    /// Whether everything that arrived was taken over.
    pub(super) fn is_drained(&self) -> bool {
        self.taken_index == self.next_index
    }

    /// Checks a frame's place, disk and clusters; what is wrong with it otherwise.
    fn check(&self, data: &Data, bytes: u64, window: u64) -> Result<(), String> {
        if data.cycle != self.open.cycle || data.index != self.next_index {
            let (cycle, due) = (self.open.cycle, self.next_index);
            return Err(format!(
                "data {} of cycle {} came where data {due} of cycle {cycle} was due",
                data.index, data.cycle
            ));
        }
        let on_their_way = self.arrived_bytes + bytes - self.taken_bytes;
        if on_their_way > window {
            return Err(format!("{on_their_way} bytes of data came in a window of {window} bytes"));
        }
        let Some(disk) = self.open.disks.get(usize::from(data.disk)) else {
            return Err(format!("data came for disk {} of {}", data.disk, self.open.disks.len()));
        };
        let clusters = clusters_in(disk.size);
        match data.records.iter().find(|record| record.cluster >= clusters) {
            None => Ok(()),
            Some(record) => Err(format!(
                "cluster {} came for disk {}, which has {clusters} clusters",
                record.cluster, disk.key
            )),
        }
    }
}

impl Target {
    pub(super) fn opened(&mut self, open: OpenCycle) -> Result<Vec<Effect>, Violation> {
        if matches!(self.cycle, Cycle::Open(_) | Cycle::Sealing(..)) {
            return Err(self.out_of_place("OpenCycle"));
        }
        if let Some(failure) = self.misplaced(&open) {
            self.cycle = Cycle::Dropped { cycle: open.cycle };
            return Ok(vec![self.emit(&TargetFrame::Failed { cycle: open.cycle, failure })]);
        }
        let session = match &self.link {
            super::Link::Live(numbers, _) => numbers.session,
            _ => return Err(self.out_of_place("OpenCycle")),
        };
        self.turn += 1;
        let work = Work::new(self.turn, session, open.clone());
        let ticket = work.ticket(0, 0);
        self.cycle = Cycle::Open(work);
        Ok(vec![Effect::Open(ticket, open)])
    }

    /// Why the cycle does not follow on the replica's last element, if it does not.
    fn misplaced(&self, open: &OpenCycle) -> Option<Failure> {
        let last = self.last.map_or("nothing".to_owned(), |last| format!("point {}", last.id));
        let message = if self.last.is_some_and(|last| open.cycle <= last.id.number) {
            format!("cycle {} was opened, but the replica already holds {last}", open.cycle)
        } else if open.kind != CycleKind::Initial && open.base != self.last {
            let base = open.base.map_or("nothing".to_owned(), |base| format!("point {}", base.id));
            format!("cycle {} builds on {base}, but the replica's last is {last}", open.cycle)
        } else {
            return None;
        };
        let advice = "the source rebuilds its digest map from the replica and tries again";
        Some(Failure::new(FailureCode::BaseMismatch, message, advice))
    }

    pub(super) fn data(&mut self, data: Data) -> Result<Vec<Effect>, Violation> {
        let (state, window) = (self.state(), self.window);
        if !self.patches && data.records.iter().any(Record::is_patch) {
            return Err(Violation::new(state, "a patch came in a session of a version without patches"));
        }
        match &mut self.cycle {
            Cycle::Open(work) => {
                let (bytes, records) = (Data::wire_len(&data.records), data.records.len() as u64);
                work.check(&data, bytes, window).map_err(|what| Violation::new(state, what))?;
                work.next_index += 1;
                work.records += records;
                work.arrived_bytes += bytes;
                Ok(vec![Effect::Append(work.ticket(bytes, records), data)])
            }
            Cycle::Dropped { cycle } if *cycle == data.cycle => Ok(Vec::new()),
            _ => Err(self.out_of_place("Data")),
        }
    }

    pub(super) fn seal(&mut self, seal: Seal) -> Result<Vec<Effect>, Violation> {
        match std::mem::replace(&mut self.cycle, Cycle::None) {
            Cycle::Open(work) if work.open.cycle == seal.cycle => {
                if work.records != seal.records && !skips_count() {
                    let message = format!(
                        "the source sealed cycle {} with {} records, {} arrived",
                        seal.cycle, seal.records, work.records
                    );
                    let advice = "the cycle is run again; if this repeats, report it as a fault";
                    return Ok(
                        self.drop_cycle(seal.cycle, Failure::new(FailureCode::RecordCount, message, advice))
                    );
                }
                let ticket = work.ticket(0, 0);
                self.cycle = Cycle::Sealing(work, seal.clone());
                Ok(vec![Effect::Seal(ticket, seal)])
            }
            Cycle::Dropped { cycle } if cycle == seal.cycle => {
                self.cycle = Cycle::Dropped { cycle };
                Ok(Vec::new())
            }
            other => {
                self.cycle = other;
                Err(self.out_of_place("Seal"))
            }
        }
    }

    pub(super) fn abort(&mut self, abort: Abort) -> Result<Vec<Effect>, Violation> {
        match &self.cycle {
            Cycle::Open(work) if work.open.cycle == abort.cycle => {
                let failure =
                    Failure::new(FailureCode::Aborted, abort.reason, "the next cycle carries its changes");
                Ok(self.drop_cycle(abort.cycle, failure))
            }
            Cycle::Dropped { cycle } if *cycle == abort.cycle => Ok(Vec::new()),
            _ => Err(self.out_of_place("Abort")),
        }
    }

    /// Tells source and owner that the cycle is gone.
    fn drop_cycle(&mut self, cycle: u64, failure: Failure) -> Vec<Effect> {
        self.cycle = Cycle::Dropped { cycle };
        let told = self.emit(&TargetFrame::Failed { cycle, failure: failure.clone() });
        vec![told, Effect::Drop { cycle, failure }]
    }
}

#[cfg(any(test, feature = "deliberate-bugs"))]
fn skips_count() -> bool {
    crate::bug::is(crate::bug::Bug::SkipCount)
}

#[cfg(not(any(test, feature = "deliberate-bugs")))]
const fn skips_count() -> bool {
    false
}
