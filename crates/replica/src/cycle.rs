//! One cycle being received: records are stored as they come, and become an element of
//! the chain only when the seal is durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::Path,
    time::Duration,
};

use farshore_delta::{
    DeltaError, DeltaFile, DeltaWriter, ElementKind, Entry, Footer, Place, RootBuilder, SourceChange,
};
use farshore_env::{Files, OpenMode};
use farshore_types::{Digest, DiskKey, PointId, PointRef, RootDigest, clusters_in};

use crate::{
    Adopted, CycleRule, Replica, ReplicaError, Stored,
    adopt::hidden_by_zeros,
    bug::{self, Bug},
    chain::Element,
    image::{Held, Image, Opened},
    layout::unfinished,
    report::Dropped,
    sectors::Sectors,
};

/// Most clusters of a disk in one cycle. The source seals a stage at a quarter of that, all
/// disks together, and what it was reading then comes on top.
pub(crate) const CYCLE_CLUSTERS_MAX: usize = 2 << 20;

/// Bytes of tables for each cluster of a disk.
const L2_ENTRY_LEN: u64 = 8;

/// Most that points age while no agent was there to count, in milliseconds. Less keeps more.
const DOWN_MS_MAX: u64 = 3600 * 1000;

/// What a cycle begins with.
#[derive(Clone, Debug)]
pub struct CycleStart {
    /// The number its element would get.
    pub number: u64,
    /// The element that the source's changes start from.
    pub base: Option<PointRef>,
    /// The machine's disks and their sizes in bytes, in the order that records name them.
    pub disks: Vec<(DiskKey, u64)>,
}

/// One changed cluster as it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Index of the cluster within its disk.
    pub cluster: u64,
    /// Digest of its plain content.
    pub digest: Digest,
    /// Its bytes.
    pub stored: Stored<'a>,
}

/// What seals a cycle.
#[derive(Clone, Debug)]
pub struct SealRequest {
    /// Point or stage.
    pub kind: ElementKind,
    /// Milliseconds from the captured instant to the arrival of the seal.
    pub age_ms: u64,
    /// The root that the source computed.
    pub root: RootDigest,
    /// The machine's definition, opaque here.
    pub definition: Vec<u8>,
}

pub(crate) struct OpenCycle {
    pub(crate) id: PointId,
    pub(crate) disks: Vec<(DiskKey, u64)>,
    pub(crate) changes: Vec<BTreeMap<u64, (Place, Digest)>>,
    pub(crate) received: u64,
    /// When it was opened, by the monotonic clock: its instant was before that.
    pub(crate) begun: Duration,
}

impl Replica {
    /// Opens a cycle; one that was open is given up.
    ///
    /// # Errors
    /// Where the cycle does not start from the last element, or its number does not rise.
    pub fn begin_cycle(&mut self, start: CycleStart) -> Result<(), ReplicaError> {
        self.check_receiving()?;
        self.give_up_cycle();
        let last = self.chain.last_ref();
        if start.base != last {
            let name = |p: Option<PointRef>| p.map_or("nothing".to_owned(), |p| p.id.to_string());
            let why =
                format!("it starts from {}, the replica's last element is {}", name(start.base), name(last));
            return Err(self.refused(start.number, CycleRule::Base, why));
        }
        if last.is_some_and(|l| start.number <= l.id.number) || start.number == 0 {
            return Err(self.refused(start.number, CycleRule::Base, "its number does not rise".into()));
        }
        for (disk, size) in &start.disks {
            self.ensure_image(disk, *size)?;
        }
        self.open = Some(OpenCycle {
            id: PointId { epoch: self.state.epoch.number, number: start.number },
            changes: vec![BTreeMap::new(); start.disks.len()],
            disks: start.disks,
            received: 0,
            begun: self.clock.monotonic(),
        });
        Ok(())
    }

