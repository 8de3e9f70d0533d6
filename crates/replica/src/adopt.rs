//! Adoption: a disk that is here already becomes the backing file of its replica, and
//! only what differs is ever stored.

use farshore_delta::{ElementKind, Entry, Footer, Place, RootBuilder, SourceChange};
use farshore_types::{Digest, DiskKey, PointId, PointRef, RootDigest};

use crate::{Adopted, Replica, ReplicaError};

impl Replica {
    /// Adopts a disk of a replica that has no element yet. `digests` are those of the
    /// disk's clusters, ascending; zeros may be left out. The disk must not be written by
    /// anyone from now on: the caller has moved it off its old path and withdrawn the
    /// definition that named it.
    ///
    /// # Errors
    /// [`ReplicaError::NotNow`] where the replica has the disk already; what `digests`
    /// or the system report.
    pub fn adopt(
        &mut self,
        disk: &DiskKey,
        size: u64,
        adopted: Adopted,
        digests: impl Iterator<Item = std::io::Result<(u64, Digest)>>,
    ) -> Result<PointRef, ReplicaError> {
        self.check_receiving()?;
        if self.images.contains_key(disk) {
            let why = format!("the replica already has disk {disk}; adopt before the first cycle");
            return Err(ReplicaError::NotNow { what: "adopting a disk", why });
        }
        let digests: Vec<(u64, Digest)> = digests
            .filter(|d| !matches!(d, Ok((_, digest)) if digest.is_zero()))
            .collect::<Result<_, _>>()
            .map_err(|e| self.io("reading the adopted disk", e))?;
        let mut next = self.state.clone();
        next.adopted.insert(disk.clone(), adopted);
        self.save(next)?;
        self.ensure_image(disk, size)?;
        let before = self.chain.last_ref();
        let number = before.map_or(0, |b| b.id.number) + 1;
        let id = PointId { epoch: self.state.epoch.number, number };
        let mut root = RootBuilder::new(before.map_or(RootDigest::NONE, |b| b.root), id);
        root.disk(disk, size, digests.iter().map(|(c, d)| SourceChange { cluster: *c, digest: *d }));
        let now = self.clock.wall_ms();
        let footer = Footer {
            id,
            parent: before.map(|b| b.id),
            root: root.finish(),
            kind: ElementKind::Stage,
            captured_ms: now,
            sealed_ms: now,
            received: 0,
            disks: Vec::new(),
            definition: (0, 0),
            definition_crc: 0,
        };
        let kept: Vec<(DiskKey, u64)> = self.disks();
        let root = footer.root;
        let element = self.write_element(footer, &[], |writer| {
            // The disks adopted before stay as they are.
            let fail = |source| ReplicaError::Delta { id, path: disk.to_string().into(), source };
            for (key, size) in kept.iter().filter(|(key, _)| key != disk) {
                writer.begin_disk(key.clone(), *size, *size).map_err(fail)?;
            }
            writer.begin_disk(disk.clone(), size, 0).map_err(fail)?;
            for (cluster, digest) in &digests {
                let entry = Entry { cluster: *cluster, place: Place::Backing, digest: *digest };
                writer.push(&entry).map_err(fail)?;
            }
            Ok(())
        });
        self.chain.elements.push(element.map_err(|failed| failed.error)?);
        Ok(PointRef { id, root })
    }
}
