//! One session's work: cycles into the store, digests out of it. This module must never
//! decide who may write.

use std::sync::Arc;

use async_trait::async_trait;
use farshore_delta::ElementKind;
use farshore_link::Receiver;
use farshore_replica::{CycleStart, Incoming, SealRequest, Stored};
use farshore_types::{DiskKey, PointRef};
use farshore_wire::{
    Body, DigestPage, DiskSize, Failure, FailureCode, Held, OpenCycle, Outcome, Record, Seal,
};

use super::{digests::DigestPages, refusal::failure};
use crate::{OpenReplica, replicas::blocking};

/// Puts one session's cycles into a replica.
pub(super) struct ReplicaReceiver {
    replica: Arc<OpenReplica>,
    /// Disks of the open cycle, in its order.
    disks: Vec<DiskSize>,
    pages: Option<DigestPages>,
}

impl ReplicaReceiver {
    /// `disks` are those of a cycle that goes on.
    pub(super) fn new(replica: Arc<OpenReplica>, disks: Vec<DiskSize>) -> ReplicaReceiver {
        ReplicaReceiver { replica, disks, pages: None }
    }

    fn place_of(&self, disk: &DiskKey) -> Result<usize, Failure> {
        self.disks.iter().position(|d| d.key == *disk).ok_or_else(|| {
            let message = format!("disk '{disk}' takes no part in the open cycle");
            Failure::new(FailureCode::BadRecord, message, "report this as a fault")
        })
    }
}

#[async_trait]
impl Receiver for ReplicaReceiver {
    async fn open_cycle(&mut self, open: &OpenCycle) -> Result<(), Failure> {
        self.pages = None;
        self.disks.clone_from(&open.disks);
        let disks = open.disks.iter().map(|d| (d.key.clone(), d.size)).collect();
        let start = CycleStart { number: open.cycle, base: open.base, disks };
        let opened = self.replica.run(move |store| store.begin_cycle(start)).await;
        opened.map_err(|e| failure(&e, FailureCode::BaseMismatch))
    }

    async fn append(&mut self, disk: &DiskKey, records: Vec<Record>) -> Result<(), Failure> {
        let place = self.place_of(disk)?;
        // Hashed before the store is locked: another session's upkeep need not wait for it.
        let checked = blocking(move || check(records)).await;
        let stored = match checked {
            Ok(records) => {
                let append = move |store: &mut farshore_replica::Replica| {
                    store.append(place, &records.iter().map(incoming).collect::<Vec<_>>())
                };
                self.replica.run(append).await.map_err(|e| failure(&e, FailureCode::BadRecord))
            }
            Err(why) => Err(why),
        };
        if stored.is_err() {
            self.replica.run(farshore_replica::Replica::give_up_cycle).await;
        }
        stored
    }

    async fn seal(&mut self, seal: Seal) -> Result<PointRef, Failure> {
        let kind = match seal.outcome {
            Outcome::Stage => ElementKind::Stage,
            Outcome::Point(consistency) => ElementKind::Point(consistency),
        };
        let request =
            SealRequest { kind, age_ms: seal.age_ms, root: seal.root, definition: seal.definition.to_vec() };
        let sealed = self.replica.run(move |store| store.seal(&request)).await;
        self.replica.mark_sealed();
        sealed.map_err(|e| failure(&e, FailureCode::RootMismatch))
    }

    async fn abort(&mut self, cycle: u64, why: &Failure) {
        tracing::info!(cycle, %why, "cycle given up");
        self.replica.run(farshore_replica::Replica::give_up_cycle).await;
    }

    async fn digests(&mut self, disk: &DiskKey, from: u64) -> Result<DigestPage, Failure> {
        let mut pages = match self.pages.take().filter(|pages| pages.goes_on(disk, from)) {
            Some(pages) => pages,
            None => DigestPages::open(&self.replica, disk, from).await,
        };
        let page = pages.next().await.map_err(|e| failure(&e, FailureCode::Storage))?;
        self.pages = page.next.is_some().then_some(pages);
        Ok(page)
    }

    async fn lost(&mut self, held: Option<Held>) {
        self.pages = None;
        if held.is_none() {
            self.replica.run(farshore_replica::Replica::give_up_cycle).await;
        }
        *self.replica.held() = held;
    }
}

/// Checks that what came has the digests it came with.
///
/// A compressed record is only checked for its form: unpacking it would cost more than all
/// else on this path. TLS guards it on its way, and every reader checks it against its digest.
fn check(records: Vec<Record>) -> Result<Vec<Record>, Failure> {
    for record in &records {
        record.verify().map_err(|error| {
            let advice = "the cycle is run again; if this repeats, check the source's memory";
            Failure::new(FailureCode::BadRecord, error.to_string(), advice)
        })?;
    }
    Ok(records)
}

fn incoming(record: &Record) -> Incoming<'_> {
    let stored = match &record.body {
        Body::Raw(bytes) => Stored::Raw(bytes),
        Body::Zstd(bytes) => Stored::Compressed(bytes),
        Body::Zero | Body::Discard => Stored::Zero,
    };
    Incoming { cluster: record.cluster, digest: record.digest, stored }
}
