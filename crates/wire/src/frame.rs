//! All frames of each direction, and their types on the wire.

use bytes::Bytes;
use farshore_types::PointRef;

use crate::{
    codec::{Input, Output},
    error::FrameError,
    messages::{Abort, Credit, Data, DigestPage, Hello, OpenCycle, Seal, SessionId, WantDigests, Welcome},
    record::Record,
    refusal::{Failure, FailureCode, Refusal, RefusalCode},
    stream::{Covered, Encoded, RawFrame},
};

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceFrame {
    /// First of all.
    Hello(Hello),
    /// A cycle begins.
    OpenCycle(OpenCycle),
    /// Changes.
    Data(Data),
    /// The cycle is complete.
    Seal(Seal),
    /// The cycle is given up.
    Abort(Abort),
    /// Are you there?
    Ping {
        /// Comes back in the Pong.
        nonce: u64,
    },
    /// Asks for a page of digests.
    WantDigests(WantDigests),
    /// The source ends the session in good order.
    Bye,
}

/// What a target says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetFrame {
    /// The session is open.
    Welcome(Welcome),
    /// There is no session, or no longer.
    Refuse(Refusal),
    /// Data frames were taken over.
    Credit(Credit),
    /// The final, durable acknowledgement of a cycle.
    Sealed(PointRef),
    /// The cycle was dropped.
    Failed {
        /// Which cycle.
        cycle: u64,
        /// Why.
        failure: Failure,
    },
    /// I am here.
    Pong {
        /// From the Ping.
        nonce: u64,
    },
    /// A page of digests.
    Digests(DigestPage),
}

const HELLO: u8 = 0x01;
const OPEN_CYCLE: u8 = 0x02;
const DATA: u8 = 0x03;
const SEAL: u8 = 0x04;
const ABORT: u8 = 0x05;
const PING: u8 = 0x06;
const WANT_DIGESTS: u8 = 0x07;
const BYE: u8 = 0x08;

const WELCOME: u8 = 0x81;
const REFUSE: u8 = 0x82;
const CREDIT: u8 = 0x83;
const SEALED: u8 = 0x84;
const FAILED: u8 = 0x85;
const PONG: u8 = 0x86;
const DIGESTS: u8 = 0x87;

impl SourceFrame {
    /// The frame as bytes.
    #[must_use]
    pub fn encode(&self, session: SessionId, sequence: u64) -> Encoded {
        let mut out = Output::new();
        let mut bodies: Vec<Covered> = Vec::new();
        let kind = match self {
            SourceFrame::Hello(hello) => {
                hello.encode(&mut out);
                HELLO
            }
            SourceFrame::OpenCycle(open) => {
                open.encode(&mut out);
                OPEN_CYCLE
            }
            SourceFrame::Data(data) => {
                data.encode_heads(&mut out);
                bodies.extend(data.records.iter().filter_map(Record::covered));
                DATA
            }
            SourceFrame::Seal(seal) => {
                seal.encode(&mut out);
                SEAL
            }
            SourceFrame::Abort(abort) => {
                abort.encode(&mut out);
                ABORT
            }
            SourceFrame::Ping { nonce } => {
                out.u64(*nonce);
                PING
            }
            SourceFrame::WantDigests(want) => {
                want.encode(&mut out);
                WANT_DIGESTS
            }
            SourceFrame::Bye => BYE,
        };
        Encoded::new(kind, session, sequence, out, bodies)
    }

    /// Reads a frame. Whoever takes its raw records checks their digests: the checksum does
    /// not cover those.
    ///
    /// # Errors
    /// A checksum that does not hold, any field that breaks a rule, or bytes left over.
    pub fn decode(raw: RawFrame) -> Result<SourceFrame, FrameError> {
        let RawFrame { header, payload } = raw;
        if header.kind != DATA {
            header.verify(std::iter::once(&payload[..]))?;
            return SourceFrame::parse(header.kind, payload);
        }
        // Only understood does it say which of its bytes the checksum covers.
        let frame = SourceFrame::parse(DATA, payload.clone())?;
        header.verify(frame.covered(&payload))?;
        Ok(frame)
    }

