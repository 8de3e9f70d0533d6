//! One session's work: cycles into the store, digests out of it. This module must never
//! decide who may write.

use std::sync::Arc;

use async_trait::async_trait;
use farshore_delta::ElementKind;
use farshore_link::{Caller, Receiver};
use farshore_replica::{
    BaseReader, CycleStart, Incoming, Patch, Patched, PointReader, Replica, ReplicaError, SealRequest,
    Stored, unpacked,
};
use farshore_types::{DiskKey, Epoch, PointRef};
use farshore_wire::{
    Body, CycleKind, DigestPage, DiskSize, Failure, FailureCode, Held, OpenCycle, Outcome, Record, Seal,
};

use super::{digests::DigestPages, refusal::failure};
use crate::{OpenReplica, config::CheckReceived, managed};

/// Puts one session's cycles into a replica.
pub(super) struct ReplicaReceiver {
    replica: Arc<OpenReplica>,
    /// By which its source owns the machine.
    epoch: Epoch,
    /// Who its source is, and by what that is known.
    source: Caller,
    check: CheckReceived,
    /// Disks of the open cycle, in its order.
    disks: Vec<DiskSize>,
    /// Whether its compressed records are unpacked and checked.
    unpack: bool,
    pages: Option<DigestPages>,
}

impl ReplicaReceiver {
    /// `held` is a cycle that may go on.
    pub(super) fn new(
        replica: Arc<OpenReplica>,
        epoch: Epoch,
        source: Caller,
        check: CheckReceived,
        held: Option<&Held>,
    ) -> ReplicaReceiver {
        let disks = Vec::new();
        let mut receiver =
            ReplicaReceiver { replica, epoch, source, check, disks, unpack: true, pages: None };
        if let Some(held) = held {
            receiver.expect(&held.open);
        }
        receiver
    }

    /// What the records of a cycle are to be.
    fn expect(&mut self, open: &OpenCycle) {
        self.disks.clone_from(&open.disks);
        self.unpack = match self.check {
            CheckReceived::All => true,
            CheckReceived::Changes => open.kind != CycleKind::Initial,
            CheckReceived::None => false,
        };
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
        self.expect(open);
        let disks = open.disks.iter().map(|d| (d.key.clone(), d.size)).collect();
        let start = CycleStart { number: open.cycle, base: open.base, disks };
        check_proof(&self.replica, &self.source)?;
        let (shared, epoch) = (Arc::clone(&self.replica), self.epoch);
        let open = move |store: &mut Replica| {
            check_owner(&shared, store, &epoch)?;
            store.begin_cycle(start).map_err(|e| failure(&e))
        };
        self.replica.run(open).await
    }

