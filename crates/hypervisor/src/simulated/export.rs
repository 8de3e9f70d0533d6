//! One disk of a simulated backup. This module must never see the disk as it is now.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use farshore_extent::{Run, Runs};
use farshore_types::{CLUSTER_BYTES, clusters_in};

use super::{
    Operation, Simulated,
    image::{Content, read},
    wrong,
};
use crate::{Export, Kind, Result};

/// Longest read, in bytes: QEMU's own.
const MAX_READ: u32 = 32 * 1024 * 1024;

/// A disk at an instant.
pub(super) struct Snapshot {
    pub(super) size: u64,
    pub(super) content: Content,
    pub(super) dirty: Option<Runs>,
}

pub(super) struct SimulatedExport {
    pub(super) host: Simulated,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) ended: Arc<AtomicBool>,
}

impl SimulatedExport {
    async fn ready(&self, operation: Operation, verb: &'static str) -> Result<()> {
        let mut fate = self.host.faults().next(operation);
        fate.meet(verb).await?;
        if self.ended.load(Ordering::Acquire) {
            return Err(wrong(verb, Kind::Connection, "the backup has ended"));
        }
        fate.conclude(verb, Ok(()))
    }

    fn check(&self, verb: &'static str, run: Run) -> Result<()> {
        if run.start.checked_add(run.len).is_none_or(|end| end > self.snapshot.size) {
            return Err(wrong(verb, Kind::Invalid, format!("the disk ends at {}", self.snapshot.size)));
        }
        Ok(())
    }
}

#[async_trait]
impl Export for SimulatedExport {
    fn size(&self) -> u64 {
        self.snapshot.size
    }

    fn max_read(&self) -> u32 {
        MAX_READ
    }

    async fn allocated(&self, range: Run) -> Result<Runs> {
        const VERB: &str = "find the data of";
        self.ready(Operation::Allocated, VERB).await?;
        self.check(VERB, range)?;
        let clusters = self.snapshot.content.range(range.start / CLUSTER_BYTES..clusters_in(range.end()));
        let bytes =
            clusters.map(|(c, _)| Run { start: c * CLUSTER_BYTES, len: CLUSTER_BYTES }).collect::<Runs>();
        Ok(bytes.intersect(&Runs::from_iter([range])))
    }

    async fn dirty(&self, range: Run) -> Result<Option<Runs>> {
        const VERB: &str = "find the changes of";
        self.ready(Operation::Dirty, VERB).await?;
        self.check(VERB, range)?;
        Ok(self.snapshot.dirty.as_ref().map(|dirty| dirty.intersect(&Runs::from_iter([range]))))
    }

    async fn read(&self, offset: u64, len: u32) -> Result<Bytes> {
        const VERB: &str = "read a disk of";
        self.ready(Operation::Read, VERB).await?;
        self.check(VERB, Run { start: offset, len: len.into() })?;
        if len == 0 || len > MAX_READ {
            return Err(wrong(VERB, Kind::Invalid, format!("reads have 1 to {MAX_READ} bytes, not {len}")));
        }
        Ok(read(&self.snapshot.content, offset, len.into()).into())
    }
}
