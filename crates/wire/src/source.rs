//! The source's session machine: what it may say when, what it must keep to say again,
//! and what an answer means. It outlives connections; a session is one of them.
//!
//! ```text
//!  link    Offline ──connect──► Greeting ──Welcome──► Live ──bye──► Ended
//!             ▲                    │Refuse              │ │Refuse     ▲
//!             │                    └────────────────────┼─┴───────────┘
//!             └──────────────── disconnect ─────────────┘
//!
//!  cycle   None ──open──► Open ──seal──► Sealing ──Sealed or Failed──► None
//!            ▲             │  └─Failed─────────────────────────────────►┘
//!            │             └─abort─► Aborting ──Failed──► None
//!            └── after a cut: sealed meanwhile, or lost by the target
//! ```
//!
//! Every cycle that a target has opened is ended by exactly one Sealed or Failed.

mod commands;
mod cycle;
mod receive;
mod resume;

use farshore_types::PointRef;
use thiserror::Error;

use crate::{
    frame::SourceFrame,
    limits::VERSION_MIN,
    messages::{DigestPage, Hello, SessionId, WantDigests, Welcome},
    record::RecordError,
    refusal::{Failure, Refusal},
    stream::Encoded,
    violation::Numbers,
};
use cycle::{Cycle, Work};

/// The machine. Its owner does the I/O: it writes what the methods return, in that order,
/// and hands in what it reads.
#[derive(Debug)]
pub struct Source {
    hello: Hello,
    link: Link,
    cycle: Cycle,
    /// The replica's last durable element, as last told.
    last: Option<PointRef>,
    /// The page of digests not answered yet.
    asked: Option<WantDigests>,
}

#[derive(Debug)]
enum Link {
    Offline,
    Greeting(Numbers),
    Live(Live),
    Ended,
}

#[derive(Debug)]
struct Live {
    numbers: Numbers,
    /// The version spoken.
    version: u16,
    /// Most Data bytes on their way.
    window: u64,
}

/// What an arriving frame means for the owner.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The session is open. `send` must be written first.
    Welcomed {
        /// As the target said it.
        welcome: Welcome,
        /// What became of the cycle that was open before.
        resumption: Resumption,
        /// Frames that are due again.
        send: Vec<Encoded>,
    },
    /// There is no session, or no longer.
    Refused(Refusal),
    /// More may be sent: see [`Source::credit`].
    Credit,
    /// The cycle is over.
    Ended(CycleEnd),
    /// The answer to a Ping.
    Pong {
        /// From the Ping.
        nonce: u64,
    },
    /// The page asked for.
    Digests(DigestPage),
}

/// What became of the open cycle when a session was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// None was open.
    Nothing,
    /// It goes on.
    Resumed {
        /// Bytes of Data frames sent again; at most one window.
        resent_bytes: u64,
        /// The cycle's Seal was sent already: [`Source::reseal`] is due.
        reseal: bool,
    },
    /// It was sealed; only the acknowledgement had been lost.
    Sealed(PointRef),
    /// It was being aborted, and is gone.
    Aborted {
        /// Its number.
        cycle: u64,
    },
    /// The target no longer holds it: it must be run anew.
    Lost {
        /// Its number.
        cycle: u64,
    },
}

/// How a cycle ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CycleEnd {
    /// Durable at the target.
    Sealed(PointRef),
    /// Dropped by the target.
    Failed {
        /// Its number.
        cycle: u64,
        /// Why.
        failure: Failure,
    },
}

