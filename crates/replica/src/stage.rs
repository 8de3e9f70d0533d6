//! Stages that the replica makes by itself, without a source: what it adopted, and numbers
//! that it leaves behind. A source learns of them when it connects, and goes on from there.

use farshore_delta::{DeltaError, DeltaWriter, ElementKind, Footer, RootBuilder};
use farshore_types::{PointId, PointRef, RootDigest};

use crate::{Replica, ReplicaError};

impl Replica {
    /// Seals a stage, durably, of this epoch at least, with a number above the last element's and
    /// `above`. `write` puts all disks into the file and into the root.
    pub(crate) fn seal_stage(
        &mut self,
        (epoch, above): (u64, u64),
        write: impl FnOnce(&mut DeltaWriter, &mut RootBuilder) -> Result<(), DeltaError>,
    ) -> Result<PointRef, ReplicaError> {
        let before = self.chain.last_ref();
        let epoch = epoch.max(before.map_or(0, |b| b.id.epoch));
        let id = PointId { epoch, number: above.max(before.map_or(0, |b| b.id.number)) + 1 };
        let mut root = RootBuilder::new(before.map_or(RootDigest::NONE, |b| b.root), id);
        let now = self.clock.wall_ms();
        let footer = Footer {
            id,
            parent: before.map(|b| b.id),
            root: RootDigest::NONE,
            kind: ElementKind::Stage,
            captured_ms: now,
            steady_ms: Some(self.steady_ms(now, self.clock.monotonic())),
            sealed_ms: now,
            received: 0,
            disks: Vec::new(),
            definition: (0, 0),
            definition_crc: 0,
        };
        let path = self.layout.delta(id);
        let element = self.write_element(footer, &[], |writer, footer| {
            write(writer, &mut root).map_err(|source| ReplicaError::Delta { id, path, source })?;
            footer.root = root.finish();
            Ok(())
        });
        let element = element.map_err(|failed| failed.error)?;
        let sealed = PointRef { id, root: element.footer().root };
        self.chain.elements.push(element);
        Ok(sealed)
    }
}
