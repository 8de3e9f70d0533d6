//! Adoption: a disk that is here already becomes the backing file of its replica, and
//! only what differs is ever stored.

use std::{io, path::Path};

use farshore_delta::{Entry, Place, SourceChange};
use farshore_types::{Digest, DiskKey, PointRef, clusters_in};

use crate::{Adopted, AdoptedDisk, Replica, ReplicaError, layout};

impl Replica {
    /// The disks that were adopted.
    pub fn adopted(&self) -> impl Iterator<Item = (&DiskKey, &Adopted)> {
        self.state.adopted.iter()
    }

    /// Whether the disk's adoption is done: one that was cut has no map yet, and is repeated.
    #[must_use]
    pub fn is_adopted(&self, disk: &DiskKey) -> bool {
        let mapped = || self.chain.last().is_some_and(|last| last.delta.disk(disk).is_some());
        self.state.adopted.contains_key(disk) && mapped()
    }

    /// Where an adopted disk's file is, or is moved to.
    #[must_use]
    pub fn adopted_path(&self, disk: &DiskKey) -> std::path::PathBuf {
        self.layout.adopted(disk)
    }

    /// Whether the disk can be adopted now.
    ///
    /// # Errors
    /// [`ReplicaError::NotNow`] where the replica has points, or the disk, already;
    /// [`ReplicaError::BroughtUp`].
    pub fn check_adoptable(&mut self, disk: &DiskKey) -> Result<(), ReplicaError> {
        self.check_receiving()?;
        let why = if self.open.is_some() {
            "its source is just sending it; stop replication at the source first".to_owned()
        } else if self.chain.points().next().is_some() {
            "the replica has recovery points already; a copy is adopted before the first one".to_owned()
        } else if self.chain.last().is_some_and(|last| last.delta.disk(disk).is_some()) {
            format!("the replica already has disk {disk}; adopt before the first cycle")
        } else {
            return Ok(());
        };
        Err(ReplicaError::NotNow { what: "adopting a disk", why })
    }

    /// Adopts a disk: moves its file from `from` into the replica, whose points read it from
    /// now on wherever the source sends nothing newer. `digests` are those of all its
    /// clusters, in order. Nobody may write the file any more. Where a crash cut it, it is
    /// repeated with [`Replica::adopted_path`].
    ///
    /// # Errors
    /// As [`Replica::check_adoptable`]; what the file, `digests` or the system report.
    pub fn adopt(
        &mut self,
        disk: &DiskKey,
        from: &Path,
        digests: impl ExactSizeIterator<Item = io::Result<Digest>>,
    ) -> Result<PointRef, ReplicaError> {
        self.check_adoptable(disk)?;
        let (size, format) = {
            let found = AdoptedDisk::open(&*self.files, from)?;
            (found.size(), found.format())
        };
        if digests.len() as u64 != clusters_in(size) {
            let why = format!("it has {} clusters, not {}", clusters_in(size), digests.len());
            return Err(ReplicaError::NotNow { what: "adopting a disk", why });
        }
        self.move_in(disk, from)?;
        // The file first, the record then, and the map last: in between, whatever the source
        // sends hides the file (see `hidden_by_zeros`), and all is sent.
        let path = layout::file_name(&self.layout.adopted(disk));
        let mut next = self.state.clone();
        next.adopted.insert(disk.clone(), Adopted { path, format: format.to_owned(), size });
        self.save(next)?;
        self.ensure_image(disk, size)?;
        let kept: Vec<(DiskKey, u64)> = self.disks();
        // Before everything that a source ever sends: what is sealed next may be of an epoch of
        // before, where a machine's own disks become its replica.
        self.seal_stage((0, 0), |writer, root| {
            for (key, size) in &kept {
                writer.begin_disk(key.clone(), *size, *size)?;
                root.disk(key, *size, std::iter::empty());
            }
            writer.begin_disk(disk.clone(), size, 0)?;
            let mut failed = None;
            let mut cluster = 0;
            let changes = digests.map(|digest| {
                let digest = digest.unwrap_or_else(|e| {
                    failed.get_or_insert(e.into());
                    Digest::ZERO
                });
                let entry = Entry { cluster, place: Place::Backing, digest };
                // What the map does not name is zeros, in the file as well.
                if !digest.is_zero()
                    && failed.is_none()
                    && let Err(e) = writer.push(&entry)
                {
                    failed = Some(e);
                }
                cluster += 1;
                SourceChange { cluster: entry.cluster, digest }
            });
            root.disk(disk, size, changes);
            failed.map_or(Ok(()), Err)
        })
    }

    fn move_in(&self, disk: &DiskKey, from: &Path) -> Result<(), ReplicaError> {
        let to = self.layout.adopted(disk);
        if from == to {
            return Ok(());
        }
        let moved = self.files.rename(from, &to).and_then(|()| {
            self.files.sync_dir(self.layout.dir())?;
            from.parent().map_or(Ok(()), |dir| self.files.sync_dir(dir))
        });
        moved.map_err(|e| self.io("moving the adopted disk into the replica", e))
    }
}

/// Clusters that an element has to name as zeros where its own changes do not: an adopted
/// file has bytes there that no element has spoken for, and stock tools would show them. So
/// it is where the disk grows again after it was smaller, or came back after it was away.
pub(crate) fn hidden_by_zeros(adopted: Option<&Adopted>, had: u64, size: u64) -> std::ops::Range<u64> {
    let end = clusters_in(adopted.map_or(0, |a| a.size).min(size));
    let start = clusters_in(had).min(end);
    if crate::bug::is(crate::bug::Bug::ShowAdopted) { end..end } else { start..end }
}
