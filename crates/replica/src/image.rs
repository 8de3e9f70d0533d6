//! One disk's image: a standard qcow2 file whose data is only ever appended (or put into
//! places that nothing refers to), and whose tables are *derived* from the chain and can
//! be built anew at any time. This room knows places and tables; it must never know
//! which point is newest, kept or wanted.

mod publish;
mod refcount;
mod tables;
mod view;

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use farshore_delta::Place;
use farshore_env::{AlignedBuffer, File, Files, OpenMode};
use farshore_qcow2::{FormatError, Geometry};
use farshore_types::{CLUSTER_BYTES, CLUSTER_SIZE, Digest, PointId};

pub(crate) use publish::{Active, Change, NewTable};
pub(crate) use tables::Tables;
pub(crate) use view::{View, encode_point, point_of};

use crate::{
    ReplicaError,
    bug::{self, Bug},
    sectors::Sectors,
    space::{SECTOR, Space, take_group},
};

/// Cluster size of our images in bytes.
pub(crate) const CLUSTER: u64 = CLUSTER_BYTES;

/// QEMU's lock bytes. Holding these shared says: "I read, and I share neither writing
/// nor resizing"; stock writers and `check -r` are then refused, readers are not.
const READER_LOCKS: [u64; 3] = [READER_BYTE, 201, 203];

/// QEMU's readers hold this byte.
const READER_BYTE: u64 = 100;

const GEOMETRY: Geometry = Geometry::DEFAULT;

/// One cluster's bytes, ready to store.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'a> {
    /// Reads as zeros: no bytes.
    Zero,
    /// Plain, exactly one cluster.
    Raw(&'a [u8]),
    /// One zstd frame of the cluster.
    Compressed(&'a [u8]),
}

impl Stored<'_> {
    /// Whether these bytes are a cluster of this digest. Unpacks what is compressed.
    #[must_use]
    pub fn holds(&self, digest: &Digest) -> bool {
        match self {
            Stored::Zero => digest.is_zero(),
            Stored::Raw(bytes) => Digest::of(bytes) == *digest,
            Stored::Compressed(packed) => unpacked(packed).is_some_and(|bytes| Digest::of(&bytes) == *digest),
        }
    }
}

/// The cluster of a zstd frame; none: it is none.
#[must_use]
pub fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; CLUSTER_SIZE];
    let len = zstd::bulk::decompress_to_buffer(packed, &mut bytes[..]).ok();
    (len == Some(CLUSTER_SIZE)).then_some(bytes)
}

pub(crate) struct Image {
    path: PathBuf,
    file: Arc<dyn File>,
    space: Space,
    view: View,
    state: Trust,
    unsynced: bool,
    /// Memory that clusters are gathered in; kept, because getting it anew costs faults.
    buffer: AlignedBuffer,
    /// Data of points that only these tables still know; never freed.
    rescued: Sectors,
    /// Places that elements set aside refer to; never freed.
    held: Sectors,
}

/// What of an image is kept for elements that were set aside.
pub(crate) struct Held {
    /// Places that they refer to.
    pub(crate) places: Sectors,
    /// Whether they may refer to any other, too.
    pub(crate) all: bool,
}

/// Whether it is known what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    Sure,
    /// A header write or a sync failed. Nothing more is written before the image was
    /// opened again, and what was not yet durable counts as lost.
    Lost,
}

/// What opening found and mended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    AsLeft,
    /// The tables were unreadable and were built anew, with nothing published.
    Rebuilt(String),
    /// Points are published that the chain no longer has; they are kept.
    Rescued(Vec<PointId>),
}

/// Opens an image's file and keeps stock writers off it.
fn open_file(files: &dyn Files, path: &Path, in_use: bool) -> Result<Arc<dyn File>, ReplicaError> {
    let io = |source| ReplicaError::Io { what: "opening a disk image", dir: path.to_owned(), source };
    let not_now = |why| ReplicaError::NotNow { what: "opening a disk image", why };
    // An empty image in the place of one that is in use would pass for it until it is read.
    let mode = if in_use { OpenMode::Write } else { OpenMode::Create };
    let file = files.open(path, mode).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => not_now(format!(
            "{} is missing; put it back, or move the replica's directory away to start anew",
            path.display()
        )),
        _ => io(source),
    })?;
    match file.try_lock_bytes_shared(&READER_LOCKS).map_err(io)? {
        true => Ok(file),
        false => {
            let why = format!("another program holds {} open for writing; end it first", path.display());
            Err(not_now(why))
        }
    }
}

