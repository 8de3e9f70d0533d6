//! One cycle, from the backup's instant to the durable acknowledgement. Whatever fails,
//! it leaves nothing behind but time lost: the backup is ended, its checkpoint deleted,
//! and what changed goes with the next.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use farshore_delta::{RootBuilder, SourceChange};
use farshore_extent::Run;
use farshore_hypervisor::{Backup, BackupDisk, BackupMode, BackupSpec, Deletion, Kind, Machine};
use farshore_link::{LinkError, Session};
use farshore_types::{Consistency, DiskKey, PointId, PointRef, RootDigest};
use farshore_wire::{CycleKind, DiskSize, OpenCycle, Outcome, limits::DEFINITION_LEN_MAX};
use tokio_util::sync::CancellationToken;

use crate::{
    CaptureError, CycleReport, Definition, Parts,
    cluster::{ENTRY_LEN, Known},
    definition::{read_nvram, without_nvram},
    freeze::{Freezer, Frozen},
    map::{DigestMap, Pending, Record, Scan, ScanReason},
    plan::{PREFIX, Plan, PlannedDisk, Read},
    reading::{DiskReading, Making},
    watch,
};

/// Most memory for what a cycle learns of blocks until it is sealed, in bytes. A larger cycle
/// is none of small writes; what is not noted only costs whole clusters later.
const NOTED_MAX: usize = 16 << 20;

/// Told how far a cycle is: bytes of disk looked at, of how many.
pub(crate) type Advance<'a> = dyn Fn(u64, u64) + Send + Sync + 'a;

/// Most times that the bound of a cycle's time is doubled.
const CUTS_MAX: u32 = 6;

/// A cycle about to run.
pub(crate) struct Cycle<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) machine: &'a Machine,
    pub(crate) plan: Plan,
    pub(crate) session: &'a mut Session,
    pub(crate) map: &'a mut DigestMap,
    pub(crate) advance: &'a Advance<'a>,
    pub(crate) left_out: Vec<DiskKey>,
    /// Cycles since the last point that were cut.
    pub(crate) cuts: u32,
    /// Whether the machine is off, and only started for this.
    pub(crate) off: bool,
    /// Whether clusters are sent whole, because a patch did not fit the last time.
    pub(crate) whole: bool,
    /// Set to what the point has to do without, and why.
    pub(crate) without: Option<String>,
    /// By whom the guest is frozen at the instant, where the point is to be
    /// application-consistent.
    pub(crate) freezer: Option<&'a mut Freezer>,
    /// Set to what came of that.
    pub(crate) frozen: Option<Frozen>,
}

/// What reading found.
#[derive(Default)]
struct Gathered {
    changes: Vec<Vec<SourceChange>>,
    /// What was learned of the blocks of changed clusters, with the disk's index.
    noted: Vec<(usize, Known)>,
    done: Vec<(DiskKey, u64)>,
    cut_short: bool,
    dirty: u64,
    read: u64,
    sent: u64,
}

