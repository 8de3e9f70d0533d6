//! How this host stands with one machine, as far as it must be known after a crash: kept in
//! the ledger, durable before it is acted on. A value; this module must never look at anything.

use std::path::PathBuf;

use farshore_control::{
    ownership::{Lineage, Seal},
    standing::Adopted,
};
use farshore_protection::{BroughtUp, Want, Wanted, fence::Boots};
use farshore_types::{DiskKey, Epoch, HostId, MachineId, PointId, PointRef};
use serde::{Deserialize, Serialize};

use super::{addresses::AddressKept, drill::DrillKept};

/// How this host stands with one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Station {
    /// Which machine.
    pub machine: MachineId,
    /// How it was brought up here last.
    #[serde(default)]
    pub brought_up: Option<BroughtUp>,
    /// How it is being brought up: noted before it may run, so that whoever finds it running
    /// knows at what, and never begins anew what its users have written since.
    #[serde(default)]
    pub coming_up: Option<BroughtUp>,
    /// The epoch by which a person has taken it here, where the other host is still to be told.
    #[serde(default)]
    pub taking: Option<Epoch>,
    /// A seal that came from the other host.
    #[serde(default)]
    pub arrived: Option<Seal>,
    /// The seal that was accepted here last.
    #[serde(default)]
    pub accepted: Option<Seal>,
    /// Whether the machine of that seal is started as it was left here, and not at its point.
    #[serde(default)]
    pub starts_as_left: bool,
    /// The epoch whose seal the other host is known to have.
    #[serde(default)]
    pub delivered: Option<Epoch>,
    /// By which owner's epoch the disks here became the replica.
    #[serde(default)]
    pub turned: Option<Adopted>,
    /// A turn that was begun: what it works on is not found by looking any more.
    #[serde(default)]
    pub turning: Option<Turning>,
    /// The point that a failover can be taken back to, which is pinned until it is committed.
    #[serde(default)]
    pub back: Option<PointId>,
    /// Whether its copy here was stopped or isolated, and by which owner's epoch.
    #[serde(default)]
    pub fenced: Option<Epoch>,
    /// Whether what runs here may be cut off from the network, because another host owned it when
    /// that was done: until it is seen to be off, or was brought up.
    #[serde(default)]
    pub cut_off: bool,
    /// By which owner's epoch its guest was asked to shut down here, where it may do so late.
    #[serde(default)]
    pub asked: Option<Epoch>,
    /// Whether the host was to start the machine when it boots, before that became ours to say.
    #[serde(default)]
    pub autostart: Option<bool>,
    /// Whether that was given back to the host, when the protection was over.
    #[serde(default)]
    pub autostart_given: bool,
    /// Which other host knows of it.
    #[serde(default)]
    pub autostart_told: Option<HostId>,
    /// A test failover that was begun here.
    #[serde(default)]
    pub drill: Option<DrillKept>,
    /// Whether disks may be on their way to get everything into their own images.
    #[serde(default)]
    pub flattening: bool,
    /// Addresses that networks of this host keep for its cards, because of us.
    #[serde(default)]
    pub addresses: Vec<AddressKept>,
    /// In which boots of this host it was known to be this host's, and ran.
    #[serde(default)]
    pub boots: Boots<String>,
}

/// Disks that are on their way to become the replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turning {
    /// By which owner's epoch.
    pub epoch: Epoch,
    /// Disks of the machine's own, with their files; empty: overlays on the replica.
    pub disks: Vec<(DiskKey, PathBuf)>,
    /// The disks on which the machine ran, where that were overlays, and others that it got
    /// meanwhile; empty: nobody knows any more.
    #[serde(default)]
    pub ran_on: Vec<(DiskKey, PathBuf)>,
    /// The point that the disks are, where the other host has it.
    pub left: Option<PointRef>,
    /// The disks at that point, and their sizes in bytes.
    #[serde(default)]
    pub sizes: Vec<(DiskKey, u64)>,
    /// Number of the point that keeps what only this host has, and its epoch.
    pub own: (u64, u64),
    /// Names of the points that keep what was put aside: epoch, first number, and the one after the
    /// last.
    #[serde(default)]
    pub shelf: (u64, u64, u64),
    /// The instant by this host's clock at which both hosts may have had the same last.
    #[serde(default)]
    pub captured_ms: Option<u64>,
}

impl Station {
    /// That of a machine of which nothing is known.
    #[must_use]
    pub fn of(machine: MachineId) -> Station {
        Station {
            machine,
            brought_up: None,
            coming_up: None,
            taking: None,
            arrived: None,
            accepted: None,
            starts_as_left: false,
            delivered: None,
            turned: None,
            turning: None,
            back: None,
            fenced: None,
            cut_off: false,
            asked: None,
            autostart: None,
            autostart_given: false,
            autostart_told: None,
            drill: None,
            flattening: false,
            addresses: Vec::new(),
            boots: Boots::default(),
        }
    }

    /// The seal by which the epoch that is held came to this host.
    #[must_use]
    pub fn accepted_for(&self, lineage: &Lineage) -> Option<Seal> {
        self.accepted.filter(|seal| seal.next == lineage.epoch)
    }

    /// By which order of the epoch that is held the machine was brought up here.
    #[must_use]
    pub fn brought_up_by(&self, lineage: &Lineage) -> Option<u64> {
        self.brought_up.filter(|up| up.epoch == lineage.epoch).map(|up| up.order)
    }

    /// How it is being brought up here by the epoch that is held.
    #[must_use]
    pub fn coming_up_by(&self, lineage: &Lineage) -> Option<BroughtUp> {
        self.coming_up.filter(|up| up.epoch == lineage.epoch)
    }

    /// Whether what runs here is cut off though it is this host's by now: it came back by a seal, or
    /// is to be brought up, and was not yet. Of one that is this host's by anything else it is its
    /// users' business.
    #[must_use]
    pub fn is_cut_off(&self, lineage: &Lineage, wanted: &Wanted) -> bool {
        let ordered =
            wanted.epoch == lineage.epoch && matches!(wanted.of(lineage.owner), Want::BringUp { .. });
        let came = self.accepted_for(lineage).is_some() || ordered;
        self.cut_off && came && self.brought_up_by(lineage).is_none()
    }

    /// Whether the replica here may take what the owner sends.
    #[must_use]
    pub fn has_turned(&self, lineage: &Lineage) -> bool {
        self.turned.is_some_and(|turned| turned.epoch == lineage.epoch)
    }

    /// A seal of this host's that the other one may not have yet.
    #[must_use]
    pub fn undelivered(&self, lineage: &Lineage) -> Option<Seal> {
        lineage.seal.filter(|seal| self.delivered != Some(seal.next))
    }
}