impl Image {
    /// Opens an image, of which the chain uses the ranges `used`. Tables that cannot be
    /// read are replaced by empty ones: they are derived, and the caller publishes again.
    pub(crate) fn open(
        files: &dyn Files,
        path: PathBuf,
        size: u64,
        backing: Option<(String, String)>,
        mut used: Sectors,
        held: Held,
        in_chain: impl Fn(PointId) -> bool,
    ) -> Result<(Image, Opened), ReplicaError> {
        let io = |source| ReplicaError::Io { what: "opening a disk image", dir: path.clone(), source };
        let file = open_file(files, &path, !used.is_empty())?;
        // A crash while an image is created leaves no header, and nothing in it is used yet.
        let fresh = used.is_empty() && is_blank(&*file).map_err(io)?;
        let view = View::read(&*file);
        let view_of_nothing = View::empty(size, backing);
        let (space, state) = (Space::default(), Trust::Sure);
        used.merge(&held.places);
        if held.all {
            used.insert(0..file.size().map_err(io)?);
        }
        let mut image = Image {
            path,
            file,
            space,
            view: view_of_nothing,
            state,
            unsynced: false,
            buffer: AlignedBuffer::default(),
            rescued: Sectors::default(),
            held: held.places,
        };
        match view {
            Ok(view) => {
                view.metadata().into_iter().for_each(|range| used.insert(range));
                image.view = view;
                // A damaged chain may have lost points that are still whole in here: what
                // may be the only good copy of something is never written over.
                let rescued = image.view.published.iter().map(|p| p.point).filter(|p| !in_chain(*p));
                let rescued: Vec<PointId> = rescued.collect();
                for point in &rescued {
                    image.rescued.merge(&image.data_of(*point)?);
                }
                used.merge(&image.rescued);
                image.take_space(&used)?;
                image.settle()?;
                let opened = if rescued.is_empty() { Opened::AsLeft } else { Opened::Rescued(rescued) };
                Ok((image, opened))
            }
            Err(why) => {
                used.insert(0..CLUSTER);
                image.take_space(&used)?;
                image.write_first_tables(Vec::new())?;
                let opened = if fresh { Opened::AsLeft } else { Opened::Rebuilt(why.to_string()) };
                Ok((image, opened))
            }
        }
    }

    /// Learns what is free. Where another program reads, it may be at anything that was
    /// freed before: that waits until it is gone.
    fn take_space(&mut self, used: &Sectors) -> Result<(), ReplicaError> {
        self.space = Space::from_used(used);
        if self.read_by_others()? {
            let size = self.file.size().map_err(|e| self.io("opening a disk image", e))?;
            self.space.quarantine_all(size);
        }
        Ok(())
    }

    /// Whether another program reads the image.
    pub(crate) fn read_by_others(&self) -> Result<bool, ReplicaError> {
        let others = self.file.others_lock(READER_BYTE).map_err(|e| self.io("looking for readers", e))?;
        Ok(others && !bug::is(Bug::NoQuarantine))
    }

    /// Makes the header that was read the durable one: an agent that was killed, or whose
    /// sync failed, may have left it seen but not durable, and places that only the header
    /// before it names are about to be used again.
    fn settle(&mut self) -> Result<(), ReplicaError> {
        let bytes = self.view.header.encode().map_err(|e| self.format(e))?;
        let sector = &bytes[..farshore_qcow2::HEADER_MAX];
        let written = self.file.write_at(sector, 0).and_then(|()| self.file.sync());
        written.map_err(|e| self.io("opening a disk image", e))
    }

