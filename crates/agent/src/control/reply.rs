//! What an agent answers. These are the documents of `--output json`: fields are added,
//! never renamed. This module must never know how they are shown.

use std::path::PathBuf;

use farshore_control::report::Problem;
use farshore_types::{Consistency, DiskKey, MachineId, PointId};
use serde::{Deserialize, Serialize};

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To `Machines`.
    Machines(Vec<MachineLine>),
    /// To `Status`.
    Status(Status),
    /// To `Points`.
    Points(Vec<ReplicaPoints>),
    /// To `Verify`.
    Verified(Verified),
    /// To `Export`.
    Exported(Exported),
    /// To `BringUp`.
    BroughtUp(BroughtUp),
    /// To `Adopt`.
    Adopted(Adopted),
    /// To `DropRescued`.
    RescuedDropped(RescuedDropped),
    /// To `Release`.
    Released(Released),
    /// To `Discard`.
    Discarded(Discarded),
    /// A machine that was held is started.
    HeldStarts(HeldStarts),
    /// To `Replicate`.
    Replicated(Replicated),
}

/// A machine of this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineLine {
    /// Its UUID.
    pub id: MachineId,
    /// Its name.
    pub name: String,
    /// `running`, `paused`, `off`, or the hypervisor's word.
    pub power: String,
    /// Its disks.
    pub disks: Vec<DiskLine>,
    /// Whether this host replicates it.
    pub replicated: bool,
    /// The point at which it was brought up here.
    pub brought_up_at: Option<PointId>,
}

/// A disk of a machine of this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskLine {
    /// Its name.
    pub disk: DiskKey,
    /// Bytes.
    pub size: u64,
    /// Format of its image.
    pub format: String,
    /// `bitmap`, `compare` or `left-out`.
    pub tracking: String,
    /// Why it is not tracked by bitmap.
    pub why: Option<String>,
    /// Whether what the guest discards is given back; otherwise the replica never shrinks.
    pub discard: bool,
}

/// Replication from here and to here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The host's name.
    pub host: String,
    /// Whether an agent runs; otherwise nothing is replicated now.
    pub running: bool,
    /// Machines replicated from here.
    pub sources: Vec<SourceLine>,
    /// Replicas kept here.
    pub replicas: Vec<ReplicaLine>,
    /// What is wrong with the host as a whole, of an agent under a vault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// A machine replicated from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceLine {
    /// As configured: name or UUID.
    pub machine: String,
    /// Its UUID, once found.
    pub id: Option<MachineId>,
    /// Where to.
    pub target: String,
    /// Copy frequency in milliseconds.
    pub frequency_ms: u64,
    /// What is done now.
    pub state: String,
    /// Milliseconds from the newest acknowledged point's instant to now.
    pub rpo_ms: Option<u64>,
    /// What stands in the way.
    pub fault: Option<String>,
    /// Everything that the replicator tells.
    pub details: serde_json::Value,
}

/// A replica kept here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaLine {
    /// Whose.
    pub id: MachineId,
    /// The machine's name.
    pub machine: String,
    /// `receiving`, `brought-up`, `bringing-up` or `unusable`.
    pub state: String,
    /// The point at which it was brought up.
    pub brought_up_at: Option<PointId>,
    /// Number of the epoch that may write.
    pub epoch: u64,
    /// Recovery points.
    pub points: usize,
    /// The newest.
    pub newest: Option<PointId>,
    /// Milliseconds from the newest point's instant to now.
    pub rpo_ms: Option<u64>,
    /// Bytes that images and deltas take, holes included.
    pub stored: u64,
    /// What the scrub has done; none where the replica cannot be opened.
    #[serde(default)]
    pub scrub: Option<ScrubLine>,
    /// What opening or the scrub found damaged, or why it cannot be opened.
    pub faults: Vec<String>,
}

/// What the scrub of a replica has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubLine {
    /// When tables were last compared with the chain: milliseconds since the Unix epoch.
    pub tables_checked_ms: Option<u64>,
    /// Images whose tables were wrong and were built anew.
    pub tables_mended: u64,
    /// When all data had last been read.
    pub data_checked_ms: Option<u64>,
    /// Whether data is being read, a little at a time.
    pub reading: bool,
    /// Places of data that are not what was sealed; `faults` names them.
    pub decayed: usize,
}

/// A replica's recovery points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaPoints {
    /// Whose.
    pub id: MachineId,
    /// The machine's name.
    pub machine: String,
    /// Why it cannot be opened.
    pub fault: Option<String>,
    /// Oldest first.
    pub points: Vec<PointLine>,
}

