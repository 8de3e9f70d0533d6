//! The cycle as the source sees it, and the frames it keeps until they are taken over.

use std::collections::VecDeque;

use farshore_types::{PointId, PointRef, clusters_in};

use super::Misuse;
use crate::{
    limits::VERSION_PATCHES,
    messages::{Credit, Data, OpenCycle, Seal, SessionId},
    record::Record,
};

#[derive(Debug)]
pub(super) enum Cycle {
    None,
    Open(Work),
    Sealing(Work, Seal),
    /// The target still owes the Failed.
    Aborting {
        cycle: u64,
    },
}

/// An open cycle.
#[derive(Debug)]
pub(super) struct Work {
    /// The session in which OpenCycle was sent; it names the cycle in a resume.
    pub(super) opened_in: SessionId,
    pub(super) open: OpenCycle,
    /// The version it was opened by: what is sent in it is chosen by that.
    pub(super) version: u16,
    /// The replica's last element when the cycle was opened.
    pub(super) last: Option<PointRef>,
    pub(super) next_index: u64,
    pub(super) records: u64,
    /// Sent and not taken over; at most one window.
    pub(super) kept: VecDeque<Kept>,
    /// Bytes in `kept`.
    pub(super) kept_bytes: u64,
    /// Bytes taken over in this session.
    pub(super) taken_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) data: Data,
    pub(super) bytes: u64,
}

impl Cycle {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Cycle::None => "no cycle is open",
            Cycle::Open(_) => "a cycle is open",
            Cycle::Sealing(..) => "a cycle is being sealed",
            Cycle::Aborting { .. } => "a cycle is being aborted",
        }
    }

    pub(super) fn work(&self) -> Option<&Work> {
        match self {
            Cycle::Open(work) | Cycle::Sealing(work, _) => Some(work),
            Cycle::None | Cycle::Aborting { .. } => None,
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Cycle::Aborting { cycle } => Some(*cycle),
            other => other.work().map(|work| work.open.cycle),
        }
    }
}

impl Work {
    pub(super) fn new(opened_in: SessionId, version: u16, open: OpenCycle, last: Option<PointRef>) -> Work {
        let (next_index, records, kept_bytes, taken_bytes) = (0, 0, 0, 0);
        let kept = VecDeque::new();
        Work { opened_in, open, version, last, next_index, records, kept, kept_bytes, taken_bytes }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.kept_bytes
    }

    pub(super) fn check_bounds(&self, disk: u16, records: &[Record]) -> Result<(), Misuse> {
        let clusters = self.open.disks.get(usize::from(disk)).map_or(0, |d| clusters_in(d.size));
        for record in records {
            if record.cluster >= clusters {
                return Err(Misuse::OutOfBounds { disk, cluster: record.cluster });
            }
            if record.is_patch() && self.version < VERSION_PATCHES {
                return Err(Misuse::Patch { cluster: record.cluster });
            }
            record.check()?;
        }
        Ok(())
    }

    /// Keeps the next frame for a resend.
    pub(super) fn keep(&mut self, data: Data, bytes: u64) {
        self.next_index += 1;
        self.records += data.records.len() as u64;
        self.kept_bytes += bytes;
        self.kept.push_back(Kept { data, bytes });
    }

    /// Index of the first frame that could be sent again.
    pub(super) fn first_kept(&self) -> u64 {
        self.kept.front().map_or(self.next_index, |kept| kept.data.index)
    }

    /// Lets go of the frames below `index`; their bytes.
    pub(super) fn release(&mut self, index: u64) -> u64 {
        let before = self.kept_bytes;
        while self.kept.front().is_some_and(|kept| kept.data.index < index) {
            if let Some(kept) = self.kept.pop_front() {
                self.kept_bytes -= kept.bytes;
            }
        }
        before - self.kept_bytes
    }

    /// Applies a credit; what is wrong with it otherwise.
    pub(super) fn take_credit(&mut self, credit: Credit) -> Result<(), String> {
        if credit.index <= self.first_kept() || credit.index > self.next_index {
            return Err(format!(
                "a credit up to frame {} came while frames {} to {} were on their way",
                credit.index,
                self.first_kept(),
                self.next_index
            ));
        }
        self.taken_bytes += self.release(credit.index);
        if credit.bytes != self.taken_bytes {
            return Err(format!(
                "a credit of {} bytes came for frames of {} bytes",
                credit.bytes, self.taken_bytes
            ));
        }
        Ok(())
    }
}

/// Name of the element that a cycle becomes.
pub(super) fn point_id(epoch: u64, cycle: u64) -> PointId {
    PointId { epoch, number: cycle }
}
