//! Scrubbing: what lies on disk is compared with what was sealed, so that decay is found
//! before the day a point is needed. Tables are compared with the chain and built anew where
//! they differ; data is only read. A check needs the store no more once it has been given
//! out; nothing that it reads is used again while it lives.

use farshore_delta::Place;
use farshore_types::{DiskKey, PointId};
use serde::{Deserialize, Serialize};

use crate::{
    PointReader, Replica, ReplicaError,
    bug::{self, Bug},
    chain::Element,
    image::Tables,
    read::{ReaderPin, map_of},
    report::Dropped,
};

/// All tables of a replica as they were at one moment, to be compared with the chain.
pub struct TableCheck {
    elements: Vec<Element>,
    disks: Vec<(DiskKey, Tables)>,
    _pin: ReaderPin,
}

impl Replica {
    /// The tables as they are now. The check holds freed places back while it lives.
    #[must_use]
    pub fn table_check(&self) -> TableCheck {
        let sure = self.images.iter().filter(|(_, image)| !image.is_uncertain());
        TableCheck {
            elements: self.chain.elements.clone(),
            disks: sure.map(|(disk, image)| (disk.clone(), image.tables())).collect(),
            _pin: self.readers.enter(self.last().map_or(PointId { epoch: 0, number: 0 }, |last| last.id)),
        }
    }

    /// Compares every image's published tables and reference counts with the chain.
    /// Returns what is wrong, an image at most once; reads all tables that there are.
    ///
    /// # Errors
    /// As [`TableCheck::run`].
    pub fn check_tables(&self) -> Result<Vec<Dropped>, ReplicaError> {
        self.table_check().run()
    }

    /// As [`Replica::check_tables`], and builds wrong tables anew, with the same points
    /// published. Returns what was wrong. Rescued points stay, where their own tables are
    /// sound: nothing else knows them.
    ///
    /// # Errors
    /// As [`Replica::check_tables`]; [`ReplicaError::BroughtUp`].
    pub fn mend_tables(&mut self) -> Result<Vec<Dropped>, ReplicaError> {
        self.check_receiving()?;
        self.mend_damaged_tables()
    }

    pub(crate) fn mend_damaged_tables(&mut self) -> Result<Vec<Dropped>, ReplicaError> {
        let faults = self.table_check().faults()?;
        for (disk, fault) in &faults {
            tracing::warn!(machine = %self.state.name, image = %fault.path.display(), why = %fault.why, "tables built anew");
            self.rebuild_tables(disk)?;
            self.report.rebuilt.push(fault.clone());
        }
        Ok(faults.into_iter().map(|(_, fault)| fault).collect())
    }

    /// Remembers that a file of the chain has been found damaged. It stays where it is, and
    /// what needs it is shown until the next open: moving it aside would cost all newer
    /// points at once, and they may be needed before the right file is put back.
    pub fn note_decayed(&mut self, error: &ReplicaError) {
        let ReplicaError::Delta { path, source, .. } = error else { return };
        if self.report.decayed.iter().all(|known| known.path != *path) {
            self.report.decayed.push(Dropped { path: path.clone(), why: source.to_string() });
        }
    }

    fn rebuild_tables(&mut self, disk: &DiskKey) -> Result<(), ReplicaError> {
        let Some(image) = self.images.get_mut(disk) else { return Ok(()) };
        let active = image.active_point();
        let (points, rescued): (Vec<PointId>, Vec<PointId>) =
            image.published().into_iter().partition(|p| self.chain.position(*p).is_some());
        image.rebuild(&rescued)?;
        for point in &points {
            self.publish_once(*point, &[], false)?;
        }
        match active.filter(|active| points.contains(active)) {
            Some(active) => self.publish_once(active, &[], true),
            None => Ok(()),
        }
    }
}

impl TableCheck {
    /// Returns what is wrong, an image at most once; reads all tables that there are.
    ///
    /// # Errors
    /// Where a delta file is damaged; else as the system reports.
    pub fn run(&self) -> Result<Vec<Dropped>, ReplicaError> {
        Ok(self.faults()?.into_iter().map(|(_, fault)| fault).collect())
    }

    fn faults(&self) -> Result<Vec<(DiskKey, Dropped)>, ReplicaError> {
        let mut faults = Vec::new();
        for (disk, tables) in &self.disks {
            if let Some(why) = self.fault(disk, tables)? {
                faults.push((disk.clone(), Dropped { path: tables.path.clone(), why }));
            }
        }
        Ok(faults)
    }

