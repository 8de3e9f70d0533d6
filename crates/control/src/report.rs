//! What an agent sees, whole: a report replaces the one before it. The inventory, which is
//! large and seldom changes, is left out where the receiver has it already.

use std::collections::BTreeMap;

use farshore_types::{Consistency, DiskKey, Epoch, HostId, MachineId, PointId, RequestId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Document, Key, Standing, Version, ownership::Lineage, request::Outcome};

/// What one host's agent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Which host.
    pub host: HostId,
    /// This run of the agent: a new one starts with every start.
    pub run: Uuid,
    /// Rises with every report of a run; an older one says nothing new.
    pub sequence: u64,
    /// Whether somebody waits for what is new in it: a step of a failover. Whoever passes it on
    /// does that at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// The agent's version.
    pub agent_version: String,
    /// Milliseconds since the Unix epoch by the host's clock, to see its skew.
    pub clock_ms: u64,
    /// Milliseconds since what is told here was measured: the last round trip with the
    /// receiver, so that no age is ever told too small.
    pub transit_ms: u64,
    /// Milliseconds since the Unix epoch until which the host's certificate is valid.
    #[serde(default)]
    pub certificate_until_ms: u64,
    /// Digest of the inventory, whether it is here or not.
    pub inventory_digest: String,
    /// The inventory, where the receiver does not have that of the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// Bytes free where replicas and scratch files are kept.
    pub space: Vec<Space>,
    /// Machines that this host replicates.
    pub sources: Vec<SourceState>,
    /// Replicas that this host keeps.
    pub replicas: Vec<ReplicaState>,
    /// What it durably holds of each machine's lineage.
    pub lineages: Vec<Lineage>,
    /// How it stands with each machine that a document of a protection names, or that it has
    /// brought up. An agent of before says nothing.
    #[serde(default)]
    pub standings: Vec<Standing>,
    /// The version that it holds of each document.
    #[serde(with = "as_pairs")]
    pub holds: BTreeMap<Key, Version>,
    /// Documents that the receiver asked for, because it may know less.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<Document>,
    /// What no document names and is kept all the same (rule R5).
    pub unclaimed: Vec<Unclaimed>,
    /// Outcomes of requests that were not acknowledged yet.
    pub outcomes: Vec<Outcome>,
    /// What is wrong with the host as a whole.
    pub problems: Vec<Problem>,
}

/// What the receiver of a report says to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReply {
    /// The inventory of that digest is not known: send it.
    pub wants_inventory: bool,
    /// All documents that the host holds are wanted, because the receiver is learning (R6).
    #[serde(default)]
    pub wants_documents: bool,
    /// Requests whose outcomes are durable with the vault: they can be forgotten.
    pub acknowledged: Vec<RequestId>,
}

/// Something wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Fault))]
pub struct Problem {
    /// A short fixed word for programs, such as `space-low`.
    pub code: String,
    /// What and where.
    pub what: String,
    /// What to do; empty where what is wrong says it already.
    pub advice: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

/// A host and what is on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The host itself.
    pub host: HostFacts,
    /// Its machines.
    pub machines: Vec<MachineFacts>,
    /// Networks that machines can be connected to.
    pub networks: Vec<String>,
    /// Where disks can be kept.
    pub storage: Vec<StorageClass>,
}

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Kind of hypervisor, such as `QEMU`.
    pub hypervisor: String,
    /// Its version.
    pub hypervisor_version: String,
    /// Version of libvirt.
    pub libvirt_version: String,
    /// Architecture, such as `x86_64`.
    pub arch: String,
    /// Processors.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
}

