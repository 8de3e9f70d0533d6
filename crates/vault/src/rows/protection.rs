//! Protections, and the epochs by which machines are owned.

use std::collections::BTreeSet;

use farshore_control::{CardAddress, InitialCopy, Intent, Settings};
use farshore_protection::Life;
use farshore_types::{DiskKey, Epoch, HostId, MachineId, PointId, PolicyId, RequestId};
use serde::{Deserialize, Serialize};

/// A machine's protection. It stays when it has ended, so that nothing is taken for new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub struct ProtectionRow {
    /// The machine.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// The policy it follows; none for one that was only learned of.
    #[serde(default)]
    pub policy: Option<PolicyId>,
    /// Settings that were learned and beat the policy's, until that is changed (rule R6).
    #[serde(default)]
    pub settings: Option<Settings>,
    /// Its life: its two hosts, who owns the machine and by what, and what is going on.
    pub life: Life,
    /// How the first copy is made.
    #[serde(default)]
    pub initial: InitialCopy,
    /// How often a resync was asked for.
    #[serde(default)]
    pub resync: u64,
    /// Disks that are left out.
    #[serde(default)]
    pub excluded: BTreeSet<DiskKey>,
    /// Directory for the replica, chosen when it was enabled; none: the host's default.
    #[serde(default)]
    pub place: Option<String>,
    /// The host for which it was chosen; none: before it was kept, for the one at the other side
    /// of home.
    #[serde(default)]
    pub place_on: Option<HostId>,
    /// When it was enabled, in milliseconds since the Unix epoch; 0: it was learned of.
    #[serde(default)]
    pub enabled_ms: u64,
    /// Something that people should know of it.
    #[serde(default)]
    pub note: Option<String>,
    /// That it has ended.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// Where its replica is on the way from, until the copy on the target is whole.
    #[serde(default)]
    pub leaving: Option<Leaving>,
    /// The addresses that the guest should have, by card.
    #[serde(default)]
    pub addresses: Vec<CardAddress>,
    /// Test failovers that were cleaned up, the last [`DRILLS_KEPT`] of them, the newest last.
    #[serde(default)]
    pub drills: Vec<DrillRecord>,
    /// Another host, none of its two, that runs a machine of the same identity at the same time:
    /// nothing is replicated meanwhile.
    #[serde(default)]
    pub twin: Option<HostId>,
}

/// Test failovers that are remembered of each protection.
pub const DRILLS_KEPT: usize = 10;

/// A test failover that was cleaned up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillRecord {
    /// Tells it from the others.
    pub order: u64,
    /// At which point its copy was, if it came to one.
    #[serde(default)]
    pub at: Option<PointId>,
    /// The host that had it.
    #[serde(default)]
    pub host: Option<HostId>,
    /// Whether its copy ran when it was ordered away.
    pub ran: bool,
    /// Why it did not.
    #[serde(default)]
    pub failed: Option<String>,
    /// Whether it was cleaned up because its time was over.
    #[serde(default)]
    pub overdue: bool,
    /// When it was ordered away, in milliseconds since the Unix epoch.
    pub ended_ms: u64,
    /// What its people found.
    #[serde(default)]
    pub notes: Option<String>,
}

/// A replica on another host than the target: the whole one, until the target has a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The host that has it.
    pub host: HostId,
    /// Its directory there; none: the host's default.
    #[serde(default)]
    pub place: Option<String>,
    /// The epoch by which the copy on the target is written: of any other, this says nothing.
    pub by: Epoch,
}

/// The end of a protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Why.
    pub why: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What becomes of the replica.
    pub replica: ReplicaFate,
}

/// What becomes of a replica whose protection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "replica")]
pub enum ReplicaFate {
    /// It stays.
    Kept,
    /// It is to be deleted, once both hosts know that the protection has ended.
    ToDelete,
    /// Its host was asked to delete it.
    Asked {
        /// By which request.
        request: RequestId,
    },
    /// It is deleted.
    Deleted,
}

