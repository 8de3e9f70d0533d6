//! Protections, and the epochs by which machines are owned.

use std::collections::BTreeSet;

use farshore_control::{InitialCopy, Intent, Settings};
use farshore_types::{DiskKey, Epoch, HostId, MachineId, PolicyId, RequestId};
use serde::{Deserialize, Serialize};

/// A machine's protection. It stays when it has ended, so that nothing is taken for new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The host that runs the machine.
    pub source: HostId,
    /// The host that keeps the replica.
    pub target: HostId,
    /// What is to happen now.
    pub intent: Intent,
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

    /// Its two hosts.
    #[must_use]
    pub fn hosts(&self) -> [HostId; 2] {
        [self.source, self.target]
    }

    /// Where its replica is on the way from, by the highest epoch that is known.
    #[must_use]
    pub fn leaving_by(&self, epoch: Option<&EpochRow>) -> Option<&Leaving> {
        self.leaving.as_ref().filter(|leaving| epoch.is_some_and(|row| row.epoch == leaving.by))
    }
}