/// A machine of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFacts {
    /// Its UUID.
    pub id: MachineId,
    /// Its name.
    pub name: String,
    /// `running`, `paused`, `off`, or the hypervisor's word.
    pub power: String,
    /// Its disks.
    pub disks: Vec<DiskFacts>,
    /// The networks of its cards, in the order of the definition; none where a card is not
    /// connected to a network that can be mapped.
    pub networks: Vec<Option<String>>,
    /// The hardware addresses of its cards, in lower case, where the definition has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cards: Vec<String>,
    /// Whether Farshore brought it up here, and at which point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought_up_at: Option<PointId>,
    /// Whether it has a TPM, whose state is in no recovery point.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tpm: bool,
}

/// Steps in which is told what a disk takes, in bytes.
pub const ALLOCATED_STEP: u64 = 4 << 30;

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFacts {
    /// Its name.
    pub key: DiskKey,
    /// Bytes.
    pub size: u64,
    /// Bytes that it takes on its host, rounded up to steps of [`ALLOCATED_STEP`] so that it is
    /// not news all the time; none: its host cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<u64>,
    /// Format of its image.
    pub format: String,
    /// Where it is kept: a name of [`StorageClass`], where it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// `bitmap`, `compare` or `left-out`.
    pub tracking: String,
    /// Why it is not tracked by bitmap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A place for disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageClass {
    /// Its name.
    pub name: String,
    /// Its directory on this host.
    pub path: String,
    /// Whether it is the host's default.
    pub default: bool,
}

/// Room at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Space {
    /// The directory.
    pub path: String,
    /// For what: `replicas` or `scratch`.
    pub of: String,
    /// Bytes free.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A machine that this host replicates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceState {
    /// Which.
    pub machine: MachineId,
    /// By which epoch.
    pub epoch: Epoch,
    /// What is going on.
    pub phase: SourcePhase,
    /// The last point that the target holds for certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<PointAge>,
    /// Sums since this run of the agent.
    pub totals: CycleTotals,
    /// The last cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_cycle: Option<CycleFacts>,
    /// Bytes that wait to be sent, as far as they are known.
    #[serde(default)]
    pub pending: u64,
    /// Highest resync asked for that was done.
    #[serde(default)]
    pub resynced: u64,
    /// Disks that are not replicated by bitmap, and why.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Its application-consistent points; an agent of before, which makes none, says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<AppPoints>,
}

/// Application-consistent points of a machine since its replication was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPoints {
    /// How many were made.
    pub made: u64,
    /// How many were to be made, and are crash-consistent.
    pub failed: u64,
    /// Why the last one of these is, and what to do; none where the last try came to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Milliseconds that the guest's file systems stood still at most, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ms: Option<u64>,
    /// Why they may stand still now, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unthawed: Option<String>,
}

/// What a source does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum SourcePhase {
    /// It has begun; nothing can be said yet.
    Starting,
    /// The first copy is being made.
    Seeding {
        /// Bytes of disk looked at.
        done: u64,
        /// Bytes of disk in all.
        total: u64,
    },
    /// Cycles run.
    Replicating,
    /// Everything is read once and compared, because the record of changes was lost.
    Resynchronizing {
        /// Why.
        why: String,
        /// Bytes of disk looked at.
        done: u64,
        /// Bytes of disk in all.
        total: u64,
    },
    /// A resync is needed and waits for its window, or for being asked for.
    ResyncNeeded {
        /// Why.
        why: String,
    },
    /// It was paused, as wanted.
    Paused,
    /// The first copy waits: for its time, or for a medium.
    Waiting {
        /// For what.
        why: String,
    },
    /// The last try failed; the next one comes by itself.
    Retrying {
        /// Why it failed.
        why: String,
    },
    /// It cannot go on without a person.
    Failed {
        /// Why.
        why: String,
    },
}

/// A point and how old it is. Ages cross between clocks; instants do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointAge {
    /// Which.
    pub id: PointId,
    /// Milliseconds from its instant to when this was measured.
    pub age_ms: u64,
}

/// Sums of cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CycleTotals {
    /// Cycles that were sealed.
    pub cycles: u64,
    /// Ticks at which none could begin.
    pub missed: u64,
    /// Cycles that failed.
    pub failed: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Milliseconds that the sealed ones took in all.
    pub took_ms: u64,
    /// Resyncs.
    pub resyncs: u64,
}

