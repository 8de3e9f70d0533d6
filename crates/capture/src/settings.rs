//! What the owner decides about one machine's replication.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use farshore_env::{Clock, Files};
use farshore_hypervisor::Hypervisor;
use farshore_link::{Dial, RateLimit};
use farshore_types::{DiskKey, Epoch, MachineId};
use serde::{Deserialize, Serialize};

use crate::{AppFrequency, FreezeLimits, Hurry, ResyncGate};

/// Shortest copy frequency.
pub(crate) const FREQUENCY_MIN: Duration = Duration::from_secs(1);

/// Longest copy frequency.
pub(crate) const FREQUENCY_MAX: Duration = Duration::from_secs(3600);

/// Whether clusters are compressed on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// While the link is slower than compressing; not where it outruns it.
    #[default]
    Auto,
    /// Always (a cluster that does not shrink travels as it is).
    On,
    /// Never.
    Off,
}

/// Settings of one machine's replication.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time from one cycle's instant to the next; 1 s to 1 h.
    pub frequency: Duration,
    /// Compression on the wire, and so of the replica.
    pub compression: Compression,
    /// Whether of clusters that changed in a few 4 KiB blocks only those are sent, where the
    /// target takes that: costs hashing what changed twice, and 128 bytes per such cluster.
    pub small_writes: bool,
    /// Disks the user leaves out.
    pub excluded: BTreeSet<DiskKey>,
    /// How often a comparison of everything has been asked for; a higher number than the one
    /// that was last begun begins one.
    pub resync: u64,
    /// Whether one may begin by itself; may be changed while running.
    pub resync_gate: ResyncGate,
    /// Asks for a cycle out of turn.
    pub hurry: Hurry,
    /// Bandwidth limit; may be changed while running.
    pub rate: RateLimit,
    /// How often a point is to be application-consistent; may be changed while running.
    pub apps: AppFrequency,
    /// How long anything about a freeze may take.
    pub freeze: FreezeLimits,
    /// Longest time that one backup of an initial copy or resync is kept open.
    pub slice: Duration,
    /// Longest time that the backup of an ordinary cycle is kept open: then a stage is
    /// sealed, and the rest of the changes follows in slices.
    pub hold: Duration,
    /// Changed clusters of one cycle, all disks together, at which a stage is sealed. They
    /// are held in memory, 24 bytes each, here and at the target, which takes about two
    /// million per disk.
    pub clusters_max: usize,
    /// A cycle is given up when less than this is free where scratch files are, in bytes.
    pub scratch_reserve: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            frequency: Duration::from_secs(30),
            compression: Compression::default(),
            small_writes: true,
            excluded: BTreeSet::new(),
            resync: 0,
            resync_gate: ResyncGate::default(),
            hurry: Hurry::default(),
            rate: RateLimit::new(None),
            apps: AppFrequency::default(),
            freeze: FreezeLimits::default(),
            slice: Duration::from_secs(20),
            hold: Duration::from_secs(300),
            clusters_max: 512 << 10,
            scratch_reserve: 256 << 20,
        }
    }
}

impl Settings {
    /// The frequency within its bounds.
    pub(crate) fn frequency(&self) -> Duration {
        self.frequency.clamp(FREQUENCY_MIN, FREQUENCY_MAX)
    }
}

/// Where one machine's replication keeps its things.
#[derive(Clone, Debug)]
pub struct Places {
    /// Digest map and record; durable, the agent's alone.
    pub state: PathBuf,
    /// Socket and scratch files of backups; short-lived, writable by QEMU's user.
    pub runtime: PathBuf,
}

/// Everything that one machine's replication works with.
#[derive(Clone)]
pub struct Parts {
    /// The host's hypervisor.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// How the target is reached.
    pub dial: Arc<dyn Dial>,
    /// Where durable state is kept.
    pub files: Arc<dyn Files>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The machine.
    pub machine: MachineId,
    /// The epoch by which this host owns it.
    pub epoch: Epoch,
    /// This agent's name, for the target's log.
    pub agent: String,
    /// What the owner decided.
    pub settings: Settings,
    /// Where things are kept.
    pub places: Places,
}
