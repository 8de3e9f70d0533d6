//! The chain of sealed elements, oldest first: what makes a replica's points. Every
//! element names the one before it, so that after any crash the newest one whole says
//! which files belong and which are leftovers.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use farshore_delta::{DeltaError, DeltaFile, ElementKind, Filter, Footer, Place};
use farshore_env::{Files, OpenMode};
use farshore_types::{DiskKey, PointId, PointRef};

use crate::{
    ReplicaError,
    bug::{self, Bug},
    layout::{DELTA_SUFFIX, Layout, UNFINISHED_SUFFIX},
    report::{Dropped, OpenReport},
};

/// One sealed element.
#[derive(Clone)]
pub(crate) struct Element {
    pub(crate) delta: DeltaFile,
    pub(crate) path: PathBuf,
    /// Made when single clusters are first looked for; shared by all copies of this.
    filter: Arc<Mutex<Option<Arc<Filter>>>>,
}

impl Element {
    pub(crate) fn new(delta: DeltaFile, path: PathBuf) -> Element {
        Element { delta, path, filter: Arc::default() }
    }

    /// Entries of all its disks.
    pub(crate) fn entries(&self) -> u64 {
        self.footer().disks.iter().map(|d| d.entries).sum()
    }

    /// Its filter. One that cannot be made is none: whoever then reads a page finds out why.
    pub(crate) fn filter(&self) -> Option<Arc<Filter>> {
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        if filter.is_none() {
            *filter = Filter::of(&self.delta).ok().map(Arc::new);
        }
        filter.clone()
    }

    /// Gives the filter's memory back.
    pub(crate) fn drop_filter(&self) {
        *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn footer(&self) -> &Footer {
        self.delta.footer()
    }

    pub(crate) fn id(&self) -> PointId {
        self.footer().id
    }

    pub(crate) fn is_point(&self) -> bool {
        matches!(self.footer().kind, ElementKind::Point(_))
    }

    pub(crate) fn error(&self, source: DeltaError) -> ReplicaError {
        ReplicaError::Delta { id: self.id(), path: self.path.clone(), source }
    }
}

/// Places of each disk that elements refer to, neighbours as one.
pub(crate) type Used = BTreeMap<DiskKey, Vec<Range<u64>>>;

/// A whole file of the chain's directory, with what it refers to.
struct Found {
    element: Element,
    used: Used,
}

impl Found {
    fn id(&self) -> PointId {
        self.element.id()
    }
}

#[derive(Clone, Default)]
pub(crate) struct Chain {
    pub(crate) elements: Vec<Element>,
}

impl Chain {
    /// Reads the directory: the longest whole chain that ends in the newest element is
    /// kept; what a crash left is removed, what is damaged is moved aside and named. Also
    /// gives the places that the kept ones refer to: each file is read once.
    pub(crate) fn open(
        files: &dyn Files,
        layout: &Layout,
        report: &mut OpenReport,
    ) -> Result<(Chain, Used), ReplicaError> {
        let io = |source| ReplicaError::Io { what: "reading the chain", dir: layout.chain(), source };
        let mut found: Vec<Found> = Vec::new();
        for name in files.list(&layout.chain()).map_err(io)? {
            let path = layout.chain().join(&name);
            if name.ends_with(UNFINISHED_SUFFIX) {
                files.remove(&path).map_err(io)?;
                report.dropped.push(Dropped { path, why: "was not finished".into() });
                continue;
            }
            let Some(id) = name.strip_suffix(DELTA_SUFFIX).and_then(|n| n.parse::<PointId>().ok()) else {
                continue;
            };
            match open_whole(files, &path) {
                Ok((delta, used)) if delta.footer().id == id => {
                    found.push(Found { element: Element::new(delta, path), used });
                }
                Ok(_) => set_aside(files, layout, path, "names another point".into(), report)?,
                Err(DeltaError::Io(e)) => return Err(io(e)),
                Err(e) => set_aside(files, layout, path, e.to_string(), report)?,
            }
        }
        found.sort_unstable_by_key(Found::id);
        let kept = Chain::choose(files, layout, found, report)?;
        // An agent that was killed may have left names that are seen but not durable: what
        // is shown and built upon from here on must be, and what is removed must stay away.
        files.sync_dir(&layout.chain()).map_err(io)?;
        let (mut chain, mut used) = (Chain::default(), Used::new());
        for (at, found) in kept.into_iter().enumerate() {
            chain.elements.push(found.element);
            let overlooked = at == 0 && bug::is(Bug::ReuseInUse);
            for (disk, places) in found.used.into_iter().filter(|_| !overlooked) {
                used.entry(disk).or_default().extend(places);
            }
        }
        Ok((chain, used))
    }

