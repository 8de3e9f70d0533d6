//! What a cycle consists of.

use bytes::Bytes;
use farshore_types::{Consistency, PointRef, RootDigest};

use super::{DiskSize, read_disks, write_disks};
use crate::{
    codec::{Input, Output},
    error::FrameError,
    header::HEADER_LEN,
    limits::{DEFINITION_LEN_MAX, RECORDS_PER_FRAME_MAX},
    record::{Head, RECORD_HEAD_LEN, Record},
};

/// Why a cycle is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleKind {
    /// A slice of the initial replication.
    Initial,
    /// What changed since the element named as base.
    Delta,
    /// What differs from the element named as base, after the tracking was lost.
    Resync,
}

/// Source to target: a cycle begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCycle {
    /// Number that the element would get; above the replica's last.
    pub cycle: u64,
    /// Why it is run.
    pub kind: CycleKind,
    /// The durable element that the source's digest map belongs to. Other than for an
    /// initial cycle it must be the replica's last.
    pub base: Option<PointRef>,
    /// All disks of the machine that take part, with their sizes at the captured instant.
    pub disks: Vec<DiskSize>,
}

/// Source to target: changes of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The open cycle.
    pub cycle: u64,
    /// 0, 1, 2 … within the cycle; goes on over reconnects.
    pub index: u64,
    /// Which of [`OpenCycle::disks`].
    pub disk: u16,
    /// The changes; 1 to [`RECORDS_PER_FRAME_MAX`].
    pub records: Vec<Record>,
}

/// What a sealed cycle becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Durable, but not a consistent point: a slice of an initial replication or resync.
    Stage,
    /// A recovery point.
    Point(Consistency),
}

/// Source to target: the cycle is complete; make it durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The open cycle.
    pub cycle: u64,
    /// What it becomes.
    pub outcome: Outcome,
    /// Milliseconds from the captured instant to the sending of this frame, and the last round
    /// trip that the source measured: an RPO by it is never better than the truth.
    pub age_ms: u64,
    /// Records that the cycle had over all disks.
    pub records: u64,
    /// Chains all changes up to and with this cycle.
    pub root: RootDigest,
    /// The machine's definition and state at the instant; opaque here, at most
    /// [`DEFINITION_LEN_MAX`] bytes.
    pub definition: Bytes,
}

/// Source to target: drop the open cycle. Answered by Failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The open cycle.
    pub cycle: u64,
    /// Why, for people.
    pub reason: String,
}

/// Target to source: Data frames taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Index of the first Data frame not taken over yet.
    pub index: u64,
    /// Bytes of this cycle's Data frames, headers included,
    /// taken over in this session.
    pub bytes: u64,
}

impl OpenCycle {
    pub(crate) fn encode(&self, out: &mut Output) {
        out.u64(self.cycle);
        out.u8(match self.kind {
            CycleKind::Initial => 1,
            CycleKind::Delta => 2,
            CycleKind::Resync => 3,
        });
        out.option(self.base, |out, point| out.point(&point));
        write_disks(out, &self.disks);
    }

    pub(crate) fn decode(input: &mut Input) -> Result<OpenCycle, FrameError> {
        let cycle = input.u64("cycle")?;
        let kind = match input.u8("cycle kind")? {
            1 => CycleKind::Initial,
            2 => CycleKind::Delta,
            3 => CycleKind::Resync,
            value => return Err(FrameError::Value { field: "cycle kind", value: u64::from(value) }),
        };
        let base = input.option("base", Input::point)?;
        Ok(OpenCycle { cycle, kind, base, disks: read_disks(input)? })
    }
}

/// Bytes of a Data payload before its records.
const DATA_HEAD_LEN: usize = 8 + 8 + 2 + 2 + 4;

impl Data {
    /// Bytes that a frame of these records takes, its header included. This is what the
    /// window counts.
    #[must_use]
    pub fn wire_len(records: &[Record]) -> u64 {
        let records: usize = records.iter().map(Record::wire_len).sum();
        (HEADER_LEN + DATA_HEAD_LEN + records) as u64
    }

    /// Bytes before the bodies.
    pub(crate) fn heads_len(&self) -> usize {
        DATA_HEAD_LEN + self.records.len() * RECORD_HEAD_LEN
    }

    /// Writes all but the bodies, which follow as they are.
    pub(crate) fn encode_heads(&self, out: &mut Output) {
        out.0.reserve(self.heads_len());
        out.u64(self.cycle);
        out.u64(self.index);
        out.u16(self.disk);
        out.u16(0);
        out.len(self.records.len());
        self.records.iter().for_each(|record| record.encode_head(out));
    }

    pub(crate) fn decode(input: &mut Input) -> Result<Data, FrameError> {
        let (cycle, index, disk) = (input.u64("cycle")?, input.u64("index")?, input.u16("disk")?);
        input.reserved("data byte 18 to 19", 2)?;
        let count = input.count("records", RECORDS_PER_FRAME_MAX, RECORD_HEAD_LEN)?;
        if count == 0 {
            return Err(FrameError::Value { field: "records", value: 0 });
        }
        let heads = (0..count).map(|index| Head::decode(index, input)).collect::<Result<Vec<_>, _>>()?;
        let bodies = heads.into_iter().enumerate().map(|(index, head)| head.body(index, input));
        Ok(Data { cycle, index, disk, records: bodies.collect::<Result<_, _>>()? })
    }
}

impl Seal {
    pub(crate) fn encode(&self, out: &mut Output) {
        out.u64(self.cycle);
        out.u8(match self.outcome {
            Outcome::Stage => 0,
            Outcome::Point(Consistency::Crash) => 1,
            Outcome::Point(Consistency::Application) => 2,
        });
        out.u64(self.age_ms);
        out.u64(self.records);
        out.slice(&self.root.0);
        out.blob(&self.definition);
    }

    pub(crate) fn decode(input: &mut Input) -> Result<Seal, FrameError> {
        let cycle = input.u64("cycle")?;
        let outcome = match input.u8("outcome")? {
            0 => Outcome::Stage,
            1 => Outcome::Point(Consistency::Crash),
            2 => Outcome::Point(Consistency::Application),
            value => return Err(FrameError::Value { field: "outcome", value: u64::from(value) }),
        };
        Ok(Seal {
            cycle,
            outcome,
            age_ms: input.u64("age")?,
            records: input.u64("record count")?,
            root: input.root()?,
            definition: input.blob("definition", DEFINITION_LEN_MAX)?,
        })
    }
}

impl Abort {
    pub(crate) fn encode(&self, out: &mut Output) {
        out.u64(self.cycle);
        out.message(&self.reason);
    }

    pub(crate) fn decode(input: &mut Input) -> Result<Abort, FrameError> {
        Ok(Abort { cycle: input.u64("cycle")?, reason: input.message("reason")? })
    }
}

impl Credit {
    pub(crate) fn encode(&self, out: &mut Output) {
        out.u64(self.index);
        out.u64(self.bytes);
    }

    pub(crate) fn decode(input: &mut Input) -> Result<Credit, FrameError> {
        Ok(Credit { index: input.u64("credit index")?, bytes: input.u64("credit bytes")? })
    }
}