    /// Whether a failed write left it unknown what is on disk: it must be opened again.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.state == Trust::Lost
    }

    fn check_sure(&self) -> Result<(), ReplicaError> {
        match self.state {
            Trust::Sure => Ok(()),
            Trust::Lost => Err(ReplicaError::Uncertain { path: self.path.clone() }),
        }
    }

    /// Syncs the file. After a failure the system may have dropped what was written and
    /// say nothing the next time: nothing that was not durable before is trusted again.
    fn sync_file(&mut self, what: &'static str) -> Result<(), ReplicaError> {
        self.file.sync().map_err(|e| {
            if !bug::is(Bug::RetryFailedSync) {
                self.state = Trust::Lost;
            }
            self.io(what, e)
        })
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn file(&self) -> Arc<dyn File> {
        self.file.clone()
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Bytes of the file, holes included.
    pub(crate) fn extent(&self) -> u64 {
        self.space.end()
    }

    /// Stores clusters in free places, in few writes, and says where. Not durable before
    /// [`Image::sync`]. On an error nothing is taken.
    pub(crate) fn append(&mut self, clusters: &[Stored<'_>]) -> Result<Vec<Place>, ReplicaError> {
        self.check_sure()?;
        let lens = |raw: bool| -> Vec<u64> {
            let of = |s: &Stored<'_>| match s {
                Stored::Raw(bytes) if raw => Some(bytes.len() as u64),
                Stored::Compressed(bytes) if !raw => Some(bytes.len() as u64),
                _ => None,
            };
            clusters.iter().filter_map(of).collect()
        };
        let mut raws = take_group(&mut self.space, &lens(true), CLUSTER).into_iter();
        let mut packed = take_group(&mut self.space, &lens(false), SECTOR).into_iter();
        let places: Vec<Place> = clusters
            .iter()
            .map(|stored| match stored {
                Stored::Zero => Place::Zero,
                Stored::Raw(_) => Place::Raw(raws.next().unwrap_or(0)),
                Stored::Compressed(bytes) => {
                    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    Place::Compressed { offset: packed.next().unwrap_or(0), len }
                }
            })
            .collect();
        match self.write_places(clusters, &places) {
            Ok(()) => {
                self.unsynced = true;
                Ok(places)
            }
            Err(source) => {
                self.give_back(&places);
                Err(self.io("storing clusters", source))
            }
        }
    }

    /// Writes neighbours together.
    fn write_places(&mut self, clusters: &[Stored<'_>], places: &[Place]) -> std::io::Result<()> {
        let (mut start, mut buffer) = (0, std::mem::take(&mut self.buffer));
        buffer.clear();
        for (stored, place) in clusters.iter().zip(places) {
            let (Stored::Raw(bytes) | Stored::Compressed(bytes)) = stored else { continue };
            let Some(range) = place.range() else { continue };
            if !buffer.is_empty() && start + buffer.len() as u64 != range.start {
                self.file.write_at(buffer.as_slice(), start)?;
                buffer.clear();
            }
            if buffer.is_empty() {
                start = range.start;
            }
            buffer.extend_from_slice(bytes);
            // Whole sectors, so that what the reader fetches is always there.
            buffer.pad_to(512);
        }
        if !buffer.is_empty() {
            self.file.write_at(buffer.as_slice(), start)?;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Makes everything appended durable.
    pub(crate) fn sync(&mut self) -> Result<(), ReplicaError> {
        self.check_sure()?;
        if self.unsynced && !bug::is(Bug::SkipImageSync) {
            self.sync_file("making data durable")?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Takes back places of a cycle that was given up: no reader can know them. Their space
    /// goes back to the file system, for what failed may have failed for want of it.
    pub(crate) fn give_back(&mut self, places: &[Place]) {
        let given_back: Sectors = places.iter().filter_map(Place::range).collect();
        given_back.ranges().for_each(|run| self.space.give_back(run));
        if bug::is(Bug::KeepGivenUp) || self.is_uncertain() {
            return;
        }
        for range in given_back.ranges() {
            if let Err(error) = self.punch(&range) {
                tracing::warn!(image = %self.path.display(), %error, "the space of a cycle that was given up stays taken");
                return;
            }
        }
    }

    fn punch(&self, range: &Range<u64>) -> std::io::Result<()> {
        // Whole clusters only: file systems free nothing smaller.
        let start = range.start.next_multiple_of(CLUSTER);
        let end = range.end / CLUSTER * CLUSTER;
        if start < end { self.file.punch(start, end - start) } else { Ok(()) }
    }

    /// Frees places that readers may still be at.
    pub(crate) fn free(&mut self, mut places: Sectors) {
        places.remove(&self.rescued);
        places.remove(&self.held);
        places.ranges().for_each(|run| self.space.quarantine(run));
    }

    /// Ends the quarantine where no other program reads the image, and gives the space of
    /// long free runs back to the file system. Returns the bytes that became free.
    pub(crate) fn release_unread(&mut self) -> Result<u64, ReplicaError> {
        let waiting = self.space.quarantined();
        if waiting == 0 || self.is_uncertain() || self.read_by_others()? {
            return Ok(0);
        }
        for range in self.space.release().ranges() {
            self.punch(&range).map_err(|e| self.io("giving space back", e))?;
        }
        Ok(waiting)
    }

    /// The point that the active tables show, where they show one.
    pub(crate) fn active_point(&self) -> Option<PointId> {
        self.view.active_point()
    }

    /// Whether nothing is published in it, and nothing of it is kept for what was.
    pub(crate) fn is_bare(&self) -> bool {
        self.view.published.is_empty()
            && self.rescued.is_empty()
            && self.held.is_empty()
            && !self.is_uncertain()
    }

    /// Frees again, but only after a quarantine, all that is free now: so that the space of
    /// what was let go without being named goes back to the file system.
    pub(crate) fn quarantine_free(&mut self) -> Result<(), ReplicaError> {
        let size = self.file.size().map_err(|e| self.io("reading an image's size", e))?;
        self.space.quarantine_all(size);
        Ok(())
    }

    fn io(&self, what: &'static str, source: std::io::Error) -> ReplicaError {
        ReplicaError::Io { what, dir: self.path.clone(), source }
    }

    fn format(&self, source: FormatError) -> ReplicaError {
        ReplicaError::Format { path: self.path.clone(), source }
    }
}

/// Whether the place of the header holds none.
fn is_blank(file: &dyn File) -> std::io::Result<bool> {
    let mut head = [0; farshore_qcow2::HEADER_MAX];
    let len = file.read_at(&mut head, 0)?;
    Ok(head[..len].iter().all(|b| *b == 0))
}