/// The owner asked for what the state does not allow. Nothing has changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Misuse {
    /// No connection, or no Welcome yet.
    #[error("cannot {what} while no session is open")]
    Offline {
        /// What was asked.
        what: &'static str,
    },
    /// The cycle's state forbids it.
    #[error("cannot {what} while {state}")]
    Cycle {
        /// What was asked.
        what: &'static str,
        /// The state.
        state: &'static str,
    },
    /// The window is full; a Credit will come.
    #[error("{needed} bytes exceed the credit of {credit} bytes")]
    NoCredit {
        /// What the frame takes.
        needed: u64,
        /// What may be sent now.
        credit: u64,
    },
    /// The records do not fit one frame.
    #[error("{records} records of {bytes} bytes do not make a frame: it carries 1 to 4096, of 2 MiB at most")]
    TooLarge {
        /// How many records.
        records: usize,
        /// Their bytes on the wire.
        bytes: u64,
    },
    /// The cycle has no such disk or the disk no such cluster.
    #[error("disk {disk} of the cycle has no cluster {cluster}")]
    OutOfBounds {
        /// Index of the disk.
        disk: u16,
        /// The cluster.
        cluster: u64,
    },
    /// A record breaks its rules.
    #[error("a record cannot be sent")]
    Record(#[from] RecordError),
    /// The target takes whole clusters only.
    #[error("the target does not take patches: cluster {cluster} must be sent whole")]
    Patch {
        /// The cluster.
        cluster: u64,
    },
    /// A page of digests is on its way already.
    #[error("cannot ask for digests while an answer is awaited")]
    Asked,
}

impl Source {
    /// A machine that has never connected. `hello.resume` is filled by the machine.
    #[must_use]
    pub fn new(hello: Hello) -> Source {
        Source { hello, link: Link::Offline, cycle: Cycle::None, last: None, asked: None }
    }

    /// A connection is there: the Hello to write. Any earlier connection is over.
    pub fn connect(&mut self) -> Encoded {
        self.hello.resume = self.cycle.work().map(|work| work.opened_in);
        self.link = Link::Greeting(Numbers { session: SessionId(0), out: 1, next_in: 0 });
        SourceFrame::Hello(self.hello.clone()).encode(SessionId(0), 0)
    }

    /// The connection is gone. The open cycle is kept for a resume.
    pub fn disconnect(&mut self) {
        self.link = Link::Offline;
    }

    /// The replica's last durable element, as last told.
    #[must_use]
    pub fn last(&self) -> Option<PointRef> {
        self.last
    }

    /// The session's number; `None` unless one is open.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match &self.link {
            Link::Live(live) => Some(live.numbers.session),
            _ => None,
        }
    }

    /// Bytes of Data frames that may be sent now.
    #[must_use]
    pub fn credit(&self) -> u64 {
        match (&self.link, &self.cycle) {
            (Link::Live(live), Cycle::Open(work)) => live.window.saturating_sub(work.in_flight()),
            _ => 0,
        }
    }

    /// Bytes kept for a resend; never more than one window.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.cycle.work().map_or(0, Work::in_flight)
    }

    /// The version of the live session; the oldest without one.
    pub(crate) fn version(&self) -> u16 {
        match &self.link {
            Link::Live(live) => live.version,
            _ => VERSION_MIN,
        }
    }

    /// Whether no cycle is open, being sealed or being aborted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.cycle, Cycle::None)
    }

    /// Whether a cycle is open and not yet being sealed.
    #[must_use]
    pub fn has_open_cycle(&self) -> bool {
        matches!(self.cycle, Cycle::Open(_))
    }

    /// Name of the state, for errors and logs.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.link {
            Link::Offline => "offline",
            Link::Greeting(_) => "greeting",
            Link::Live(_) => self.cycle.name(),
            Link::Ended => "ended",
        }
    }

    /// Numbers and encodes a frame of the live session.
    fn emit(&mut self, what: &'static str, frame: &SourceFrame) -> Result<Encoded, Misuse> {
        let Link::Live(live) = &mut self.link else { return Err(Misuse::Offline { what }) };
        Ok(frame.encode(live.numbers.session, live.numbers.take_out()))
    }

    fn require_live(&self, what: &'static str) -> Result<SessionId, Misuse> {
        self.session().ok_or(Misuse::Offline { what })
    }
}
