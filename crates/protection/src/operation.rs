//! What people may order. This module must never know when they may.

use std::collections::BTreeSet;

use farshore_types::{HostId, PointId};
use serde::{Deserialize, Serialize};

/// An operation of a protection, without what it is ordered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Protect the machine.
    Enable,
    /// End protection; the replica stays or goes as the order to the vault says.
    Disable,
    /// Send nothing for a while.
    Pause,
    /// Go on sending.
    Resume,
    /// Compare everything.
    Resync,
    /// Bring a copy up in an isolated network.
    TestFailover,
    /// Remove every trace of a test failover.
    CleanUp,
    /// Move the machine to the other side without any loss.
    PlannedFailover,
    /// Bring the machine up on the other side at a recovery point.
    UnplannedFailover,
    /// Finish a planned failover that was sealed and not accepted.
    Complete,
    /// Give a planned failover or a cancel up.
    Abort,
    /// Start the machine where it was sealed, though the other side may run it.
    TakeBack,
    /// Bring the failed-over machine up at another point.
    ChangePoint,
    /// Take a failover back.
    Cancel,
    /// End the choices that a failover leaves open.
    Commit,
    /// Make the machine's disks its own again.
    Flatten,
    /// Stop that.
    StopFlatten,
    /// Replicate to the other side.
    Reverse,
    /// Move the machine home without any loss.
    Failback,
    /// Say which of two owners is the right one.
    DeclareWinner,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 20] = [
        Operation::Enable,
        Operation::Disable,
        Operation::Pause,
        Operation::Resume,
        Operation::Resync,
        Operation::TestFailover,
        Operation::CleanUp,
        Operation::PlannedFailover,
        Operation::UnplannedFailover,
        Operation::Complete,
        Operation::Abort,
        Operation::TakeBack,
        Operation::ChangePoint,
        Operation::Cancel,
        Operation::Commit,
        Operation::Flatten,
        Operation::StopFlatten,
        Operation::Reverse,
        Operation::Failback,
        Operation::DeclareWinner,
    ];

    /// Its name in texts and commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Enable => "enable",
            Operation::Disable => "disable",
            Operation::Pause => "pause",
            Operation::Resume => "resume",
            Operation::Resync => "resync",
            Operation::TestFailover => "test-failover",
            Operation::CleanUp => "clean-up",
            Operation::PlannedFailover => "planned-failover",
            Operation::UnplannedFailover => "unplanned-failover",
            Operation::Complete => "complete",
            Operation::Abort => "abort",
            Operation::TakeBack => "take-back",
            Operation::ChangePoint => "change-point",
            Operation::Cancel => "cancel",
            Operation::Commit => "commit",
            Operation::Flatten => "flatten",
            Operation::StopFlatten => "stop-flatten",
            Operation::Reverse => "reverse",
            Operation::Failback => "failback",
            Operation::DeclareWinner => "declare-winner",
        }
    }

    /// What it does, for people.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Operation::Enable => "protect the machine",
            Operation::Disable => "end protection",
            Operation::Pause => "send nothing for a while; changes go on being recorded",
            Operation::Resume => "go on sending",
            Operation::Resync => "compare everything and send what differs",
            Operation::TestFailover => "bring a copy up in an isolated network",
            Operation::CleanUp => "remove every trace of a test failover",
            Operation::PlannedFailover => "move the machine to the other side without any loss",
            Operation::UnplannedFailover => "bring the machine up on the other side at a recovery point",
            Operation::Complete => "finish a hand-over that was sealed and not accepted",
            Operation::Abort => "give a hand-over up; the machine runs again where it was",
            Operation::TakeBack => "start the machine where it was sealed, when the other side is lost",
            Operation::ChangePoint => "bring the failed-over machine up at another point",
            Operation::Cancel => "take a failover back; what was written since is kept as a point",
            Operation::Commit => "end the choices that a failover leaves open",
            Operation::Flatten => "make the machine's disks its own again",
            Operation::StopFlatten => "stop flattening; the machine goes on as it is",
            Operation::Reverse => "replicate to the other side, whose own writes are kept as a point",
            Operation::Failback => "move the machine home without any loss",
            Operation::DeclareWinner => "say which of two owners is the right one",
        }
    }

    /// Whether it is ordered by what was seen, and so must name the version that it saw.
    #[must_use]
    pub const fn names_its_version(self) -> bool {
        matches!(self, Operation::Commit | Operation::Cancel | Operation::ChangePoint)
    }

    /// Whether it never lets both sides run the machine. The others do so only after a person
    /// has confirmed that it may be.
    #[must_use]
    pub const fn is_orderly(self) -> bool {
        !matches!(self, Operation::UnplannedFailover | Operation::TakeBack | Operation::DeclareWinner)
    }
}

