//! The target's session machine, one per connection: it checks what a source says, keeps
//! the order of a cycle, counts records and credit, and answers.
//!
//! ```text
//!  link    Waiting ──Hello──► Judging ──accept──► Live ──Bye──► Ended
//!                                └─refuse──────────────────────►┘
//!
//!  cycle   None ──OpenCycle──► Open ──Seal──► Sealing ──sealed──► None
//!            │                  │ │Abort,        │failed
//!            │base differs      │ │failed        │
//!            └────► Dropped ◄───┴─┴──────────────┘      Dropped ──OpenCycle──► Open
//! ```
//!
//! In Dropped the Failed was sent; what was still on its way for that cycle is ignored
//! until the source, having read the Failed, opens the next.
//!
//! The owner does the work that [`Effect`]s name, in their order, and reports it done with
//! the [`Ticket`] it came with. A report for a cycle that is over changes nothing.

mod cycle;
mod report;

use farshore_types::{Epoch, PointId, PointRef};

use crate::{
    frame::{SourceFrame, TargetFrame},
    messages::{Data, DiskSize, Hello, OpenCycle, OpenHint, Seal, SessionId, Versions, WantDigests, Welcome},
    refusal::{Failure, FailureCode, Refusal, RefusalCode},
    stream::{Encoded, RawFrame},
    violation::{Numbers, Rejected, Violation},
};
use cycle::{Cycle, Work};

/// The machine of one connection.
#[derive(Debug)]
pub struct Target {
    versions: Versions,
    /// Whether the session is of a version with patches.
    patches: bool,
    link: Link,
    cycle: Cycle,
    /// Counts opened cycles, so that late reports are told from current ones.
    turn: u64,
    last: Option<PointRef>,
    window: u64,
    /// A page of digests is being looked up.
    asked: bool,
}

#[derive(Debug)]
enum Link {
    Waiting,
    Judging(Hello),
    Live(Numbers, Epoch),
    Ended,
}

/// What the owner has to do, in the order given.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Decide on the session: answer with [`Target::accept`] or [`Target::refuse`].
    Judge(Hello),
    /// Write a frame.
    Send(Encoded),
    /// Open a cycle.
    Open(Ticket, OpenCycle),
    /// Store records; report with [`Target::appended`].
    Append(Ticket, Data),
    /// Make the cycle durable; report with [`Target::sealed`].
    Seal(Ticket, Seal),
    /// Forget the cycle; its source has been told.
    Drop {
        /// Its number.
        cycle: u64,
        /// Why.
        failure: Failure,
    },
    /// Look digests up; answer with [`Target::digests`].
    Digests(WantDigests),
    /// The source said goodbye: close the connection.
    End,
}

/// Names a piece of work in the report that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The cycle that the work belongs to.
    pub cycle: u64,
    turn: u64,
    /// First index not covered once this is done.
    next_index: u64,
    bytes: u64,
    records: u64,
}

/// The owner's consent to a session.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The session's number: counted and made durable before, never used twice.
    pub session: SessionId,
    /// The highest epoch that the replica knows, if any. Checked against the Hello's.
    pub held_epoch: Option<Epoch>,
    /// The last durable element.
    pub last: Option<PointRef>,
    /// The cycle held open since a cut.
    pub held: Option<Held>,
    /// Bytes of Data on their way at most; [`crate::limits::WINDOW_MIN`] to
    /// [`crate::limits::WINDOW_MAX`], else the nearer of these.
    pub window: u32,
    /// The replica's disks.
    pub disks: Vec<DiskSize>,
    /// Bytes free where the replica is kept.
    pub free_space: u64,
}

/// An unsealed cycle that outlives its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The session that opened it.
    pub session: SessionId,
    /// As it was opened.
    pub open: OpenCycle,
    /// Index of the first Data frame not taken over.
    pub next_index: u64,
    /// Records taken over.
    pub records: u64,
}

impl Target {
    /// The machine of a new connection.
    #[must_use]
    pub fn new() -> Target {
        Target::speaking(Versions::OURS)
    }

    /// The same, speaking these versions and no others of ours.
    #[must_use]
    pub fn speaking(versions: Versions) -> Target {
        let (link, cycle) = (Link::Waiting, Cycle::None);
        Target { versions, patches: false, link, cycle, turn: 0, last: None, window: 0, asked: false }
    }

