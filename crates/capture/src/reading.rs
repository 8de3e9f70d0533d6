//! Reading what may have changed: several reads in flight, hashing and compressing on the
//! blocking pool, records handed on as they come. Knows exports and digests; must never
//! know sessions or checkpoints.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use farshore_extent::{Run, Runs};
use farshore_hypervisor::Export;
use farshore_types::{CLUSTER_BYTES, CLUSTER_SIZE, Digest, clusters_in};
use tokio::task::JoinSet;

use crate::{
    CaptureError, Compression,
    bug::{self, Bug},
    cluster::{BlockFile, Changes, How, compare, vanished},
    map::Digests,
    plan::{PlannedDisk, Read},
};

/// Bytes of one read.
const PIECE: u64 = 1 << 20;

/// Reads under way, waiting to be hashed, or waiting to be sent: bounds memory.
const IN_FLIGHT: usize = 8;

/// Bytes of disk for which the map of data is asked at once.
const WINDOW: u64 = 4 << 30;

/// Bytes of disk whose digests are looked at in one go where nothing needs to be read.
const EMPTY_PIECE: u64 = 256 << 20;

/// Finished pieces waiting while one is being sent from which on the link is the slower part.
const LINK_IS_SLOWER: usize = 4;

/// How changes are made records.
#[derive(Clone)]
pub(crate) struct Making {
    pub(crate) compression: Compression,
    /// Where digests of blocks are kept, if they are.
    pub(crate) blocks: Option<BlockFile>,
    /// Whether a few blocks may be sent alone.
    pub(crate) patch: bool,
}

/// Clusters that changed, as they are found.
pub(crate) struct Found {
    pub(crate) changes: Changes,
    /// Bytes read for them.
    pub(crate) read: u64,
}

/// One disk being read.
pub(crate) struct DiskReading {
    export: Arc<dyn Export>,
    digests: Digests,
    making: Making,
    backlog: Arc<Backlog>,
    /// Windows not yet asked about, in order.
    windows: Vec<Run>,
    wanted: Wanted,
    /// Pieces of the current window, last first.
    pieces: Vec<Piece>,
    tasks: JoinSet<Result<Found, CaptureError>>,
    until: Option<Instant>,
    handed_out: bool,
    size: u64,
    /// First byte that was not handed out before time ran out.
    stopped_at: Option<u64>,
}

/// What has been read and waits to be sent.
#[derive(Default)]
struct Backlog {
    waiting: AtomicUsize,
    /// Whether something is being sent; else what waits does not wait for the link.
    sending: AtomicBool,
}

impl Backlog {
    fn link_is_slower(&self) -> bool {
        self.sending.load(Ordering::Relaxed) && self.waiting.load(Ordering::Relaxed) >= LINK_IS_SLOWER
    }
}

enum Wanted {
    Everything,
    These(Runs),
}

#[derive(Clone, Copy)]
struct Piece {
    run: Run,
    /// Whether the disk holds data there; else it reads as zeros.
    data: bool,
}

impl DiskReading {
    /// Starts reading what `disk` plans, for no longer than `slice`.
    /// Returns it with the number of bytes that may have changed.
    pub(crate) async fn start(
        export: Box<dyn Export>,
        disk: &PlannedDisk,
        digests: Digests,
        making: Making,
        slice: Duration,
    ) -> Result<(DiskReading, u64), CaptureError> {
        let export: Arc<dyn Export> = export.into();
        let size = export.size().min(disk.size);
        let (wanted, from) = match &disk.read {
            Read::From(first) => (Wanted::Everything, first * CLUSTER_BYTES),
            Read::Nothing => (Wanted::These(Runs::new()), 0),
            Read::Dirty { from, .. } => match export.dirty(Run { start: 0, len: size }).await? {
                Some(dirty) => {
                    let wanted = with_ends(&dirty, disk.was, size);
                    check_witness(&*export, disk, &digests, &wanted, size).await?;
                    (Wanted::These(wanted), from * CLUSTER_BYTES)
                }
                None => (Wanted::Everything, from * CLUSTER_BYTES),
            },
        };
        let dirty = match &wanted {
            Wanted::Everything => size.saturating_sub(from),
            Wanted::These(runs) => runs.total(),
        };
        let mut windows: Vec<Run> = (from..size)
            .step_by(usize::try_from(WINDOW).unwrap_or(1))
            .map(|at| Run::between(at, size.min(at + WINDOW)))
            .collect();
        windows.reverse();
        let reading = DiskReading {
            export,
            digests,
            making,
            backlog: Arc::default(),
            windows,
            wanted,
            pieces: Vec::new(),
            tasks: JoinSet::new(),
            until: Instant::now().checked_add(slice),
            handed_out: false,
            size,
            stopped_at: None,
        };
        Ok((reading, dirty))
    }