/// The highest epoch that is known of a machine, whether it is protected or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The machine.
    pub machine: MachineId,
    /// The epoch.
    pub epoch: Epoch,
    /// Whose it is.
    pub owner: HostId,
    /// Another one of the same number that some host holds (rule R4).
    #[serde(default)]
    pub conflict: Option<Epoch>,
}

impl ProtectionRow {
    /// Whether it has not ended.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ended.is_none()
    }

    /// The host that owns the machine.
    #[must_use]
    pub fn source(&self) -> HostId {
        self.life.source
    }

    /// The host that keeps the replica.
    #[must_use]
    pub fn target(&self) -> HostId {
        self.life.target
    }

    /// Its two hosts, the source first.
    #[must_use]
    pub fn hosts(&self) -> [HostId; 2] {
        self.life.hosts()
    }

    /// Whether cycles are to run from source to target.
    #[must_use]
    pub fn intent(&self) -> Intent {
        if self.life.wanted().copies { Intent::Replicate } else { Intent::Pause }
    }

    /// It has ended.
    pub(crate) fn has_ended(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
        self.life = self.life.ended();
    }

    /// Where the replica is to lie on the target, if that was chosen for it.
    #[must_use]
    pub fn place_at_target(&self) -> Option<String> {
        let same = self.place_on.map_or(!self.life.is_away(), |host| host == self.target());
        self.place.clone().filter(|_| same)
    }

    /// Whether its life was made of what was kept before there were lives, and who owns the
    /// machine by which epoch has still to be said.
    pub(crate) fn is_of_before(&self) -> bool {
        self.life.epoch.number == 0
    }

    /// Where its replica is on the way from, by the highest epoch that is known.
    #[must_use]
    pub fn leaving_by(&self, epoch: Option<&EpochRow>) -> Option<&Leaving> {
        self.leaving.as_ref().filter(|leaving| epoch.is_some_and(|row| row.epoch == leaving.by))
    }
}

/// As it is stored: of before there were lives, its hosts and what was wanted stand for one.
#[derive(Deserialize)]
struct Kept {
    machine: MachineId,
    name: String,
    #[serde(default)]
    policy: Option<PolicyId>,
    #[serde(default)]
    settings: Option<Settings>,
    #[serde(default)]
    life: Option<Life>,
    #[serde(default)]
    source: Option<HostId>,
    #[serde(default)]
    target: Option<HostId>,
    #[serde(default)]
    intent: Option<Intent>,
    #[serde(default)]
    initial: InitialCopy,
    #[serde(default)]
    resync: u64,
    #[serde(default)]
    excluded: BTreeSet<DiskKey>,
    #[serde(default)]
    place: Option<String>,
    #[serde(default)]
    place_on: Option<HostId>,
    #[serde(default)]
    enabled_ms: u64,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    ended: Option<Ended>,
    #[serde(default)]
    leaving: Option<Leaving>,
    #[serde(default)]
    addresses: Vec<CardAddress>,
    #[serde(default)]
    drills: Vec<DrillRecord>,
    #[serde(default)]
    twin: Option<HostId>,
}

impl From<Kept> for ProtectionRow {
    fn from(kept: Kept) -> ProtectionRow {
        let of_before = || {
            let nobody = HostId(uuid::Uuid::nil());
            let hosts = [kept.source, kept.target].map(|host| host.unwrap_or(nobody));
            let epoch = Epoch { number: 0, token: 0 };
            let (paused, ended) = (kept.intent == Some(Intent::Pause), kept.ended.is_some());
            Life::of_before(hosts, epoch, paused, ended, true, None)
        };
        ProtectionRow {
            life: kept.life.clone().unwrap_or_else(of_before),
            machine: kept.machine,
            name: kept.name,
            policy: kept.policy,
            settings: kept.settings,
            initial: kept.initial,
            resync: kept.resync,
            excluded: kept.excluded,
            place: kept.place,
            place_on: kept.place_on,
            enabled_ms: kept.enabled_ms,
            note: kept.note,
            ended: kept.ended,
            leaving: kept.leaving,
            addresses: kept.addresses,
            twin: kept.twin,
            drills: kept.drills,
        }
    }
}