/// Which recovery point is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "choice", content = "point")]
pub enum Choice {
    /// The latest, after what has arrived was made a point where that is possible.
    #[default]
    Latest,
    /// The latest that is whole now.
    LatestWhole,
    /// The latest that is whole now, and nothing older than this one: whoever accepted what is lost
    /// was shown it, and never loses more than that.
    NotBefore(PointId),
    /// The latest for which the guest's file systems were frozen.
    LatestApplication,
    /// This one.
    At(PointId),
    /// None: the disks as they are there.
    AsLeft,
}

/// From what a machine is brought up when its point is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlay {
    /// As it was left at that point, with what was written since.
    AsLeft,
    /// As the point is.
    #[default]
    Fresh,
}

/// What the copy of a test failover is connected to. Never the network of production.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", tag = "network", content = "name")]
pub enum DrillNetwork {
    /// Nothing.
    #[default]
    None,
    /// A network of the target's host, by its name.
    Named(String),
    /// One that is made for it, isolated, and removed with it.
    Own,
}

/// What a person who orders something says to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Confirm {
    /// What was written since the point is not there any more.
    DataLoss,
    /// The machine may still run on the other side.
    MayStillRun,
}

impl Confirm {
    /// Its name in texts and commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Confirm::DataLoss => "data-loss",
            Confirm::MayStillRun => "may-still-run",
        }
    }
}

/// What an operation is ordered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Which.
    pub operation: Operation,
    /// The version that was seen when it was decided.
    #[serde(default)]
    pub seen: Option<u64>,
    /// What was confirmed.
    #[serde(default)]
    pub confirmed: BTreeSet<Confirm>,
    /// A random number, for an epoch that may have to be issued.
    #[serde(skip)]
    pub token: u128,
    /// For enabling: the two hosts.
    #[serde(default)]
    pub hosts: Option<Enabling>,
    /// For unplanned and test failovers and changes of point: which.
    #[serde(default)]
    pub point: Choice,
    /// For a change of point.
    #[serde(default)]
    pub overlay: Overlay,
    /// For a planned failover: whether a machine that does not shut down is switched off.
    #[serde(default)]
    pub power_off: bool,
    /// For an unplanned failover: whether the other side is asked to stop the machine first.
    #[serde(default)]
    pub try_to_stop: bool,
    /// For a test failover: what the copy is connected to.
    #[serde(default)]
    pub network: DrillNetwork,
    /// For a test failover: for how many milliseconds it may be open.
    #[serde(default)]
    pub open_ms: Option<u64>,
    /// The instant that comes of it, in milliseconds since the Unix epoch: the vault's to say.
    #[serde(skip)]
    pub until_ms: Option<u64>,
    /// Where a point is named: what the host that has it said when it was asked for it, the point
    /// and its age in milliseconds, or, where it has not that one, the next older one. Told to who has
    /// to confirm the loss; the vault begins nothing with a point that is not there.
    #[serde(skip)]
    pub point_age: Option<(PointId, u64)>,
    /// For cleaning a test failover up: what its people found, to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// For flattening: when; none: now.
    #[serde(default)]
    pub at_ms: Option<u64>,
    /// For an unplanned failover: the host that is meant, where somebody names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<HostId>,
    /// For a conflict: who wins.
    #[serde(default)]
    pub winner: Option<HostId>,
}

/// The hosts of a new protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enabling {
    /// That runs the machine.
    pub source: HostId,
    /// That is to keep the replica.
    pub target: HostId,
}

impl Order {
    /// An order with nothing said besides.
    #[must_use]
    pub fn new(operation: Operation, token: u128) -> Order {
        Order {
            operation,
            seen: None,
            confirmed: BTreeSet::new(),
            token,
            hosts: None,
            point: Choice::Latest,
            overlay: Overlay::Fresh,
            power_off: false,
            try_to_stop: false,
            network: DrillNetwork::None,
            open_ms: None,
            until_ms: None,
            point_age: None,
            notes: None,
            at_ms: None,
            to: None,
            winner: None,
        }
    }

    /// The same, by somebody who saw this version and confirms everything.
    #[must_use]
    pub fn confirmed_at(operation: Operation, version: u64, token: u128) -> Order {
        let confirmed = [Confirm::DataLoss, Confirm::MayStillRun].into();
        Order { seen: Some(version), confirmed, ..Order::new(operation, token) }
    }
}