    fn choose(
        files: &dyn Files,
        layout: &Layout,
        mut found: Vec<Found>,
        report: &mut OpenReport,
    ) -> Result<Vec<Found>, ReplicaError> {
        while let Some(newest) = found.last() {
            match walk(&found, newest.id()) {
                Ok(kept) => {
                    let (chosen, leftovers) = found.into_iter().partition(|e| kept.contains(&e.id()));
                    let leftovers: Vec<Found> = leftovers;
                    for path in leftovers.into_iter().map(|left| left.element.path) {
                        let io = |source| ReplicaError::Io {
                            what: "removing a leftover",
                            dir: layout.chain(),
                            source,
                        };
                        files.remove(&path).map_err(io)?;
                        report.dropped.push(Dropped { path, why: "had been pruned".into() });
                    }
                    return Ok(chosen);
                }
                Err(missing) => {
                    // Nothing newer than a gap can be read whole; what is older can.
                    let Some(cut) = found.pop() else { break };
                    let why = format!("needs {missing}, which is missing or damaged");
                    set_aside(files, layout, cut.element.path, why, report)?;
                }
            }
        }
        Ok(Vec::new())
    }

    pub(crate) fn last(&self) -> Option<&Element> {
        self.elements.last()
    }

    pub(crate) fn last_ref(&self) -> Option<PointRef> {
        self.last().map(|e| PointRef { id: e.id(), root: e.footer().root })
    }

    pub(crate) fn position(&self, id: PointId) -> Option<usize> {
        self.elements.binary_search_by_key(&id, Element::id).ok()
    }

    pub(crate) fn points(&self) -> impl DoubleEndedIterator<Item = &Element> {
        self.elements.iter().filter(|e| e.is_point())
    }

    /// Every disk that any element has.
    pub(crate) fn disks(&self) -> Vec<DiskKey> {
        let mut out: Vec<DiskKey> =
            self.elements.iter().flat_map(|e| e.footer().disks.iter().map(|d| d.key.clone())).collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

/// Opens a delta file and reads all of it: one damaged page, found later, would keep the
/// whole store from being opened.
fn open_whole(files: &dyn Files, path: &Path) -> Result<(DeltaFile, Used), DeltaError> {
    let delta = DeltaFile::open(files.open(path, OpenMode::Read)?)?;
    let mut used = Used::new();
    delta.check_each(|disk, entry| match used.get_mut(disk) {
        Some(places) => add_place(places, entry.place),
        None => add_place(used.entry(disk.clone()).or_default(), entry.place),
    })?;
    Ok((delta, used))
}

/// Adds a place to those in use; one that goes on where the last one ends becomes part of it.
pub(crate) fn add_place(used: &mut Vec<Range<u64>>, place: Place) {
    match (place.range(), used.last_mut()) {
        (Some(range), Some(last)) if last.end == range.start => last.end = range.end,
        (Some(range), _) => used.push(range),
        (None, _) => {}
    }
}

/// Ids from `newest` back to the first element, or the id of the one that is missing.
fn walk(found: &[Found], newest: PointId) -> Result<Vec<PointId>, PointId> {
    let (mut at, mut kept) = (Some(newest), Vec::new());
    while let Some(id) = at {
        let element = found.binary_search_by_key(&id, Found::id).map_err(|_| id)?;
        kept.push(id);
        // Parents are always older, so that a damaged file cannot make a ring.
        at = found[element].element.footer().parent.filter(|p| *p < id);
    }
    Ok(kept)
}

fn set_aside(
    files: &dyn Files,
    layout: &Layout,
    path: PathBuf,
    why: String,
    report: &mut OpenReport,
) -> Result<(), ReplicaError> {
    let io =
        |source| ReplicaError::Io { what: "moving a damaged file aside", dir: layout.quarantine(), source };
    files.create_dir_all(&layout.quarantine()).map_err(io)?;
    let name = path.file_name().map(PathBuf::from).unwrap_or_default();
    files.rename(&path, &layout.quarantine().join(name)).map_err(io)?;
    files.sync_dir(&layout.chain()).and_then(|()| files.sync_dir(&layout.quarantine())).map_err(io)?;
    report.damaged.push(Dropped { path, why });
    Ok(())
}