    async fn append(&mut self, disk: &DiskKey, records: Vec<Record>) -> Result<(), Failure> {
        let place = self.place_of(disk)?;
        // Hashed before the store is locked: another session's upkeep need not wait for it.
        let unpack = self.unpack;
        let patched = records.iter().any(Record::is_patch);
        let base = if patched { self.replica.run(|store| store.last_reader()).await } else { None };
        let disk = disk.clone();
        // What the base was read from is not freed before the reader is gone.
        let plain = self.replica.is_plain();
        let prepare = move || {
            let whole = made_whole(check(records, unpack)?, base, &disk)?;
            if plain { made_plain(whole) } else { Ok(whole) }
        };
        let append = move |store: &mut Replica, made: Result<_, Failure>| {
            let made: Vec<_> = made?;
            let records = made.iter().map(incoming).collect::<Result<Vec<_>, _>>()?;
            store.append(place, &records).map_err(|e| failure(&e))
        };
        let stored = self.replica.run_after(prepare, append).await;
        if stored.is_err() {
            self.replica.run(Replica::give_up_cycle).await;
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
        if let Err(failure) = check_proof(&self.replica, &self.source) {
            self.replica.run(Replica::give_up_cycle).await;
            return Err(failure);
        }
        let (shared, epoch) = (Arc::clone(&self.replica), self.epoch);
        let seal = move |store: &mut Replica| {
            check_owner(&shared, store, &epoch)?;
            store.seal(&request).map_err(|e| failure(&e))
        };
        let sealed = self.replica.run(seal).await;
        self.replica.mark_sealed();
        sealed
    }

    async fn abort(&mut self, cycle: u64, why: &Failure) {
        tracing::info!(cycle, %why, "cycle given up");
        self.replica.run(Replica::give_up_cycle).await;
    }

    async fn digests(&mut self, disk: &DiskKey, from: u64) -> Result<DigestPage, Failure> {
        check_proof(&self.replica, &self.source)?;
        let mut pages = match self.pages.take().filter(|pages| pages.goes_on(disk, from)) {
            Some(pages) => pages,
            None => DigestPages::open(&self.replica, disk, from).await,
        };
        let page = pages.next().await.map_err(|e| failure(&e))?;
        self.pages = page.next.is_some().then_some(pages);
        Ok(page)
    }

    async fn lost(&mut self, held: Option<Held>) {
        self.pages = None;
        if held.is_none() {
            self.replica.run(Replica::give_up_cycle).await;
        }
        self.replica.hold(held);
    }
}

/// Asked with the store, so that nothing is sealed for an owner who was superseded, or into a
/// replica that is to take nothing, from the very moment that this was decided.
fn check_owner(replica: &OpenReplica, store: &Replica, epoch: &Epoch) -> Result<(), Failure> {
    let why = match replica.halted() {
        Some(why) => why,
        None if store.epoch() == *epoch => return Ok(()),
        None => format!("epoch {} was superseded by epoch {}", epoch.number, store.epoch().number),
    };
    Err(Failure::new(FailureCode::NotOwner, why, "the next session is told who owns the machine"))
}

/// The policy may have chosen another proof since the session began: then that ends, and the
/// next one is judged by what holds now.
fn check_proof(replica: &OpenReplica, source: &Caller) -> Result<(), Failure> {
    let refusal = replica.wire().and_then(|wire| managed::unproved(wire, source));
    refusal.map_or(Ok(()), |refusal| {
        Err(Failure::new(FailureCode::NotOwner, refusal.message, "the next session is told so"))
    })
}

/// Checks that what came has the digests it came with.
///
/// Where `unpack` does not say so, a compressed record is only checked for its form:
/// unpacking it costs more than all else on this path. TLS guards it on its way, the scrub
/// reads it, and every reader checks it.
fn check(records: Vec<Record>, unpack: bool) -> Result<Vec<Record>, Failure> {
    let bad = |what: String| {
        let advice = "the cycle is run again; if this repeats, check the source's memory";
        Failure::new(FailureCode::BadRecord, what, advice)
    };
    for record in &records {
        record.verify().map_err(|error| bad(error.to_string()))?;
        let Body::Zstd(packed) = &record.body else { continue };
        if unpack && !Stored::Compressed(packed).holds(&record.digest) {
            return Err(bad(format!("cluster {} does not unpack to what its digest says", record.cluster)));
        }
    }
    Ok(records)
}

/// Makes whole clusters of patches, by what the last element has; each is checked.
fn made_whole(
    mut records: Vec<Record>,
    base: Option<PointReader>,
    disk: &DiskKey,
) -> Result<Vec<Record>, Failure> {
    let base = base.map(|point| BaseReader::new(point, disk));
    for record in &mut records {
        let Body::Patch(patch) = &record.body else { continue };
        let (cluster, digest, blocks) = (record.cluster, record.digest, patch.blocks);
        let patch = Patch { cluster, digest, blocks, packed: patch.packed, bytes: &patch.bytes };
        record.body = match base.as_ref().map(|base| base.apply(&patch)) {
            Some(Ok(Patched::Raw(bytes))) => Body::Raw(bytes.into()),
            Some(Ok(Patched::Compressed(bytes))) => Body::Zstd(bytes.into()),
            Some(Err(error)) => return Err(misfit(&error)),
            None => return Err(not_whole(cluster)),
        };
    }
    Ok(records)
}

/// Unpacks what came compressed: a replica that is kept plain reads at full speed.
fn made_plain(mut records: Vec<Record>) -> Result<Vec<Record>, Failure> {
    for record in &mut records {
        let Body::Zstd(packed) = &record.body else { continue };
        let bytes = unpacked(packed).ok_or_else(|| {
            let message = format!("cluster {} cannot be unpacked", record.cluster);
            Failure::new(FailureCode::BadRecord, message, "the cycle is run again")
        })?;
        record.body = Body::Raw(bytes.into());
    }
    Ok(records)
}

fn not_whole(cluster: u64) -> Failure {
    let message = format!("cluster {cluster}: there is nothing to put a patch into");
    Failure::new(FailureCode::BadPatch, message, "the source sends whole clusters next")
}

/// Whatever keeps a patch from being put in, whole clusters do not need it.
fn misfit(error: &ReplicaError) -> Failure {
    tracing::warn!(%error, "a patch cannot be put in");
    let Failure { message, .. } = failure(error);
    Failure::new(FailureCode::BadPatch, message, "the source sends whole clusters next")
}

/// What is to be stored; a patch must have been made a whole cluster before.
fn incoming(record: &Record) -> Result<Incoming<'_>, Failure> {
    let stored = match &record.body {
        Body::Raw(bytes) => Stored::Raw(bytes),
        Body::Zstd(bytes) => Stored::Compressed(bytes),
        Body::Zero | Body::Discard => Stored::Zero,
        Body::Patch(_) => return Err(not_whole(record.cluster)),
    };
    Ok(Incoming { cluster: record.cluster, digest: record.digest, stored })
}