    fn fault(&self, disk: &DiskKey, tables: &Tables) -> Result<Option<String>, ReplicaError> {
        for point in tables.published() {
            // A rescued point has nothing to be compared with.
            let Ok(at) = self.elements.binary_search_by_key(&point, Element::id) else { continue };
            let fault = tables.fault_of_point(point, map_of(&self.elements[..=at], disk)?)?;
            if fault.is_some() {
                return Ok(fault);
            }
        }
        tables.fault_of_counts()
    }
}

/// A place in the reading of a replica's data, to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubPlace {
    /// The element.
    pub element: PointId,
    /// The disk.
    pub disk: DiskKey,
    /// The first of its clusters that was not read.
    pub cluster: u64,
}

/// Data that is not what was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decay {
    /// The first point that shows it.
    pub first: PointId,
    /// The last point that shows it.
    pub last: PointId,
    /// The disk.
    pub disk: DiskKey,
    /// Index of the cluster.
    pub cluster: u64,
    /// What is wrong.
    pub why: String,
}

/// Reads every byte that any point shows, once: element by element from the newest back, for
/// points share what did not change between them.
pub struct Scrub(PointReader);

impl Replica {
    /// A reading of the data as it is now; none where nothing was sealed yet. It holds freed
    /// places back while it lives: it is for a short while only, and then begun again where
    /// it stopped.
    #[must_use]
    pub fn scrub(&self) -> Option<Scrub> {
        self.last_reader().map(Scrub)
    }
}

impl Scrub {
    /// Reads from a place on (from the newest element, if none), until all is read or `goes_on`,
    /// told the bytes read for each cluster, says no. Returns where to go on; none at the end.
    ///
    /// # Errors
    /// Where a delta file is damaged ([`ReplicaError::Delta`]); else as the system reports.
    pub fn run(
        &self,
        from: Option<&ScrubPlace>,
        goes_on: &mut dyn FnMut(u64) -> bool,
        found: &mut dyn FnMut(Decay),
    ) -> Result<Option<ScrubPlace>, ReplicaError> {
        let mut buffer = Vec::new();
        for (at, element) in self.0.elements().iter().enumerate().rev() {
            if bug::is(Bug::ScrubNewestOnly) && at + 1 < self.0.elements().len() {
                break;
            }
            let same = from.filter(|from| from.element == element.id());
            if from.is_some_and(|from| from.element < element.id()) {
                continue;
            }
            let mut waiting = same.is_some_and(|from| element.delta.disk(&from.disk).is_some());
            for disk in element.footer().disks.iter().map(|d| &d.key) {
                let here = same.filter(|from| from.disk == *disk);
                waiting &= here.is_none();
                if waiting {
                    continue;
                }
                for entry in element.delta.cursor(disk) {
                    let entry = entry.map_err(|e| element.error(e))?;
                    if entry.place == Place::Zero || here.is_some_and(|from| entry.cluster < from.cluster) {
                        continue;
                    }
                    let read = match self.0.read(disk, &entry, &mut buffer) {
                        Ok(read) => read,
                        Err(error) => {
                            let why = match error {
                                ReplicaError::Corrupt { why, .. } => why.to_owned(),
                                // What the disk does not give back has decayed, too.
                                error => error.to_string(),
                            };
                            if let Some((first, last)) = self.shown_by(at, disk, entry.cluster)? {
                                found(Decay { first, last, disk: disk.clone(), cluster: entry.cluster, why });
                            }
                            buffer.len() as u64
                        }
                    };
                    if !goes_on(read) {
                        let (element, disk) = (element.id(), disk.clone());
                        return Ok(Some(ScrubPlace { element, disk, cluster: entry.cluster + 1 }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The first and the last point that show an element's entry.
    fn shown_by(
        &self,
        at: usize,
        disk: &DiskKey,
        cluster: u64,
    ) -> Result<Option<(PointId, PointId)>, ReplicaError> {
        let (mut first, mut last) = (None, None);
        for (after, element) in self.0.elements()[at..].iter().enumerate() {
            let cut =
                element.delta.disk(disk).is_none_or(|d| farshore_types::clusters_in(d.floor) <= cluster);
            let written = || element.delta.lookup(disk, cluster).map_err(|e| element.error(e));
            if after > 0 && (cut || written()?.is_some()) {
                break;
            }
            if element.is_point() {
                first = first.or(Some(element.id()));
                last = Some(element.id());
            }
        }
        Ok(first.zip(last))
    }
}
