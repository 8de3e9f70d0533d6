//! What is known of a machine's disks when the machine changes hands, so that nothing is read
//! or sent for that: the old source knows at which point it left them, cluster by cluster; the
//! new one learns of the point from which it starts what the old one has. This module must
//! never decide who has a machine.

use std::{io, path::Path, sync::Arc};

use farshore_env::{File, Files, OpenMode, read_exact_at};
use farshore_hypervisor::{BackupDisk, BackupMode, BackupSpec, Hypervisor, Machine, Tracking};
use farshore_types::{Digest, DiskKey, PointRef, clusters_in};

use crate::{
    CaptureError,
    cycle::{checkpoint_name, scratch_path},
    map::{DigestMap, Record, digests_name},
    replicator::is_as_left,
};

/// The point at which a machine's disks were left here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The point. The target holds it.
    pub point: PointRef,
    /// The disks, and their sizes in bytes.
    pub disks: Vec<(DiskKey, u64)>,
}

/// Where the machine, which is off, was left by its replication: none where it has written
/// since, or where that cannot be told.
///
/// # Errors
/// Where what is kept in `state` cannot be read.
pub fn left_at(
    files: &Arc<dyn Files>,
    state: &Path,
    machine: &Machine,
) -> Result<Option<Left>, CaptureError> {
    let map = DigestMap::open(Arc::clone(files), state)?;
    let record = map.record();
    let whole = record.sealed == record.point && is_as_left(machine, record);
    Ok(record.point.filter(|_| whole).map(|point| Left { point, disks: record.disks.clone() }))
}

/// The newest point that the replication of a machine has sealed, or may have: what the
/// machine's own writes come after. With the instant that the last one shows which is sealed for
/// certain, in milliseconds since the Unix epoch by this host's clock.
///
/// # Errors
/// Where what is kept in `state` cannot be read.
pub fn newest_known(
    files: &Arc<dyn Files>,
    state: &Path,
) -> Result<Option<(PointRef, Option<u64>)>, CaptureError> {
    let map = DigestMap::open(Arc::clone(files), state)?;
    let point = map.pending_point()?.or(map.record().sealed);
    Ok(point.map(|point| (point, map.record().captured_ms)))
}

/// The digests of a disk as the map in `state` has them, one for each cluster.
///
/// # Errors
/// Where there are none.
pub fn digests(
    files: &Arc<dyn Files>,
    state: &Path,
    disk: &DiskKey,
    size: u64,
) -> Result<impl ExactSizeIterator<Item = io::Result<Digest>> + Send + use<>, CaptureError> {
    let path = state.join(digests_name(disk));
    let failed = |source| CaptureError::State { what: "reading", path: path.clone(), source };
    let file = files.open(&path, OpenMode::Read).map_err(failed)?;
    let held = file.size().map_err(failed)? / Digest::LEN as u64;
    Ok(Kept { file, held, next: 0, count: clusters_in(size) })
}

struct Kept {
    file: Arc<dyn File>,
    held: u64,
    next: u64,
    count: u64,
}

impl Iterator for Kept {
    type Item = io::Result<Digest>;

    fn next(&mut self) -> Option<io::Result<Digest>> {
        let cluster = (self.next < self.count).then_some(self.next)?;
        self.next += 1;
        let mut digest = Digest::ZERO;
        if cluster >= self.held {
            return Some(Ok(digest));
        }
        Some(read_exact_at(&*self.file, &mut digest.0, cluster * Digest::LEN as u64).map(|()| digest))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.count - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Kept {}

/// Takes the checkpoint from which a machine's first cycle here starts: while it stands still,
/// before it has written anything. None where no disk of it has bitmaps.
///
/// # Errors
/// As the hypervisor reports; then the first cycle compares everything.
pub async fn take_checkpoint(
    hypervisor: &dyn Hypervisor,
    machine: &Machine,
    runtime: &Path,
) -> Result<Option<String>, CaptureError> {
    let tracked = machine.disks.iter().filter(|disk| matches!(disk.tracking, Tracking::Bitmap));
    let disks: Vec<BackupDisk> = tracked
        .map(|disk| BackupDisk {
            key: disk.key.clone(),
            mode: BackupMode::Full,
            tracked: true,
            scratch: scratch_path(runtime, &disk.key),
        })
        .collect();
    if disks.is_empty() {
        return Ok(None);
    }
    let name = checkpoint_name();
    let spec = BackupSpec { disks, socket: runtime.join("backup.sock"), checkpoint: Some(name.clone()) };
    hypervisor.begin_backup(machine.id, &spec).await?;
    hypervisor.end_backup(machine.id).await?;
    Ok(Some(name))
}

/// Makes the digest map of a machine that starts here from a point which the other host has.
/// Until it is finished, nothing is known, and the first session compares.
pub struct Learning {
    map: DigestMap,
}

impl Learning {
    /// Forgets what the map in `state` knew.
    ///
    /// # Errors
    /// As the system reports.
    pub fn begin(files: &Arc<dyn Files>, state: &Path) -> Result<Learning, CaptureError> {
        let mut map = DigestMap::open(Arc::clone(files), state)?;
        map.reset()?;
        Ok(Learning { map })
    }

    /// Takes digests of a disk, by cluster, ascending.
    ///
    /// # Errors
    /// As the system reports.
    pub fn take(&mut self, disk: &DiskKey, size: u64, entries: &[(u64, Digest)]) -> Result<(), CaptureError> {
        self.map.fill(disk, size, entries)
    }

    /// All is taken: the map is the point's, and what changed since is in the checkpoint.
    ///
    /// # Errors
    /// As the system reports.
    pub fn finish(mut self, known: Left, checkpoint: Option<String>) -> Result<(), CaptureError> {
        let Left { point, disks } = known;
        let record =
            Record { sealed: Some(point), point: Some(point), disks, checkpoint, ..Record::default() };
        self.map.set_record(record)
    }
}