    /// Name of the state, for errors and logs.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.link {
            Link::Waiting => "waiting for Hello",
            Link::Judging(_) => "judging",
            Link::Live(..) => self.cycle.name(),
            Link::Ended => "ended",
        }
    }

    /// Takes a frame that arrived; what is to be done about it.
    ///
    /// # Errors
    /// [`Rejected::Frame`] where the payload means nothing, [`Rejected::Violation`] where
    /// the frame may not come now. The connection must be given up.
    pub fn receive(&mut self, raw: RawFrame) -> Result<Vec<Effect>, Rejected> {
        let state = self.state();
        match &mut self.link {
            Link::Waiting => {
                Numbers { session: SessionId(0), out: 0, next_in: 0 }.check_in(&raw.header, state)?;
            }
            Link::Live(numbers, _) => numbers.check_in(&raw.header, state)?,
            Link::Judging(_) | Link::Ended => {
                return Err(Violation::new(state, "a frame came before Welcome or after the end").into());
            }
        }
        let frame = SourceFrame::decode(raw)?;
        Ok(self.take(frame)?)
    }

    fn take(&mut self, frame: SourceFrame) -> Result<Vec<Effect>, Violation> {
        if matches!(self.link, Link::Waiting) {
            return match frame {
                SourceFrame::Hello(hello) => Ok(self.greeted(hello)),
                frame => Err(self.out_of_place(frame.name())),
            };
        }
        match frame {
            SourceFrame::Hello(_) => Err(self.out_of_place("Hello")),
            SourceFrame::OpenCycle(open) => self.opened(open),
            SourceFrame::Data(data) => self.data(data),
            SourceFrame::Seal(seal) => self.seal(seal),
            SourceFrame::Abort(abort) => self.abort(abort),
            SourceFrame::Ping { nonce } => Ok(vec![self.emit(&TargetFrame::Pong { nonce })]),
            SourceFrame::WantDigests(_) if self.asked => Err(self.out_of_place("a second WantDigests")),
            SourceFrame::WantDigests(want) => {
                self.asked = true;
                Ok(vec![Effect::Digests(want)])
            }
            SourceFrame::Bye => Ok(self.goodbye()),
        }
    }

    /// Whoever leaves in good order does not come back for what he left open.
    fn goodbye(&mut self) -> Vec<Effect> {
        self.link = Link::Ended;
        let mut effects = Vec::new();
        if let Cycle::Open(work) = &self.cycle {
            let cycle = work.open.cycle;
            self.cycle = Cycle::Dropped { cycle };
            let failure =
                Failure::new(FailureCode::Aborted, "its source said goodbye", "nothing is to be done");
            effects.push(Effect::Drop { cycle, failure });
        }
        effects.push(Effect::End);
        effects
    }

    fn greeted(&mut self, hello: Hello) -> Vec<Effect> {
        if self.versions.common(&hello.versions).is_none() {
            let (theirs, ours) = (hello.versions, self.versions);
            let message = format!(
                "the source speaks versions {} to {}, this target {} to {}",
                theirs.min, theirs.max, ours.min, ours.max
            );
            return vec![Effect::Send(self.refuse(&Refusal::new(
                RefusalCode::Version,
                message,
                "update the older of the two agents",
            )))];
        }
        self.link = Link::Judging(hello.clone());
        vec![Effect::Judge(hello)]
    }

    /// Opens the session, unless the held epoch forbids it: then the Refuse is given, to
    /// be written before the connection is closed ([`Target::is_live`] tells which).
    /// A held cycle that the source did not ask for is to be dropped.
    pub fn accept(&mut self, acceptance: Acceptance) -> Vec<Effect> {
        let Link::Judging(hello) = std::mem::replace(&mut self.link, Link::Ended) else { return Vec::new() };
        if let Some(refusal) = acceptance.held_epoch.and_then(|held| Refusal::for_epoch(&held, &hello.epoch))
        {
            return vec![Effect::Send(self.refuse(&refusal))];
        }
        let Acceptance { session, last, held, disks, free_space, .. } = acceptance;
        let window = acceptance.window.clamp(crate::limits::WINDOW_MIN, crate::limits::WINDOW_MAX);
        let (held, unclaimed) = match held {
            Some(held) if hello.resume == Some(held.session) => (Some(held), None),
            other => (None, other),
        };
        let open = held.as_ref().map(|held| OpenHint { cycle: held.open.cycle, next_index: held.next_index });
        self.last = last;
        self.window = u64::from(window);
        if let Some(held) = held {
            self.turn += 1;
            self.cycle = Cycle::Open(Work::resumed(self.turn, held));
        }
        let version = self.versions.common(&hello.versions).unwrap_or(self.versions.max);
        let welcome = Welcome { version, session, last, open, window, disks, free_space };
        self.patches = welcome.takes_patches();
        self.link = Link::Live(Numbers { session, out: 1, next_in: 1 }, hello.epoch);
        let mut effects = Vec::new();
        effects.extend(unclaimed.map(|held| Effect::Drop {
            cycle: held.open.cycle,
            failure: Failure::new(
                FailureCode::Aborted,
                "its source no longer wants it",
                "nothing is to be done",
            ),
        }));
        effects.push(Effect::Send(TargetFrame::Welcome(welcome).encode(SessionId(0), 0)));
        effects
    }

    /// Refuses the session, or ends a live one: the frame to write before closing.
    pub fn refuse(&mut self, refusal: &Refusal) -> Encoded {
        let frame = TargetFrame::Refuse(refusal.clone());
        match std::mem::replace(&mut self.link, Link::Ended) {
            Link::Live(mut numbers, _) => frame.encode(numbers.session, numbers.take_out()),
            _ => frame.encode(SessionId(0), 0),
        }
    }

    /// The connection is gone: reports still count, but nothing is to be written for them.
    pub fn disconnect(&mut self) {
        self.link = Link::Ended;
    }

    /// Whether the session is open.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.link, Link::Live(..))
    }

    /// The connection is gone and all work is reported: the cycle to hold for a resume.
    #[must_use]
    pub fn into_held(self) -> Option<Held> {
        match self.cycle {
            Cycle::Open(work) | Cycle::Sealing(work, _) => Some(work.into_held()),
            Cycle::None | Cycle::Dropped { .. } => None,
        }
    }

    fn out_of_place(&self, name: &str) -> Violation {
        Violation::new(self.state(), format!("{name} came out of place"))
    }

    fn emit(&mut self, frame: &TargetFrame) -> Effect {
        Effect::Send(self.encode(frame))
    }

    fn encode(&mut self, frame: &TargetFrame) -> Encoded {
        match &mut self.link {
            Link::Live(numbers, _) => frame.encode(numbers.session, numbers.take_out()),
            // After the end nobody reads it any more.
            _ => frame.encode(SessionId(0), 0),
        }
    }

    fn point_id(&self, cycle: u64) -> Option<PointId> {
        match &self.link {
            Link::Live(_, epoch) => Some(PointId { epoch: epoch.number, number: cycle }),
            _ => None,
        }
    }
}

impl Default for Target {
    fn default() -> Self {
        Target::new()
    }
}