    /// The parts of the payload that the checksum covers.
    pub(crate) fn covered<'a>(&'a self, payload: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let (heads, records) = match self {
            SourceFrame::Data(data) => (data.heads_len(), &data.records[..]),
            _ => (payload.len(), &[][..]),
        };
        let bodies = records.iter().filter(|record| record.is_covered()).map(Record::stored);
        std::iter::once(&payload[..heads]).chain(bodies)
    }

    pub(crate) fn parse(kind: u8, payload: Bytes) -> Result<SourceFrame, FrameError> {
        let mut input = Input::new(payload);
        let frame = match kind {
            HELLO => SourceFrame::Hello(Hello::decode(&mut input)?),
            OPEN_CYCLE => SourceFrame::OpenCycle(OpenCycle::decode(&mut input)?),
            DATA => SourceFrame::Data(Data::decode(&mut input)?),
            SEAL => SourceFrame::Seal(Seal::decode(&mut input)?),
            ABORT => SourceFrame::Abort(Abort::decode(&mut input)?),
            PING => SourceFrame::Ping { nonce: input.u64("nonce")? },
            WANT_DIGESTS => SourceFrame::WantDigests(WantDigests::decode(&mut input)?),
            BYE => SourceFrame::Bye,
            kind => return Err(FrameError::Kind(kind)),
        };
        input.end()?;
        Ok(frame)
    }

    /// The frame's name, for errors and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            SourceFrame::Hello(_) => "Hello",
            SourceFrame::OpenCycle(_) => "OpenCycle",
            SourceFrame::Data(_) => "Data",
            SourceFrame::Seal(_) => "Seal",
            SourceFrame::Abort(_) => "Abort",
            SourceFrame::Ping { .. } => "Ping",
            SourceFrame::WantDigests(_) => "WantDigests",
            SourceFrame::Bye => "Bye",
        }
    }
}

impl TargetFrame {
    /// The frame as bytes.
    #[must_use]
    pub fn encode(&self, session: SessionId, sequence: u64) -> Encoded {
        let mut out = Output::new();
        let kind = match self {
            TargetFrame::Welcome(welcome) => {
                welcome.encode(&mut out);
                WELCOME
            }
            TargetFrame::Refuse(refusal) => {
                encode_why(&mut out, refusal.code.number(), &refusal.message, &refusal.advice);
                REFUSE
            }
            TargetFrame::Credit(credit) => {
                credit.encode(&mut out);
                CREDIT
            }
            TargetFrame::Sealed(point) => {
                out.point(point);
                SEALED
            }
            TargetFrame::Failed { cycle, failure } => {
                out.u64(*cycle);
                encode_why(&mut out, failure.code.number(), &failure.message, &failure.advice);
                FAILED
            }
            TargetFrame::Pong { nonce } => {
                out.u64(*nonce);
                PONG
            }
            TargetFrame::Digests(page) => {
                page.encode(&mut out);
                DIGESTS
            }
        };
        Encoded::new(kind, session, sequence, out, Vec::new())
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// A checksum that does not hold, any field that breaks a rule, or bytes left over.
    pub fn decode(raw: RawFrame) -> Result<TargetFrame, FrameError> {
        raw.header.verify(std::iter::once(&raw.payload[..]))?;
        TargetFrame::parse(raw.header.kind, raw.payload)
    }

    pub(crate) fn parse(kind: u8, payload: Bytes) -> Result<TargetFrame, FrameError> {
        let mut input = Input::new(payload);
        let frame = match kind {
            WELCOME => TargetFrame::Welcome(Welcome::decode(&mut input)?),
            REFUSE => {
                let (code, message, advice) = decode_why(&mut input)?;
                TargetFrame::Refuse(Refusal { code: RefusalCode::from_number(code), message, advice })
            }
            CREDIT => TargetFrame::Credit(Credit::decode(&mut input)?),
            SEALED => TargetFrame::Sealed(input.point()?),
            FAILED => {
                let cycle = input.u64("cycle")?;
                let (code, message, advice) = decode_why(&mut input)?;
                let failure = Failure { code: FailureCode::from_number(code), message, advice };
                TargetFrame::Failed { cycle, failure }
            }
            PONG => TargetFrame::Pong { nonce: input.u64("nonce")? },
            DIGESTS => TargetFrame::Digests(DigestPage::decode(&mut input)?),
            kind => return Err(FrameError::Kind(kind)),
        };
        input.end()?;
        Ok(frame)
    }

    /// The frame's name, for errors and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            TargetFrame::Welcome(_) => "Welcome",
            TargetFrame::Refuse(_) => "Refuse",
            TargetFrame::Credit(_) => "Credit",
            TargetFrame::Sealed(_) => "Sealed",
            TargetFrame::Failed { .. } => "Failed",
            TargetFrame::Pong { .. } => "Pong",
            TargetFrame::Digests(_) => "Digests",
        }
    }
}

fn encode_why(out: &mut Output, code: u16, message: &str, advice: &str) {
    out.u16(code);
    out.message(message);
    out.message(advice);
}

fn decode_why(input: &mut Input) -> Result<(u16, String, String), FrameError> {
    Ok((input.u16("code")?, input.message("message")?, input.message("advice")?))
}
