//! The one way in which a life changes: an order or a report, checked against the life and
//! what is seen around it. A step that is refused changes nothing. This module must never do
//! what follows from a step.

mod order;
mod report;

use farshore_types::{Epoch, HostId, PointId};
use serde::{Deserialize, Serialize};

use crate::{
    Facts, Life, Order, Reason,
    bug::{self, Bug},
};

/// What makes a life go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "input")]
pub enum Input {
    /// Somebody orders something.
    Order(Box<Order>),
    /// A host says what has come to be.
    Report(Report),
}

/// What a host says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By which epoch: what is of before says nothing about now.
    pub epoch: Epoch,
    /// What.
    pub event: Event,
}

/// What has come to be on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The target has the first whole point of this source.
    FirstPoint,
    /// The source's record of changes is lost.
    TrackerLost,
    /// Everything is copied anew: the target had nothing that the source could go on from.
    CopiesAnew,
    /// A comparison has ended with a point.
    Resynced,
    /// The source has shut the machine down.
    Stopped,
    /// The source has sealed the machine for this epoch.
    Sealed {
        /// The next owner's.
        next: Epoch,
        /// The last point.
        last: PointId,
    },
    /// The target has accepted a seal, and owns the machine by this epoch.
    Accepted {
        /// The epoch.
        next: Epoch,
    },
    /// The source runs the machine again, of which it was to be handed over.
    RunsAgain,
    /// The source runs the machine, as it was wanted.
    Runs {
        /// At which point it was brought up; none: as it was left there.
        at: Option<PointId>,
    },
    /// The source could not start it, or bring it up.
    CannotRun {
        /// Why.
        why: String,
    },
    /// The target keeps its own writes as a point.
    OwnKept,
    /// The target's disks are the replica now.
    Adopted {
        /// Whether there was anything to adopt: else all is copied.
        had_disks: bool,
    },
    /// The drill's copy runs.
    DrillRuns,
    /// The drill is open for longer than it may be.
    DrillOverdue,
    /// Nothing of the drill is left.
    DrillGone,
    /// A host has the copy of a drill of which this life knows nothing: it was ordered by a vault
    /// that was lost before its word came here.
    DrillFound {
        /// The host.
        host: HostId,
        /// Number of its order.
        order: u64,
        /// At which point.
        at: PointId,
        /// Until when it stays open, as one does of which nobody says it.
        #[serde(default)]
        until_ms: Option<u64>,
    },
    /// Flattening has begun, because its time has come.
    FlattenBegun,
    /// The machine's disks are its own.
    Flattened,
    /// What the disks are of which the source runs the machine. It is its host that knows that: how
    /// the machine came up does not tell it everywhere.
    Disks {
        /// Whether any of them stands on the replica there.
        layered: bool,
    },
    /// A host holds this epoch durably, and owns the machine by it.
    Owned {
        /// The epoch.
        epoch: Epoch,
        /// The host.
        owner: HostId,
        /// Whether the other host has said that it knows this epoch, and does not run the
        /// machine: then it never starts it any more.
        alone: bool,
        /// Whether the other host says that it runs the machine.
        twice: bool,
    },
    /// The machine, or its replica, is on another host of the same side now.
    Moved {
        /// The host that it left.
        from: HostId,
        /// Where it is.
        to: HostId,
    },
}

/// What came of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The life as it is now.
    pub life: Life,
    /// What of all that was under way is given up: its jobs are to be ended, not undone.
    pub supersedes: Supersedes,
    /// What is to be begun.
    pub begins: Option<Begin>,
}

/// What is given up by a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Supersedes {
    /// All goes on.
    #[default]
    Nothing,
    /// Flattening only: a machine on its way, or a test failover, goes on beside that.
    Flattening,
    /// Everything.
    All,
}

/// Work that follows from an order. What it has to reach is in the life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Begin {
    /// The first copy.
    Copy,
    /// The end of protection: both hosts are to know.
    End,
    /// A comparison of everything.
    Resync,
    /// A test failover.
    Drill,
    /// Its end.
    CleanUp,
    /// A hand-over by seal.
    HandOver,
    /// A hand-over that is tried first: where it has not come to its seal in time, the unplanned
    /// failover is ordered anew, without trying.
    TryHandOver,
    /// A hand-over's end, where it began.
    Abort,
    /// Bringing the machine up.
    BringUp,
    /// Letting go what was kept for the choices after a failover.
    Commit,
    /// Flattening.
    Flatten,
    /// Keeping the other side's writes, and adopting its disks.
    Reverse,
}

impl Life {
    /// Goes on by an order or a report.
    ///
    /// # Errors
    /// Why an order is not carried out, and what to do instead. A report is never refused: one
    /// that says nothing new gives the same life.
    pub fn step(&self, input: &Input, facts: &Facts) -> Result<Step, Reason> {
        let mut step = match input {
            Input::Order(order) => self.ordered(order, facts)?,
            Input::Report(report) => self.reported(report),
        };
        if step.life.decides_by() != self.decides_by() {
            step.life.version = self.version + 1;
        }
        Ok(step)
    }

    /// Goes on by a report alone, for which nothing has to be seen around it.
    #[must_use]
    pub fn hear(&self, report: &Report) -> Step {
        let mut step = self.reported(report);
        if step.life.decides_by() != self.decides_by() {
            step.life.version = self.version + 1;
        }
        step
    }

    /// What a person decides by, of which the version tells that it is another.
    fn decides_by(&self) -> impl PartialEq + use<> {
        let at = match &self.stage {
            crate::Stage::FailedOver { at, .. } | crate::Stage::Starting { at, .. } => *at,
            _ => None,
        };
        // Another order to bring it up is another state to think about; a drill's number is not.
        let wanted = match &self.stage {
            crate::Stage::BringingUp(up) => Some((up.point, up.overlay)),
            _ => None,
        };
        let state = match &self.stage {
            // How replication stands is no reason to think again.
            crate::Stage::Replicating => crate::State::Protected,
            _ => self.state(),
        };
        (self.hosts(), self.epoch, self.issued, state, at, wanted, self.rival.map(|rival| rival.epoch))
    }

    /// The same life, with nothing to be done.
    fn stays(&self) -> Step {
        Step { life: self.clone(), supersedes: Supersedes::Nothing, begins: None }
    }

    /// The two hosts change places: the target owns the machine by `epoch`.
    pub(crate) fn turn(&mut self, epoch: Epoch) {
        std::mem::swap(&mut self.source, &mut self.target);
        self.own(epoch);
    }

    /// The source owns the machine by `epoch`.
    pub(crate) fn own(&mut self, epoch: Epoch) {
        (self.epoch, self.unasked) = (epoch, None);
        if self.issued.number <= epoch.number {
            self.issued = epoch;
        }
    }
}

impl Report {
    /// Whether it is of an owner of before. Who owns the machine, and where it is, is heard
    /// from anybody.
    fn is_dead(&self, life: &Life) -> bool {
        let by_any = matches!(self.event, Event::Owned { .. } | Event::Moved { .. });
        !by_any && self.epoch != life.epoch && !bug::is(Bug::HearsTheDead)
    }
}
