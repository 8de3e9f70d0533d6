//! The words every other crate speaks: machine and disk names, epochs, points,
//! digests, the cluster. Plain values with their rules; this crate must never know
//! how any of them is stored, sent or captured.

mod digest;
mod epoch;
mod ids;
mod names;
mod principal;

pub use digest::{Digest, DigestParseError, RootDigest};
pub use epoch::{Epoch, EpochOrder, PointId, PointParseError, PointRef};
pub use ids::{CloudId, HostId, IdError, JobId, PolicyId, RegistrationId, RequestId, SiteId, VaultId};
pub use names::{DiskKey, MachineId, NameError};
pub use principal::{Principal, PrincipalError};

/// Size in bytes of the unit in which disks are tracked, digested, sent and stored.
///
/// It equals QEMU's default dirty-bitmap granularity and the default qcow2 cluster.
pub const CLUSTER_SIZE: usize = 64 * 1024;

/// Bytes of a block: the part of a cluster that small writes are told apart by.
pub const BLOCK_SIZE: usize = 4 * 1024;

/// Blocks of a cluster.
pub const BLOCKS: usize = CLUSTER_SIZE / BLOCK_SIZE;

/// [`CLUSTER_SIZE`] as a 64-bit count of bytes.
pub const CLUSTER_BYTES: u64 = 64 * 1024;

/// Number of clusters that a disk of `size` bytes has; a last, partial one counts.
#[must_use]
pub const fn clusters_in(size: u64) -> u64 {
    size.div_ceil(CLUSTER_BYTES)
}

/// Whether a recovery point froze the guest's file systems first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// The disks as a power cut at that instant would have left them, all at the same instant.
    Crash,
    /// The guest's agent held its file systems frozen while the instant was taken.
    Application,
}

impl Consistency {
    /// In a word, for lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Consistency::Crash => "crash",
            Consistency::Application => "application",
        }
    }
}