impl Cycle<'_> {
    /// Runs it; a stop ends the reading, and what was begun is put back.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) -> Result<CycleReport, CaptureError> {
        let begun = Instant::now();
        let name = self.plan.checkpoint.then(checkpoint_name);
        if let Some(error) = watch::short_of_space(self.parts) {
            return Err(error);
        }
        let spec = self.spec(name.clone());
        let mut events = self.parts.hypervisor.events();
        let hypervisor = self.parts.hypervisor.clone();
        let (backup, captured, captured_ms) = self.begin(&spec).await?;
        let mut in_hypervisor = captured.elapsed();
        tracing::debug!(machine = %self.parts.machine, took = ?in_hypervisor, "backup begun");
        // As close to the instant as can be: nothing else of it is at the mercy of the reading.
        let packed = self.definition();
        let gathered = {
            let parts = self.parts;
            tokio::select! {
                gathered = self.gather(&backup) => gathered,
                wrong = watch::watch(parts, &mut events) => Err(wrong),
                () = stop.cancelled() => Err(CaptureError::Stopped),
            }
        };
        let ending = Instant::now();
        let ended = hypervisor.end_backup(self.parts.machine).await;
        in_hypervisor += ending.elapsed();
        tracing::debug!(machine = %self.parts.machine, took = ?ending.elapsed(), "backup ended");
        // Before anything that waits for the target. What was read is true all the same.
        if gathered.is_err() || watch::was_stopped(self.parts, &mut events) {
            self.set_going().await;
        }
        let sealed = match (gathered, ended) {
            (Ok(gathered), Ok(())) => match packed {
                Ok(packed) => self.seal(gathered, packed, name.clone(), (captured, captured_ms)).await,
                Err(e) => Err(e),
            },
            (Err(e), _) => Err(e),
            (Ok(_), Err(e)) => Err(e.into()),
        };
        match sealed {
            Ok((mut report, superseded)) => {
                let deleting = Instant::now();
                for old in superseded {
                    delete_checkpoint(self.parts, &old).await;
                }
                in_hypervisor += deleting.elapsed();
                report.hypervisor_ms = millis(in_hypervisor);
                report.took_ms = millis(begun.elapsed());
                tracing::debug!(machine = %self.parts.machine, ?report, "cycle sealed");
                Ok(report)
            }
            Err(error) => {
                self.give_up(&error, name).await;
                Err(error)
            }
        }
    }

    /// Begins the backup, the guest frozen where that is wanted; and when that was.
    async fn begin(&mut self, spec: &BackupSpec) -> Result<(Backup, Instant, u64), CaptureError> {
        let parts = self.parts;
        let instant = async {
            // The instant lies within this call; its beginning never flatters the RPO.
            let (captured_ms, captured) = (parts.clock.wall_ms(), Instant::now());
            (parts.hypervisor.begin_backup(parts.machine, spec).await, captured, captured_ms)
        };
        let (begun, captured, captured_ms) = match self.freezer.take() {
            None => instant.await,
            Some(freezer) => {
                let (done, frozen) = freezer.around(instant).await;
                self.frozen = Some(frozen);
                done
            }
        };
        Ok((begun?, captured, captured_ms))
    }

    /// What a point of this cycle is.
    fn consistency(&self) -> Consistency {
        match &self.frozen {
            Some(Frozen { held: Ok(()), .. }) => Consistency::Application,
            _ => Consistency::Crash,
        }
    }

    fn spec(&self, checkpoint: Option<String>) -> BackupSpec {
        let runtime = &self.parts.places.runtime;
        let disk = |d: &PlannedDisk| BackupDisk {
            key: d.key.clone(),
            mode: match &d.read {
                Read::Dirty { since, .. } => BackupMode::Incremental { since: since.clone() },
                Read::From(_) | Read::Nothing => BackupMode::Full,
            },
            tracked: d.tracked && checkpoint.is_some(),
            scratch: scratch_path(runtime, &d.key),
        };
        BackupSpec {
            disks: self.plan.disks.iter().map(disk).collect(),
            socket: runtime.join("backup.sock"),
            checkpoint,
        }
    }

    /// Reads what may have changed and sends what has.
    async fn gather(&mut self, backup: &Backup) -> Result<Gathered, CaptureError> {
        let initial = matches!(&self.plan.scan, Some(Scan { why: ScanReason::Initial, .. }));
        if initial && self.map.record().sealed.is_none() {
            self.check_room(backup).await?;
        }
        self.session.open_cycle(self.opening()).await?;
        let mut out = Gathered { changes: vec![Vec::new(); self.plan.disks.len()], ..Gathered::default() };
        let total = self.plan.disks.iter().map(|d| d.size).sum();
        let slice = self.slice();
        let mut before = 0;
        for index in 0..self.plan.disks.len() {
            let disk = self.plan.disks[index].clone();
            // Time is for all disks of a slice together.
            let left = if out.cut_short || self.is_full(&out) { Duration::ZERO } else { slice };
            self.gather_disk(index, &disk, backup, left, (before, total), &mut out).await?;
            before += disk.size;
        }
        Ok(out)
    }

    async fn gather_disk(
        &mut self,
        index: usize,
        disk: &PlannedDisk,
        backup: &Backup,
        slice: Duration,
        (before, total): (u64, u64),
        out: &mut Gathered,
    ) -> Result<(), CaptureError> {
        let export = self.parts.hypervisor.open_export(backup, &disk.key).await?;
        let digests = self.map.digests_of(&disk.key)?;
        let making = self.making(disk);
        let (mut reading, dirty) = DiskReading::start(export, disk, digests, making, slice).await?;
        out.dirty += dirty;
        while let Some(found) = reading.next().await? {
            out.read += found.read;
            out.changes[index].extend_from_slice(&found.changes.changes);
            let room = (NOTED_MAX / ENTRY_LEN).saturating_sub(out.noted.len());
            out.noted.extend(found.changes.blocks.into_iter().take(room).map(|known| (index, known)));
            if !found.changes.records.is_empty() {
                out.sent += found.changes.records.iter().map(|r| r.stored().len() as u64).sum::<u64>();
                self.session.send(u16::try_from(index).unwrap_or(u16::MAX), found.changes.records).await?;
            }
            (self.advance)(before + reading.position(), total);
            // Held in memory here, and at the target, until the element is sealed.
            if self.is_full(out) {
                reading.cut_short();
            }
        }
        out.changes[index].sort_unstable();
        out.done.push((disk.key.clone(), reading.clusters_done()));
        out.cut_short |= reading.is_cut_short();
        Ok(())
    }

    /// How this cycle makes changes records. An initial copy is whole by its nature.
    fn making(&mut self, disk: &PlannedDisk) -> Making {
        let initial = matches!(&self.plan.scan, Some(Scan { why: ScanReason::Initial, .. }));
        // Asked only now that the cycle is open: what it may carry is as of then.
        let taken = self.session.welcome().takes_patches();
        let small = self.parts.settings.small_writes && taken && !initial;
        Making {
            compression: self.parts.settings.compression,
            blocks: small.then(|| self.map.blocks_of(&disk.key)).flatten(),
            patch: !self.whole,
        }
    }

    /// Whether what the disks hold fits the target, asked before anything is copied.
    async fn check_room(&self, backup: &Backup) -> Result<(), CaptureError> {
        let mut needed = 0;
        for disk in &self.plan.disks {
            let export = self.parts.hypervisor.open_export(backup, &disk.key).await?;
            needed += export.allocated(Run { start: 0, len: export.size() }).await?.total();
        }
        match self.session.welcome().free_space {
            free if needed > free => Err(CaptureError::NoRoom { needed, free }),
            _ => Ok(()),
        }
    }

    /// Whether one element shall hold no more changes.
    fn is_full(&self, gathered: &Gathered) -> bool {
        gathered.changes.iter().map(Vec::len).sum::<usize>() >= self.parts.settings.clusters_max
    }

    /// How long this cycle's backup may be read. Each cycle in a row that was cut doubles
    /// the time: a guest that writes as fast as the link carries must still get its points.
    fn slice(&self) -> Duration {
        let settings = &self.parts.settings;
        match &self.plan.scan {
            Some(_) => settings.slice,
            None => settings.hold.saturating_mul(1 << self.cuts.min(CUTS_MAX)),
        }
    }

    fn opening(&self) -> OpenCycle {
        let kind = match &self.plan.scan {
            None => CycleKind::Delta,
            Some(Scan { why: ScanReason::Initial, .. }) => CycleKind::Initial,
            Some(_) => CycleKind::Resync,
        };
        OpenCycle {
            cycle: self.next_id().number,
            kind,
            base: self.map.record().sealed,
            disks: self.plan.disks.iter().map(|d| DiskSize { key: d.key.clone(), size: d.size }).collect(),
        }
    }

    fn next_id(&self) -> PointId {
        let last = self.map.record().sealed.map_or(0, |p| p.id.number);
        PointId { epoch: self.parts.epoch.number, number: last + 1 }
    }

    /// Makes the changes durable as pending, seals, and moves the map on. Returns the
    /// checkpoints that are of no more use.
    async fn seal(
        &mut self,
        gathered: Gathered,
        packed: Vec<u8>,
        name: Option<String>,
        (captured, captured_ms): (Instant, u64),
    ) -> Result<(CycleReport, Vec<String>), CaptureError> {
        let id = self.next_id();
        let root = self.root(id, &gathered);
        let element = PointRef { id, root };
        let record = self.record_after(&gathered, name, element, captured_ms);
        let is_point = record.point == Some(element);
        let superseded = self.map.record().checkpoints_beside(&record);
        let report = CycleReport {
            id,
            point: is_point,
            dirty: gathered.dirty,
            read: gathered.read,
            changed: gathered.changes.iter().map(|c| c.len() as u64).sum(),
            sent: gathered.sent,
            took_ms: 0,
            hypervisor_ms: 0,
            consistency: self.consistency(),
            frozen_ms: self.frozen.as_ref().and_then(|frozen| frozen.took_ms),
        };
        let pending = Pending { record, changes: gathered.changes };
        tokio::task::block_in_place(|| self.map.set_pending(&pending))?;
        let outcome = if is_point { Outcome::Point(self.consistency()) } else { Outcome::Stage };
        self.session.seal(outcome, captured, root, Bytes::from(packed)).await?;
        tokio::task::block_in_place(|| {
            self.map.apply(pending)?;
            for (index, known) in &gathered.noted {
                self.map.note(&self.plan.disks[*index].key, known);
            }
            Ok::<_, CaptureError>(())
        })?;
        Ok((report, superseded))
    }

    fn root(&self, id: PointId, gathered: &Gathered) -> RootDigest {
        let before = self.map.record().sealed.map_or(RootDigest::NONE, |p| p.root);
        let mut root = RootBuilder::new(before, id);
        for (disk, changes) in self.plan.disks.iter().zip(&gathered.changes) {
            root.disk(&disk.key, disk.size, changes.iter().copied());
        }
        root.finish()
    }

    /// What will be known once the element is sealed.
    fn record_after(
        &self,
        gathered: &Gathered,
        name: Option<String>,
        element: PointRef,
        captured_ms: u64,
    ) -> Record {
        let before = self.map.record();
        let disks = self.plan.disks.iter().map(|d| (d.key.clone(), d.size)).collect();
        let base = Record { sealed: Some(element), disks, ..before.clone() };
        let point = |record: Record| Record {
            point: Some(element),
            captured_ms: Some(captured_ms),
            scan: None,
            off: self.off,
            stamps: Vec::new(),
            ..record
        };
        match &self.plan.scan {
            // Too large for one element: this is a stage, and what is left of the old
            // checkpoint follows. The new one has what changes meanwhile. A bitmap does not
            // tell all of a disk that was resized; that one is read whole.
            None if gathered.cut_short => {
                let resized = self.plan.disks.iter().any(|d| d.was.is_some());
                let since = before.checkpoint.clone().filter(|_| !resized);
                let done = gathered.done.iter().cloned().collect();
                let rest = Scan { why: ScanReason::Rest, checkpoint: name, done, since };
                Record { checkpoint: None, scan: Some(rest), ..base }
            }
            // A cycle, or a scan that one backup's instant was enough for.
            None => point(Record { checkpoint: name, ..base }),
            Some(scan) if !gathered.cut_short && scan.done.is_empty() => {
                point(Record { checkpoint: name, ..base })
            }
            Some(scan) => {
                let checkpoint = scan.checkpoint.clone().or(name);
                let next = Scan {
                    checkpoint: checkpoint.clone(),
                    done: gathered.done.iter().cloned().collect(),
                    ..scan.clone()
                };
                let scan = gathered.cut_short.then_some(next);
                Record { checkpoint: if scan.is_none() { checkpoint } else { None }, scan, ..base }
            }
        }
    }

    /// The machine's definition with what belongs to it, packed. What cannot travel with it
    /// is said, and the point is taken all the same.
    fn definition(&mut self) -> Result<Vec<u8>, CaptureError> {
        let (xml, left_out) = (&self.machine.definition, &self.left_out);
        let pack = |nvram| Definition::new(xml.clone(), nvram, left_out.clone()).encode();
        let path = self.machine.nvram.as_deref();
        let (nvram, mut why) = match path.map(read_nvram).transpose() {
            Ok(nvram) => (nvram, None),
            Err(why) => (None, Some(why)),
        };
        let mut packed = pack(nvram);
        if let Some(path) = path.filter(|_| why.is_none() && packed.len() > DEFINITION_LEN_MAX) {
            let len = packed.len();
            let long = format!("with the definition they have {len} bytes, of at most {DEFINITION_LEN_MAX}");
            (why, packed) = (Some(without_nvram(path, &long)), pack(None));
        }
        self.without = why;
        if packed.len() <= DEFINITION_LEN_MAX {
            return Ok(packed);
        }
        let machine = self.machine.name.clone();
        Err(CaptureError::Definition { machine, len: packed.len(), most: DEFINITION_LEN_MAX })
    }

    /// After a failure: the target forgets the cycle, and the new checkpoint goes.
    async fn give_up(&mut self, error: &CaptureError, name: Option<String>) {
        // Where the outcome of the seal is unknown, the checkpoint may be the one that the
        // target's last element goes with: the next session tells.
        let unknown = matches!(error, CaptureError::Link(e) if !matches!(e, LinkError::Cycle(_) | LinkError::Misuse(_)));
        if !unknown {
            if let Err(e) = self.session.abort(&error.to_string()).await {
                tracing::debug!(error = %e, "telling the target that the cycle is given up");
            }
            if let Some(name) = name {
                delete_checkpoint(self.parts, &name).await;
            }
        }
    }

    /// Sees to it that the guest runs.
    async fn set_going(&self) {
        if let Err(e) = watch::rescue(self.parts).await {
            tracing::warn!(error = %e, "looking whether the guest runs");
        }
    }
}

/// Deletes a checkpoint of ours; only its record where its bitmaps are gone.
pub(crate) async fn delete_checkpoint(parts: &Parts, name: &str) {
    for how in [Deletion::WithBitmaps, Deletion::RecordOnly] {
        match parts.hypervisor.delete_checkpoint(parts.machine, name, how).await {
            Ok(()) => return,
            Err(e) if e.kind == Kind::NoSuchCheckpoint => return,
            // It will be swept when the machine runs again, or is free.
            Err(e) if matches!(e.kind, Kind::NotRunning | Kind::Busy | Kind::NoSuchMachine) => return,
            Err(e) => tracing::debug!(checkpoint = name, error = %e, "deleting a checkpoint"),
        }
    }
}

/// Unique and random: a name that comes back (a restored disk) must not be mistaken.
pub(crate) fn checkpoint_name() -> String {
    format!("{PREFIX}{}", uuid::Uuid::new_v4().simple())
}

pub(crate) fn scratch_path(runtime: &std::path::Path, disk: &DiskKey) -> PathBuf {
    runtime.join(format!("scratch-{disk}-{}", uuid::Uuid::new_v4().simple()))
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
