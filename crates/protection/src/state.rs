//! A protection's state in one word, as it is shown, counted and looked up. It is derived from
//! a life, never kept. This module must never decide what is allowed.

use serde::{Deserialize, Serialize};

use crate::life::{Contest, Copying, Kind, Life, Phase, Stage, Why};

/// The state of a protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = LifeState))]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not protected.
    Disabled,
    /// The first copy is being made.
    Seeding,
    /// Cycles run.
    Protected,
    /// Everything is being compared.
    Resynchronizing,
    /// The machine is being shut down, to be handed over.
    Stopping,
    /// It is off, and its last cycle is being sent.
    LastCycle,
    /// It is sealed, and not accepted.
    Sealed,
    /// A hand-over is being given up.
    Aborting,
    /// It was accepted, and is being started.
    Starting,
    /// It is being brought up at a recovery point.
    BringingUp,
    /// It was moved by a planned failover, is protected in reverse, and not committed.
    MovedOver,
    /// It was brought up by an unplanned failover, and not committed.
    FailedOver,
    /// It is brought up at another point.
    ChangingPoint,
    /// A failover is being taken back.
    Cancelling,
    /// It runs, and is not protected until it is reversed.
    Committed,
    /// The other side's own writes are kept, and its disks adopted.
    Reversing,
    /// Two hosts own the machine.
    Contested,
}

impl State {
    /// All of them.
    pub const ALL: [State; 17] = [
        State::Disabled,
        State::Seeding,
        State::Protected,
        State::Resynchronizing,
        State::Stopping,
        State::LastCycle,
        State::Sealed,
        State::Aborting,
        State::Starting,
        State::BringingUp,
        State::MovedOver,
        State::FailedOver,
        State::ChangingPoint,
        State::Cancelling,
        State::Committed,
        State::Reversing,
        State::Contested,
    ];

    /// Its name in texts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Disabled => "disabled",
            State::Seeding => "seeding",
            State::Protected => "protected",
            State::Resynchronizing => "resynchronizing",
            State::Stopping => "stopping",
            State::LastCycle => "last-cycle",
            State::Sealed => "sealed",
            State::Aborting => "aborting",
            State::Starting => "starting",
            State::BringingUp => "bringing-up",
            State::MovedOver => "moved-over",
            State::FailedOver => "failed-over",
            State::ChangingPoint => "changing-point",
            State::Cancelling => "cancelling",
            State::Committed => "committed",
            State::Reversing => "reversing",
            State::Contested => "contested",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            State::Disabled => "the machine is not protected",
            State::Seeding => "the first copy is being made",
            State::Protected => "the machine is replicated, cycle by cycle",
            State::Resynchronizing => "everything is compared; earlier points are whole",
            State::Stopping => "the machine is being shut down, to be moved",
            State::LastCycle => "the machine is off, and its last cycle is being sent",
            State::Sealed => "the machine is sealed and not accepted: it runs nowhere",
            State::Aborting => "the move is being given up",
            State::Starting => "the other side has accepted the machine and starts it",
            State::BringingUp => "the machine is being brought up at a recovery point",
            State::MovedOver => "the machine was moved, and is protected in reverse; not committed",
            State::FailedOver => "the machine was brought up at a recovery point; not committed",
            State::ChangingPoint => "the machine is being brought up at another point",
            State::Cancelling => "the failover is being taken back",
            State::Committed => "the machine runs, and is not protected until it is reversed",
            State::Reversing => "the other side's own writes are kept, and its disks adopted",
            State::Contested => "two hosts own the machine, and nothing is replicated",
        }
    }
}

impl Life {
    /// The state it is in.
    #[must_use]
    pub fn state(&self) -> State {
        if self.stage == Stage::Disabled {
            return State::Disabled;
        }
        if self.rival.is_some() {
            return State::Contested;
        }
        match &self.stage {
            Stage::Disabled => State::Disabled,
            Stage::Replicating => match self.copying {
                Copying::Seeding => State::Seeding,
                Copying::Resync => State::Resynchronizing,
                Copying::Steady | Copying::Off => State::Protected,
            },
            Stage::HandingOver(over) => match (over.phase, over.why) {
                (Phase::Aborting { .. }, _) => State::Aborting,
                (Phase::Sealed, _) => State::Sealed,
                (_, Why::Cancel) => State::Cancelling,
                (Phase::Stopping, Why::Planned) => State::Stopping,
                (Phase::Stopped, Why::Planned) => State::LastCycle,
            },
            Stage::Starting { .. } => State::Starting,
            Stage::BringingUp(up) if up.then == Contest::OtherPoint => State::ChangingPoint,
            Stage::BringingUp(_) => State::BringingUp,
            Stage::FailedOver { kind: Kind::Planned, .. } => State::MovedOver,
            Stage::FailedOver { kind: Kind::Unplanned, .. } => State::FailedOver,
            Stage::Committed => State::Committed,
            Stage::Reversing { .. } => State::Reversing,
        }
    }
}