/// One cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleFacts {
    /// The point it made.
    pub point: PointId,
    /// Bytes that had been dirtied.
    pub dirty: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Milliseconds from its tick to the durable acknowledgement.
    pub took_ms: u64,
}

/// A replica that this host keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// Whose.
    pub machine: MachineId,
    /// The machine's name.
    pub name: String,
    /// By which epoch it may be written.
    pub epoch: Epoch,
    /// What it does.
    pub phase: ReplicaPhase,
    /// Its newest point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<PointAge>,
    /// Whether that is crash- or application-consistent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// Its newest application-consistent point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_application: Option<PointAge>,
    /// Its oldest point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<PointAge>,
    /// How many points it has.
    pub points: u64,
    /// Bytes it takes.
    pub stored: u64,
    /// What is damaged.
    pub faults: Vec<String>,
    /// Points that keep what was written on this host alone, until somebody releases them. An
    /// agent of before says nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_writes: Vec<PointId>,
}

/// What a replica does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum ReplicaPhase {
    /// It takes cycles.
    Receiving,
    /// The machine was brought up here.
    BroughtUp {
        /// At which point.
        point: PointId,
    },
    /// It cannot be opened.
    Unusable,
}

/// Something that is here and that no document names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unclaimed {
    /// Whose.
    pub machine: MachineId,
    /// The machine's name.
    pub name: String,
    /// `source` or `replica`.
    pub role: String,
    /// By which epoch.
    pub epoch: Epoch,
}

/// Maps whose keys are not texts, as lists of pairs: JSON knows no other way.
mod as_pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(d: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Vec::<(K, V)>::deserialize(d).map(|pairs| pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use farshore_types::VaultId;

    use super::*;
    use crate::Term;

    #[test]
    fn a_report_survives_its_text() {
        let term = Term { number: 1, vault: VaultId(Uuid::nil()) };
        let host = HostId(Uuid::nil());
        let report = HostReport {
            host,
            run: Uuid::nil(),
            sequence: 1,
            urgent: false,
            agent_version: "0.1.0".to_owned(),
            clock_ms: 1,
            transit_ms: 2,
            certificate_until_ms: 3,
            inventory_digest: "x".to_owned(),
            inventory: Some(Inventory::default()),
            space: Vec::new(),
            sources: Vec::new(),
            replicas: Vec::new(),
            standings: vec![Standing::of(MachineId(Uuid::nil()))],
            lineages: vec![Lineage::new(MachineId(Uuid::nil()), Epoch { number: 1, token: u128::MAX }, host)],
            holds: [(Key::Host(host), Version { term, generation: 4 })].into(),
            documents: Vec::new(),
            unclaimed: Vec::new(),
            outcomes: Vec::new(),
            problems: Vec::new(),
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<HostReport>(&text).unwrap(), report);
        // Also through a tree of values, which knows no numbers of 128 bits.
        let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::from_value::<HostReport>(tree).unwrap(), report);
    }

    #[test]
    fn an_agent_of_before_says_nothing_of_its_own_writes() {
        let point = PointId { epoch: 2, number: 43 };
        let mut state = ReplicaState {
            machine: MachineId(Uuid::nil()),
            name: "web1".to_owned(),
            epoch: Epoch { number: 2, token: 7 },
            phase: ReplicaPhase::Receiving,
            newest: None,
            consistency: None,
            newest_application: None,
            oldest: None,
            points: 1,
            stored: 1,
            faults: Vec::new(),
            own_writes: vec![point],
        };
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<ReplicaState>(&text).unwrap(), state);
        state.own_writes.clear();
        let before = serde_json::to_string(&state).unwrap();
        assert!(!before.contains("own_writes"));
        assert_eq!(serde_json::from_str::<ReplicaState>(&before).unwrap(), state);
    }
}