/// A recovery point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointLine {
    /// Its name.
    pub id: PointId,
    /// Digest of its whole content.
    pub root: farshore_types::RootDigest,
    /// Crash- or application-consistent.
    pub consistency: Consistency,
    /// The instant it shows: milliseconds since the Unix epoch.
    pub captured_ms: u64,
    /// Its disks and their sizes in bytes.
    pub disks: Vec<(DiskKey, u64)>,
    /// Bytes of the clusters that changed since the point before.
    pub changed: u64,
    /// Bytes received for it.
    pub received: u64,
    /// Whether stock tools see it in the images by its name.
    pub published: bool,
    /// Who keeps it from being pruned.
    pub pinned_by: Vec<String>,
}

/// A point whose every digest was right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// The machine's name.
    pub machine: String,
    /// The point.
    pub point: PointId,
    /// Bytes of content that were read and matched.
    pub checked: u64,
    /// Bytes that are zeros by the map alone.
    pub zeros: u64,
    /// Bytes read from the images.
    pub read: u64,
    /// Milliseconds it took.
    pub took_ms: u64,
}

/// A point written as flat files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exported {
    /// The machine's name.
    pub machine: String,
    /// The point.
    pub point: PointId,
    /// The files.
    pub disks: Vec<ExportedDisk>,
    /// Milliseconds it took.
    pub took_ms: u64,
}

/// One exported disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportedDisk {
    /// The disk.
    pub disk: DiskKey,
    /// Its file.
    pub path: PathBuf,
    /// Its size in bytes, as the guest sees it.
    pub size: u64,
}

/// A machine that was brought up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BroughtUp {
    /// Its UUID.
    pub id: MachineId,
    /// Its name.
    pub machine: String,
    /// The point.
    pub point: PointId,
    /// The instant that the point shows: milliseconds since the Unix epoch.
    pub captured_ms: u64,
    /// Number of the epoch that was issued for it.
    pub epoch: u64,
    /// Whether it was like that already, and nothing was done.
    pub already: bool,
    /// `running`, `paused` or `off`.
    pub power: String,
    /// Milliseconds from the request to the running machine; none where it was not started.
    pub running_after_ms: Option<u64>,
    /// Its disks' files.
    pub disks: Vec<(DiskKey, PathBuf)>,
    /// Disks of its definition that the point does not have; it came up without them.
    pub without_disks: Vec<DiskKey>,
}

/// Disks whose old copies are the base of a replica now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adopted {
    /// The machine's UUID.
    pub id: MachineId,
    /// Its name; empty before its source has connected.
    pub machine: String,
    /// The disks.
    pub disks: Vec<AdoptedCopy>,
}

/// A disk's old copy that is the base of its replica now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdoptedCopy {
    /// The disk.
    pub disk: DiskKey,
    /// Where the copy was.
    pub from: PathBuf,
    /// Where it is now.
    pub path: PathBuf,
    /// Its format.
    pub format: String,
    /// Size of the disk in bytes.
    pub size: u64,
}

/// Rescued points that were given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RescuedDropped {
    /// The machine's name.
    pub machine: String,
    /// The points.
    pub points: Vec<PointId>,
    /// Those that are left.
    pub left: Vec<PointId>,
}

/// A bring-up that was ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Discarded {
    /// The machine's name.
    pub machine: String,
    /// The point it had been brought up at; none: it was not, and nothing was done.
    pub point: Option<PointId>,
}

/// A replication that ended because it was asked to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replicated {
    /// The machine's name.
    pub machine: String,
    /// Where to.
    pub target: String,
    /// Recovery points made.
    pub points: u64,
    /// The newest.
    pub newest: Option<PointId>,
    /// Bytes sent.
    pub sent: u64,
}

/// One cycle of a replication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CycleLine {
    /// The point it made; none where it failed.
    pub point: Option<PointId>,
    /// Why it failed.
    pub fault: Option<String>,
    /// Bytes of the clusters that the guest dirtied.
    pub dirty: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Milliseconds it took.
    pub took_ms: u64,
    /// Cycles missed so far.
    pub missed: u64,
}

/// A point that is not kept any more for what only it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The machine's name.
    pub machine: String,
    /// Which point.
    pub point: PointId,
    /// Whether it was kept for that until now.
    pub released: bool,
    /// Those that still are.
    pub kept: Vec<PointId>,
}

/// A machine that was held after a boot, and is started by a person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStarts {
    /// The machine's name.
    pub machine: String,
}