    /// Stores records of the open cycle. Not durable yet.
    ///
    /// # Errors
    /// Where a record breaks a rule, or storing fails; the cycle is then given up.
    pub fn append(&mut self, disk: usize, records: &[Incoming<'_>]) -> Result<(), ReplicaError> {
        let result = self.try_append(disk, records);
        if result.is_err() {
            self.give_up_cycle();
        }
        result
    }

    fn try_append(&mut self, disk: usize, records: &[Incoming<'_>]) -> Result<(), ReplicaError> {
        // A bring-up has ended the cycle, and is what its source should hear of.
        self.check_receiving()?;
        let Some(open) = &mut self.open else {
            return Err(self.refused(0, CycleRule::Open, "no cycle is open".into()));
        };
        let number = open.id.number;
        let Some((key, size)) = open.disks.get(disk) else {
            return Err(self.refused(number, CycleRule::Records, format!("it has no disk number {disk}")));
        };
        let changes = &mut open.changes[disk];
        let (mut fault, mut batch) = (None, BTreeSet::new());
        for record in records {
            if record.cluster >= clusters_in(*size) {
                let why = format!("cluster {} is beyond the end of disk {key}", record.cluster);
                fault = Some((CycleRule::Records, why));
            } else if changes.contains_key(&record.cluster) || !batch.insert(record.cluster) {
                let why = format!("cluster {} of disk {key} came twice", record.cluster);
                fault = Some((CycleRule::Records, why));
            } else if changes.len() + records.len() > CYCLE_CLUSTERS_MAX {
                let why = format!("it has more than {CYCLE_CLUSTERS_MAX} clusters on disk {key}");
                fault = Some((CycleRule::Size, why));
            }
        }
        if let Some((rule, why)) = fault {
            return Err(self.refused(number, rule, why));
        }
        let Some(image) = self.images.get_mut(key) else {
            let why = format!("disk {key} has no image");
            return Err(self.refused(number, CycleRule::Records, why));
        };
        let stored: Vec<Stored<'_>> = records.iter().map(|r| r.stored).collect();
        check_reserve(&*self.files, self.layout.dir(), self.options.reserve, &open.disks)?;
        let places = image.append(&stored)?;
        for (record, place) in records.iter().zip(places) {
            open.received += place.range().map_or(0, |r| r.end - r.start);
            changes.insert(record.cluster, (place, record.digest));
        }
        Ok(())
    }

    /// Whether a cycle is just being received.
    #[must_use]
    pub fn is_taking_cycle(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the open cycle has the disk.
    pub(crate) fn is_receiving(&self, disk: &DiskKey) -> bool {
        self.open.as_ref().is_some_and(|open| open.disks.iter().any(|(key, _)| key == disk))
    }

    /// Gives the open cycle up; its places are free again, for others, too. Nothing happens without one.
    pub fn give_up_cycle(&mut self) {
        let Some(open) = self.open.take() else { return };
        for ((disk, _), changes) in open.disks.iter().zip(&open.changes) {
            let places: Vec<Place> = changes.values().map(|(p, _)| *p).collect();
            if let Some(image) = self.images.get_mut(disk) {
                image.give_back(&places);
            }
        }
    }

    /// Makes the open cycle an element of the chain, durably. Only when this returns may
    /// the source be told.
    ///
    /// # Errors
    /// Where the root differs from what the records give, or storing fails; the cycle is
    /// then given up and the replica is as it was.
    pub fn seal(&mut self, request: &SealRequest) -> Result<PointRef, ReplicaError> {
        match self.try_seal(request) {
            Ok(sealed) => {
                self.open = None;
                Ok(sealed)
            }
            Err(WriteFailed { error, perhaps_named: None }) => {
                self.give_up_cycle();
                Err(error)
            }
            // The element may be found after a crash: its places must not be used again
            // before the store is opened anew and knows.
            Err(WriteFailed { error, perhaps_named: Some(_) }) => {
                self.hold_doubtful();
                Err(error)
            }
        }
    }

    pub(crate) fn hold_doubtful(&mut self) {
        let Some(open) = self.open.take() else { return };
        for ((disk, _), changes) in open.disks.into_iter().zip(open.changes) {
            let doubtful = self.doubtful.entry(disk).or_default();
            changes.values().for_each(|(place, _)| doubtful.insert_place(*place));
        }
    }

    fn try_seal(&mut self, request: &SealRequest) -> Result<PointRef, WriteFailed> {
        self.check_receiving()?;
        // Before anything that takes time here: the age is as of now.
        let (arrived, arrived_ms) = (self.clock.monotonic(), self.clock.wall_ms());
        let Some(open) = &self.open else {
            return Err(self.refused(0, CycleRule::Open, "no cycle is open".into()).into());
        };
        let before = self.chain.last_ref();
        let root = root_of(before, open);
        if root != request.root && !bug::is(Bug::SkipRootCheck) {
            return Err(self
                .refused(open.id.number, CycleRule::Root, "its root digest does not match its records".into())
                .into());
        }
        for (disk, _) in &open.disks {
            if let Some(image) = self.images.get_mut(disk) {
                image.sync()?;
            }
        }
        let captured = captured_at(arrived, request.age_ms, open.begun);
        let age_ms = u64::try_from(arrived.saturating_sub(captured).as_millis()).unwrap_or(u64::MAX);
        let captured_ms = arrived_ms.saturating_sub(age_ms);
        let footer = Footer {
            id: open.id,
            parent: before.map(|b| b.id),
            root,
            kind: request.kind,
            captured_ms,
            steady_ms: Some(self.steady_ms(captured_ms, captured)),
            sealed_ms: self.clock.wall_ms(),
            received: open.received,
            disks: Vec::new(),
            definition: (0, 0),
            definition_crc: 0,
        };
        let id = open.id;
        let path = self.layout.delta(id);
        let element = self.write_element(footer, &request.definition, |writer, _| {
            let failed = |source| ReplicaError::Delta { id, path, source };
            write_changes(writer, open, self.chain.last(), &self.state.adopted).map_err(failed)
        })?;
        self.chain.elements.push(element);
        self.captured = Some((id, captured));
        Ok(PointRef { id, root })
    }

    /// Milliseconds since the instant of the newest point at least, by a clock that is never
    /// set; 0 where this run did not see it sealed.
    #[must_use]
    pub fn newest_age_ms(&self) -> u64 {
        let seen = self.captured.filter(|(id, _)| self.chain.last().is_some_and(|last| last.id() == *id));
        let age = seen.map(|(_, captured)| self.clock.monotonic().saturating_sub(captured));
        age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }

    /// An instant by a clock that the wall clock's jumps do not reach: given by both clocks
    /// of this host.
    pub(crate) fn steady_ms(&self, wall_ms: u64, monotonic: Duration) -> u64 {
        let Some(last) = self.chain.last() else { return wall_ms };
        let passed = match self.captured {
            Some((id, before)) if id == last.id() && !bug::is(Bug::AgeByWallClock) => {
                u64::try_from(monotonic.saturating_sub(before).as_millis()).unwrap_or(u64::MAX)
            }
            // While the agent was down, only the wall clock has gone on.
            _ => {
                let footer = last.footer();
                // What a machine wrote itself, of which nothing was received, is sealed long after the
                // instant that it counts for.
                let own = footer.received == 0;
                let at_ms = if own { footer.captured_ms.max(footer.sealed_ms) } else { footer.captured_ms };
                let passed = wall_ms.saturating_sub(at_ms);
                if bug::is(Bug::AgeByWallClock) { passed } else { passed.min(DOWN_MS_MAX) }
            }
        };
        last.footer().steady_ms().saturating_add(passed)
    }

    /// Writes a delta file and puts it in its place, durably. `entries` may still change
    /// what the footer says, but for its id.
    pub(crate) fn write_element(
        &self,
        mut footer: Footer,
        definition: &[u8],
        entries: impl FnOnce(&mut DeltaWriter, &mut Footer) -> Result<(), ReplicaError>,
    ) -> Result<Element, WriteFailed> {
        let id = footer.id;
        let path = self.layout.delta(id);
        let new = unfinished(&path);
        let failed = |source: DeltaError| ReplicaError::Delta { id, path: path.clone(), source };
        let file = self.files.open(&new, OpenMode::Truncate).map_err(|e| failed(e.into()))?;
        let mut writer = DeltaWriter::new(file.clone());
        entries(&mut writer, &mut footer)?;
        writer.finish(footer, definition).map_err(failed)?;
        let delta = DeltaFile::open(file).map_err(failed)?;
        let named = self.files.rename(&new, &path).and_then(|()| match bug::is(Bug::SkipDirSync) {
            true => Ok(()),
            false => self.files.sync_dir(&self.layout.chain()),
        });
        match named {
            Ok(()) => {
                let mut element = Element::new(delta, path);
                element.rest(&self.files, &self.chain.handles);
                Ok(element)
            }
            Err(e) => {
                let error = failed(e.into());
                Err(WriteFailed { error, perhaps_named: Some(Box::new(Element::new(delta, path))) })
            }
        }
    }

    /// The disk's image, created if it is new, opened again if a failed write left it in
    /// an unknown state.
    pub(crate) fn ensure_image(&mut self, disk: &DiskKey, size: u64) -> Result<(), ReplicaError> {
        if self.images.get(disk).is_some_and(|image| !image.is_uncertain()) {
            return Ok(());
        }
        let used = self.chain.used_by(disk)?;
        self.open_image(disk, size, used)
    }

    /// Opens the disk's image, of which the chain uses these places.
    pub(crate) fn open_image(
        &mut self,
        disk: &DiskKey,
        size: u64,
        mut used: Sectors,
    ) -> Result<(), ReplicaError> {
        let backing = self.state.adopted.get(disk).map(|a| (a.path.clone(), a.format.clone()));
        let path = self.layout.image(disk);
        self.doubtful.get(disk).into_iter().for_each(|doubtful| used.merge(doubtful));
        let in_chain = |id| self.chain.position(id).is_some();
        let held = Held { places: self.aside.used(disk), all: self.aside.hides_places() };
        let (image, opened) = Image::open(&*self.files, path.clone(), size, backing, used, held, in_chain)?;
        self.files.sync_dir(self.layout.dir()).map_err(|e| self.io("creating a disk image", e))?;
        match opened {
            Opened::AsLeft => {}
            Opened::Rebuilt(why) => self.report.rebuilt.push(Dropped { path, why }),
            Opened::Rescued(points) => self.report.rescued.extend(points),
        }
        self.images.insert(disk.clone(), image);
        Ok(())
    }

    pub(crate) fn refused(&self, cycle: u64, rule: CycleRule, why: String) -> ReplicaError {
        ReplicaError::Cycle { machine: self.state.name.clone(), cycle, rule, why }
    }
}

/// Whether there is more space left than what cycles must leave.
pub(crate) fn check_reserve(
    files: &dyn Files,
    dir: &Path,
    reserve: u64,
    disks: &[(DiskKey, u64)],
) -> Result<(), ReplicaError> {
    let io = |what, source| ReplicaError::Io { what, dir: dir.to_owned(), source };
    let tables = disks.iter().map(|(_, size)| clusters_in(*size) * L2_ENTRY_LEN).max().unwrap_or(0);
    let free = files.free_space(dir).map_err(|e| io("asking for free space", e))?;
    if reserve == 0 || free >= reserve.saturating_add(tables) || bug::is(Bug::NoReserve) {
        return Ok(());
    }
    Err(io("storing clusters (the last of the space is kept for bring-ups)", ErrorKind::StorageFull.into()))
}

/// An element was not written.
pub(crate) struct WriteFailed {
    pub(crate) error: ReplicaError,
    /// The element, where its file may have got its name all the same.
    pub(crate) perhaps_named: Option<Box<Element>>,
}

impl From<ReplicaError> for WriteFailed {
    fn from(error: ReplicaError) -> WriteFailed {
        WriteFailed { error, perhaps_named: None }
    }
}

/// When a cycle's point was captured, by the monotonic clock here: as the seal says, whose age
/// leaves out what was before it in the line, and before the cycle was opened for certain.
fn captured_at(arrived: Duration, age_ms: u64, begun: Duration) -> Duration {
    arrived.saturating_sub(Duration::from_millis(age_ms)).min(begun)
}

pub(crate) fn root_of(before: Option<PointRef>, open: &OpenCycle) -> RootDigest {
    let mut builder = RootBuilder::new(before.map_or(RootDigest::NONE, |b| b.root), open.id);
    for ((disk, size), changes) in open.disks.iter().zip(&open.changes) {
        let changes =
            changes.iter().map(|(cluster, (_, digest))| SourceChange { cluster: *cluster, digest: *digest });
        builder.disk(disk, *size, changes);
    }
    builder.finish()
}

pub(crate) fn write_changes(
    writer: &mut DeltaWriter,
    open: &OpenCycle,
    before: Option<&Element>,
    adopted: &BTreeMap<DiskKey, Adopted>,
) -> Result<(), DeltaError> {
    for ((disk, size), changes) in open.disks.iter().zip(&open.changes) {
        let had = before.and_then(|b| b.delta.disk(disk)).map_or(0, |d| d.size);
        writer.begin_disk(disk.clone(), *size, had.min(*size))?;
        let mut hidden = hidden_by_zeros(adopted.get(disk), had, *size)
            .filter(|cluster| !changes.contains_key(cluster))
            .map(|cluster| Entry { cluster, place: Place::Zero, digest: Digest::ZERO })
            .peekable();
        for (cluster, (place, digest)) in changes {
            while let Some(zeros) = hidden.next_if(|zeros| zeros.cluster < *cluster) {
                writer.push(&zeros)?;
            }
            writer.push(&Entry { cluster: *cluster, place: *place, digest: *digest })?;
        }
        hidden.try_for_each(|zeros| writer.push(&zeros))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_never_taken_for_younger_than_its_cycle() {
        let at = |secs: u64| Duration::from_secs(secs);
        assert_eq!(captured_at(at(100), 3000, at(98)), at(97), "the seal says it");
        // A seal that waited behind its data: that it is three seconds old was so when it was sent.
        assert_eq!(captured_at(at(120), 3000, at(98)), at(98));
        assert_eq!(captured_at(at(2), 3000, at(1)), at(0), "older than this run's clock");
    }
}