    /// The next clusters found; `None` when everything wanted, or all that time allowed,
    /// has been looked at.
    pub(crate) async fn next(&mut self) -> Result<Option<Found>, CaptureError> {
        self.backlog.sending.store(false, Ordering::Relaxed);
        while self.tasks.len() < IN_FLIGHT {
            match self.next_piece().await? {
                Some(piece) => self.spawn(piece),
                None => break,
            }
        }
        let Some(done) = self.tasks.join_next().await else { return Ok(None) };
        self.backlog.waiting.fetch_sub(1, Ordering::Relaxed);
        self.backlog.sending.store(true, Ordering::Relaxed);
        done.map_err(|e| CaptureError::Worker(e.to_string()))?.map(Some)
    }

    /// Lets nothing more be read than what is being read now.
    pub(crate) fn cut_short(&mut self) {
        self.until = Some(Instant::now());
    }

    /// Clusters looked at from the start of the disk, once [`DiskReading::next`] is at its end.
    pub(crate) fn clusters_done(&self) -> u64 {
        self.stopped_at.map_or_else(|| clusters_in(self.size), |at| at / CLUSTER_BYTES)
    }

    /// Whether time ran out before the end.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.stopped_at.is_some()
    }

    /// Byte up to which the disk has been looked at, for people.
    pub(crate) fn position(&self) -> u64 {
        self.pieces.last().map_or_else(|| self.windows.last().map_or(self.size, |w| w.start), |p| p.run.start)
    }

    async fn next_piece(&mut self) -> Result<Option<Piece>, CaptureError> {
        while self.pieces.is_empty() {
            let Some(window) = self.windows.pop() else { return Ok(None) };
            self.pieces = self.pieces_of(window).await?;
            self.pieces.reverse();
        }
        // However short the time: a slice that gets nowhere would be repeated for ever.
        if self.handed_out && self.until.is_some_and(|until| Instant::now() >= until) {
            self.stopped_at = self.pieces.last().map(|p| p.run.start);
            self.pieces.clear();
            self.windows.clear();
            return Ok(None);
        }
        self.handed_out = true;
        Ok(self.pieces.pop())
    }

    async fn pieces_of(&self, window: Run) -> Result<Vec<Piece>, CaptureError> {
        let all: Runs = [window].into_iter().collect();
        let wanted = match &self.wanted {
            Wanted::Everything => all,
            Wanted::These(runs) => runs.intersect(&all),
        };
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        // No more is asked about than what is wanted: far fewer tables to look through.
        let about = wanted.iter().next().zip(wanted.iter().last());
        let about = about.map_or(window, |(first, last)| Run::between(first.start, last.end()));
        let allocated = self.export.allocated(about).await?.align_outward(CLUSTER_BYTES, self.size);
        let data = wanted.intersect(&allocated);
        let empty = wanted.difference(&allocated);
        let piece = |data| move |run| Piece { run, data };
        let mut pieces: Vec<Piece> =
            data.pieces(PIECE).map(piece(true)).chain(empty.pieces(EMPTY_PIECE).map(piece(false))).collect();
        pieces.sort_unstable_by_key(|p| p.run.start);
        Ok(pieces)
    }

    fn spawn(&mut self, piece: Piece) {
        let (export, digests, backlog) = (self.export.clone(), self.digests.clone(), self.backlog.clone());
        let making = self.making.clone();
        self.tasks.spawn(async move {
            let found = look(&*export, digests, piece, making, &backlog).await;
            backlog.waiting.fetch_add(1, Ordering::Relaxed);
            found
        });
    }
}

