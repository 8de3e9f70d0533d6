//! The life of a protection as a value. This module must never decide what follows from what.

use std::collections::BTreeSet;

use farshore_types::{Epoch, HostId, PointId};
use serde::{Deserialize, Serialize};

use crate::operation::{Choice, DrillNetwork, Overlay};

/// A protection's life, as the vault keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Life {
    /// Rises with every change that an order could be stale by.
    pub version: u64,
    /// The host that owns the machine.
    pub source: HostId,
    /// The host that keeps the replica.
    pub target: HostId,
    /// The host on which it was enabled, and to which a failback leads.
    pub home: HostId,
    /// By which epoch the source owns the machine.
    pub epoch: Epoch,
    /// The highest epoch that was ever issued for the machine; above `epoch` while a failover
    /// waits for its seal, or after one was aborted.
    pub issued: Epoch,
    /// Where it is in its life.
    pub stage: Stage,
    /// How many times it was ordered to be brought up at a point: numbers those orders, so that a
    /// host carries out each of them once.
    #[serde(default)]
    pub ups: u64,
    /// How replication from source to target stands.
    pub copying: Copying,
    /// How it stood before the last failover, the other way: what a cancel goes back to.
    #[serde(default)]
    pub before: Copying,
    /// Whether a person has paused replication.
    #[serde(default)]
    pub paused: bool,
    /// A drill that is not cleaned up yet.
    #[serde(default)]
    pub drill: Option<Drill>,
    /// What the machine's disks are at the source.
    #[serde(default)]
    pub flat: Flat,
    /// Another owner, about which a person has to decide.
    #[serde(default)]
    pub rival: Option<Rival>,
    /// An epoch that the source raised by itself, while it is not known that the other host runs
    /// nothing. Of any other epoch than that of now it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unasked: Option<Epoch>,
}

/// Where a protection is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "stage")]
pub enum Stage {
    /// The machine runs at the source, and is replicated to the target.
    Replicating,
    /// The machine is being handed from the source to the target by seal (rule R3).
    HandingOver(HandOver),
    /// The target has accepted, is the source since, and starts the machine.
    Starting {
        /// What for.
        why: Why,
        /// The point it starts from; none: as it was left there.
        at: Option<PointId>,
        /// Why it could not be started, if it could not.
        failed: Option<String>,
    },
    /// The machine is being brought up at the source, by an epoch that needs no seal.
    BringingUp(BringUp),
    /// The machine runs on the other side; that can still be taken back.
    FailedOver {
        /// How it came there.
        kind: Kind,
        /// The point it was brought up at.
        at: Option<PointId>,
        /// Points at which it was brought up before: their overlays are kept.
        kept: BTreeSet<PointId>,
    },
    /// The machine runs at the source, and is not protected before somebody reverses.
    Committed,
    /// What the target has beyond the source is kept as a point, then its disks are adopted.
    Reversing {
        /// Whether its own writes are kept already.
        kept: bool,
    },
    /// Protection has ended.
    Disabled,
}

/// A machine on its way from the source to the target, by seal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandOver {
    /// What for.
    pub why: Why,
    /// How far it is.
    pub phase: Phase,
    /// By which epoch the target will own it.
    pub next: Epoch,
    /// The last point, once it is sealed.
    pub last: Option<PointId>,
    /// Whether the machine is switched off where it does not shut down by itself.
    pub power_off: bool,
    /// Where an abort leads back to.
    pub back: Back,
}

/// What a hand-over is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A planned failover, or a failback: nothing is lost.
    Planned,
    /// A failover is taken back: what was written since is kept as a point.
    Cancel,
}

/// How far a hand-over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    /// The machine is being shut down.
    Stopping,
    /// It is off; what is left is being sent.
    Stopped,
    /// It is sealed, and not accepted yet.
    Sealed,
    /// Somebody wants it back.
    Aborting {
        /// Whether it was sealed: then the target must refuse first.
        sealed: bool,
    },
}

/// Where an abort leads back to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "back")]
pub enum Back {
    /// The machine was replicated.
    Replicating,
    /// It was failed over.
    FailedOver {
        /// How it came there.
        kind: Kind,
        /// The point it was brought up at.
        at: Option<PointId>,
        /// Points whose overlays are kept.
        kept: BTreeSet<PointId>,
    },
}

/// How a machine came to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// By seal: nothing was lost, and it is protected in reverse at once.
    Planned,
    /// At a recovery point, by a person's word.
    Unplanned,
}

/// A machine that is being brought up by an epoch which needs no seal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BringUp {
    /// What comes after it.
    pub then: Contest,
    /// At which point.
    pub point: Choice,
    /// From what, at that point.
    #[serde(default)]
    pub overlay: Overlay,
    /// Points at which it was brought up before: their overlays are kept.
    pub kept: BTreeSet<PointId>,
    /// Why it could not be brought up, if it could not.
    pub failed: Option<String>,
}

/// By what a machine was brought up without a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contest {
    /// Unplanned failover.
    Failover,
    /// The failed-over machine goes to another point.
    OtherPoint,
    /// It is taken back by the host that had sealed it.
    TakeBack,
    /// It was declared the winner.
    Winner,
}

