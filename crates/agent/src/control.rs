//! Commands as values: what can be asked of an agent, what it answers, and how both travel
//! over the local socket. This module must never know how an answer is found or shown.
//!
//! One connection carries one request: a line of JSON, answered by lines of JSON: any
//! number of events, then one result or one fault.

mod client;
mod reply;
mod request;
mod server;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Fault;

pub use client::{Running, ask};
pub use reply::{
    Adopted, AdoptedCopy, BroughtUp, CycleLine, Discarded, DiskLine, Exported, ExportedDisk, HeldStarts,
    MachineLine, PointLine, Released, ReplicaLine, ReplicaPoints, Replicated, Reply, RescuedDropped,
    ScrubLine, SourceLine, Status, Verified,
};
pub use request::{Adopt, BringUp, Export, Format, PointChoice, Replicate, Request, StartChoice};
pub use server::{bind, serve};

/// Version of this dialogue; the other end must have the same.
pub const VERSION: u32 = 1;
/// Longest line of the dialogue, in bytes: the points of thousands of machines.
pub(crate) const LINE_MAX: u64 = 64 << 20;
/// Events kept for someone slow; later ones replace none and are lost.
const EVENTS_MAX: usize = 256;

/// What a client says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// What it wants.
    pub(crate) request: Request,
}

/// What an agent says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// Something happened on the way.
    Event(Event),
    /// The result; nothing follows.
    Done(Box<Reply>),
    /// The error; nothing follows.
    Failed(Fault),
}

/// Something that happens while a command runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A long step advances.
    Advance {
        /// The step, such as `verifying point 1-42`.
        what: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
        /// Bytes sent or stored for those done; 0 where that is not the point.
        moved: u64,
    },
    /// Something worth a line.
    Note(String),
    /// A cycle ended.
    Cycle(CycleLine),
}

/// Who follows a command: is told of events, and may want it to stop.
#[derive(Clone, Debug)]
pub struct Observer {
    events: mpsc::Sender<Event>,
    /// Cancelled when nobody wants the result any more.
    pub stop: CancellationToken,
}

impl Observer {
    /// An observer, and where its events come out.
    #[must_use]
    pub fn new(stop: CancellationToken) -> (Observer, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        (Observer { events, stop }, receiver)
    }

    /// Tells of an event; it is lost where the other end does not keep up.
    pub fn tell(&self, event: Event) {
        // A bar that misses a step is drawn by the next one.
        drop(self.events.try_send(event));
    }

    /// Tells of a step's advance, but not so often that telling costs time.
    pub fn advance(&self, what: impl Into<String>) -> Advance {
        Advance { observer: self.clone(), what: what.into(), told: None }
    }
}

/// Tells of one step's advance, at most every [`Advance::PAUSE`].
pub struct Advance {
    observer: Observer,
    what: String,
    told: Option<std::time::Instant>,
}

impl Advance {
    /// Shortest time between two events of a step.
    pub const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

    /// So many bytes of `total` are done.
    pub fn at(&mut self, done: u64, total: u64) {
        if done >= total || self.told.is_none_or(|told| told.elapsed() >= Advance::PAUSE) {
            self.told = Some(std::time::Instant::now());
            self.observer.tell(Event::Advance { what: self.what.clone(), done, total, moved: 0 });
        }
    }
}