async fn look(
    export: &dyn Export,
    digests: Digests,
    piece: Piece,
    making: Making,
    backlog: &Backlog,
) -> Result<Found, CaptureError> {
    let first = piece.run.start / CLUSTER_BYTES;
    let count = usize::try_from(clusters_in(piece.run.len)).unwrap_or(0);
    let bytes = match piece.data {
        true => Some(export.read(piece.run.start, u32::try_from(piece.run.len).unwrap_or(u32::MAX)).await?),
        false => None,
    };
    let compress = match making.compression {
        Compression::On => true,
        Compression::Off => false,
        Compression::Auto => backlog.link_is_slower(),
    };
    let read = bytes.as_ref().map_or(0, |b| b.len() as u64);
    let quick = !compress && making.blocks.is_none() && bytes.is_some();
    let work = move || {
        let known = digests.read(first, count)?;
        Ok(match bytes {
            Some(bytes) => {
                let how = How { compress, blocks: making.blocks.as_ref(), patch: making.patch };
                compare(first, &bytes, &known, how)
            }
            None => vanished(first, &known),
        })
    };
    // A megabyte is hashed in less time than handing it to another thread and back takes.
    let changes = match quick {
        true => work(),
        false => tokio::task::spawn_blocking(work).await.map_err(|e| CaptureError::Worker(e.to_string()))?,
    };
    changes.map(|changes| Found { changes, read })
}

/// Whether the bitmap tells all. QEMU records nothing when a disk is cut and grown back
/// (seen with 10.0: the bitmap is cut too, and grows back clean), also between two looks at
/// its size. Whatever was cut, the highest cluster with content that is not dirty is among
/// it, or nothing that mattered was: everything above it is dirty and read anyway. So one
/// cluster read in each cycle is proof.
async fn check_witness(
    export: &dyn Export,
    disk: &PlannedDisk,
    digests: &Digests,
    dirty: &Runs,
    size: u64,
) -> Result<(), CaptureError> {
    // Who trusts a dead bitmap asks nobody: else the witness finds that bug before the guest does.
    if bug::is(Bug::NoWitness) || bug::is(Bug::TrustTracking) {
        return Ok(());
    }
    let (known, beside) = (digests.clone(), dirty.clone());
    let find = move || known.highest(clusters_in(size), &beside);
    let found =
        tokio::task::spawn_blocking(find).await.map_err(|e| CaptureError::Worker(e.to_string()))??;
    let Some((cluster, digest)) = found else { return Ok(()) };
    let run = Run::between(cluster * CLUSTER_BYTES, size.min((cluster + 1) * CLUSTER_BYTES));
    let mut bytes = export.read(run.start, u32::try_from(run.len).unwrap_or(u32::MAX)).await?.to_vec();
    bytes.resize(CLUSTER_SIZE, 0);
    match Digest::of(&bytes) == digest {
        true => Ok(()),
        false => Err(CaptureError::Unrecorded { disk: disk.key.clone(), cluster }),
    }
}

/// Dirty runs in whole clusters, with the last clusters of both sizes of a resized disk.
fn with_ends(dirty: &Runs, was: Option<u64>, size: u64) -> Runs {
    let mut runs = dirty.align_outward(CLUSTER_BYTES, size);
    for end in was.into_iter().chain(was.map(|_| size)) {
        let last = end.saturating_sub(1) / CLUSTER_BYTES * CLUSTER_BYTES;
        runs.insert(Run::between(last, (last + CLUSTER_BYTES).min(size)));
    }
    runs
}