/// How replication from source to target stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Copying {
    /// Nothing is to flow.
    #[default]
    Off,
    /// The first copy: the target has no whole point of this source yet.
    Seeding,
    /// Everything is compared, or waits for that; earlier points are whole.
    Resync,
    /// Cycles run.
    Steady,
}

/// A drill.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Drill {
    /// How far it is.
    pub phase: DrillPhase,
    /// Whether it is open for longer than it may be.
    pub overdue: bool,
    /// The host that has it.
    #[serde(default)]
    pub host: Option<HostId>,
    /// Tells it from those before it: a number out of [`Life::ups`].
    #[serde(default)]
    pub order: u64,
    /// At which point.
    #[serde(default)]
    pub point: Choice,
    /// What its copy is connected to.
    #[serde(default)]
    pub network: DrillNetwork,
    /// When it is cleaned up by itself, in milliseconds since the Unix epoch by the vault's clock.
    #[serde(default)]
    pub until_ms: Option<u64>,
}

/// How far a drill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillPhase {
    /// It is being brought up.
    Opening,
    /// It runs.
    Open,
    /// Its traces are being removed.
    CleaningUp,
}

/// What a machine's disks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "flat")]
pub enum Flat {
    /// Disks of their own.
    #[default]
    Own,
    /// Overlays on the replica, which read more slowly.
    Layered,
    /// To be flattened at this time.
    Scheduled {
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Being flattened: nothing is replicated meanwhile.
    Flattening,
}

/// Another owner of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rival {
    /// By which epoch.
    pub epoch: Epoch,
    /// On which host.
    pub owner: HostId,
}

impl Drill {
    /// Milliseconds for which one is open where nobody says it.
    pub const OPEN_MS: u64 = 24 * 3_600_000;

    /// One at the latest point, connected to nothing.
    #[must_use]
    pub fn of(phase: DrillPhase) -> Drill {
        let network = DrillNetwork::None;
        Drill { phase, overdue: false, host: None, order: 0, point: Choice::Latest, network, until_ms: None }
    }
}

impl Life {
    /// Whether a test failover is open: one whose traces are being removed is not.
    #[must_use]
    pub fn has_open_drill(&self) -> bool {
        self.drill.as_ref().is_some_and(|drill| drill.phase != DrillPhase::CleaningUp)
    }

    /// Whether the source owns the machine by an epoch that it raised by itself, and it is not
    /// known yet whether the other host runs it too.
    #[must_use]
    pub fn awaits_the_other(&self) -> bool {
        self.unasked == Some(self.epoch)
    }

    /// The life of a protection that begins now, by an epoch that was issued for it.
    #[must_use]
    pub fn begin(source: HostId, target: HostId, epoch: Epoch) -> Life {
        Life {
            version: 1,
            source,
            target,
            home: source,
            epoch,
            issued: epoch,
            stage: Stage::Replicating,
            ups: 0,
            copying: Copying::Seeding,
            before: Copying::Off,
            paused: false,
            drill: None,
            flat: Flat::Own,
            rival: None,
            unasked: None,
        }
    }

    /// The life of a protection that was kept before there were lives: who owned the machine,
    /// whether it was paused, whether it has ended, and whether the target has a whole point.
    #[must_use]
    pub fn of_before(
        hosts: [HostId; 2],
        epoch: Epoch,
        paused: bool,
        ended: bool,
        has_point: bool,
        conflict: Option<Epoch>,
    ) -> Life {
        let [source, target] = hosts;
        let copying = if has_point { Copying::Steady } else { Copying::Seeding };
        let rival = conflict.map(|epoch| Rival { epoch, owner: target });
        let begun = Life { copying, rival, paused, ..Life::begin(source, target, epoch) };
        if ended {
            Life { stage: Stage::Disabled, copying: Copying::Off, paused: false, ..begun }
        } else {
            begun
        }
    }

    /// Its two hosts, the source first.
    #[must_use]
    pub fn hosts(&self) -> [HostId; 2] {
        [self.source, self.target]
    }

    /// Whether the machine is on the other side than where it was enabled.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.source != self.home
    }

    /// Whether a point is one at which the machine was brought up before, and was left: it stays
    /// until the failover is committed.
    #[must_use]
    pub fn keeps_point(&self, point: PointId) -> bool {
        match &self.stage {
            Stage::FailedOver { kept, .. } | Stage::BringingUp(BringUp { kept, .. }) => kept.contains(&point),
            _ => false,
        }
    }

    /// Whether recovery points grow old now: not from a failover until it is committed, for
    /// those are what it can still be changed to.
    #[must_use]
    pub fn points_age(&self) -> bool {
        matches!(self.stage, Stage::Replicating | Stage::Disabled) && self.rival.is_none()
    }

    /// Whether the points of before the last failover must stay whatever their age: until
    /// replication the other way has its first whole point.
    #[must_use]
    pub fn keeps_history(&self) -> bool {
        !self.points_age() || self.copying != Copying::Steady
    }

    /// The same of the points that a host has. Those that come to the target while replication the
    /// other way runs already, before a planned failover is committed, are thinned out as ever.
    #[must_use]
    pub fn keeps_history_on(&self, host: HostId) -> bool {
        self.keeps_history() && (host == self.source || self.copying != Copying::Steady)
    }
}
