//! The chain of sealed elements, oldest first: what makes a replica's points. Every
//! element names the one before it, so that after any crash the newest one whole says
//! which files belong and which are leftovers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use farshore_delta::{DeltaError, DeltaFile, ElementKind, Filter, Footer};
use farshore_env::{Files, OpenMode};
use farshore_types::{DiskKey, PointId, PointRef};

use crate::{
    ReplicaError,
    aside::{Aside, Rejoined},
    bug::{self, Bug},
    handles::{Handles, OnDemand},
    layout::{DELTA_SUFFIX, Layout, UNFINISHED_SUFFIX},
    report::{Dropped, OpenReport},
    sectors::Sectors,
};

/// One sealed element.
#[derive(Clone)]
pub(crate) struct Element {
    pub(crate) delta: DeltaFile,
    pub(crate) path: PathBuf,
    /// Made when single clusters are first looked for; shared by all copies of this.
    filter: Arc<Mutex<Option<Arc<Filter>>>>,
    /// Its file, where that is open only while it is read.
    resting: Option<Arc<OnDemand>>,
}

impl Element {
    pub(crate) fn new(delta: DeltaFile, path: PathBuf) -> Element {
        Element { delta, path, filter: Arc::default(), resting: None }
    }

    /// From here on its file is open only while it is read.
    pub(crate) fn rest(&mut self, files: &Arc<dyn Files>, handles: &Arc<Handles>) {
        let file = OnDemand::new(files.clone(), &self.path, handles.clone());
        self.delta = self.delta.clone().with_file(file.clone());
        self.resting = Some(file);
    }

    /// Before its name goes to another file, or away: who reads it reads on.
    pub(crate) fn hold(&self) -> Result<(), ReplicaError> {
        match &self.resting {
            Some(file) => file.hold().map_err(|e| self.error(e.into())),
            None => Ok(()),
        }
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

/// Places of each disk's image that elements refer to.
pub(crate) type Used = BTreeMap<DiskKey, Sectors>;

/// Readings of a file that the disk does not give back before it counts as damaged.
const READS_MAX: usize = 3;

/// A whole file.
pub(crate) struct Found {
    pub(crate) element: Element,
}

impl Found {
    pub(crate) fn id(&self) -> PointId {
        self.element.id()
    }
}

#[derive(Clone, Default)]
pub(crate) struct Chain {
    pub(crate) elements: Vec<Element>,
    /// What keeps their files from all being open at once.
    pub(crate) handles: Arc<Handles>,
}

impl Chain {
    /// Reads the directory: the longest whole chain that ends in the newest element is
    /// kept; what a crash left is removed, what is damaged is moved aside and named, and
    /// taken back once it is whole again. Also gives the places that the kept ones refer to
    /// (each file is read once), and what is aside.
    pub(crate) fn open(
        files: &dyn Files,
        layout: &Layout,
        report: &mut OpenReport,
    ) -> Result<(Chain, Used, Aside), ReplicaError> {
        let io = |source| ReplicaError::Io { what: "reading the chain", dir: layout.chain(), source };
        let mut stepped_over = 0;
        let (kept, aside, mut used) = loop {
            let (aside, mut used) = (Aside::read(files, layout)?, Used::new());
            let found = Chain::read(files, layout, &aside, report, &mut used)?;
            let read = found.len();
            let (kept, mut aside) = Chain::choose(files, layout, found, aside, report)?;
            match aside.rejoin(files, layout, &kept, report)? {
                Rejoined::No => {
                    aside.stepped_over = stepped_over;
                    let as_read = kept.len() == read && aside.is_empty() && report.damaged.is_empty();
                    break (kept, aside, as_read.then_some(used));
                }
                Rejoined::Yes(number) => stepped_over = stepped_over.max(number),
            }
        };
        // An agent that was killed may have left names that are seen but not durable: what
        // is shown and built upon from here on must be, and what is removed must stay away.
        files.sync_dir(&layout.chain()).map_err(io)?;
        let elements = kept.into_iter().map(|found| found.element).collect();
        let chain = Chain { elements, handles: Arc::default() };
        // Only where all that was read is what is kept does what was read say what is used.
        let used = match used.take().filter(|_| !bug::is(Bug::ReuseInUse)) {
            Some(used) => used,
            None => chain.used()?,
        };
        Ok((chain, used, aside))
    }

    /// Places that the elements refer to.
    fn used(&self) -> Result<Used, ReplicaError> {
        self.disks().into_iter().map(|disk| Ok((disk.clone(), self.used_by(&disk)?))).collect()
    }

    /// Places of one disk's image that the elements refer to.
    pub(crate) fn used_by(&self, disk: &DiskKey) -> Result<Sectors, ReplicaError> {
        let mut used = Sectors::default();
        for element in self.elements.iter().skip(usize::from(bug::is(Bug::ReuseInUse))) {
            for entry in element.delta.cursor(disk) {
                used.insert_place(entry.map_err(|e| element.error(e))?.place);
            }
        }
        Ok(used)
    }

    /// Lets all files be closed until they are read.
    pub(crate) fn rest(&mut self, files: &Arc<dyn Files>) {
        let handles = self.handles.clone();
        self.elements.iter_mut().for_each(|e| e.rest(files, &handles));
    }

    /// The whole files of the directory, oldest first. What any of them refers to is added to `used`.
    fn read(
        files: &dyn Files,
        layout: &Layout,
        aside: &Aside,
        report: &mut OpenReport,
        used: &mut Used,
    ) -> Result<Vec<Found>, ReplicaError> {
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
            let why = match read_again(files, &path, used) {
                Ok(whole) if whole.id() == id => {
                    found.push(whole);
                    continue;
                }
                Ok(_) => "names another point".into(),
                Err(e) => e.to_string(),
            };
            // A whole one must not be lost to one that is not: that one gives way to it.
            if aside.whole.iter().all(|whole| whole.id() != id) {
                set_aside(files, layout, path, why, report)?;
            }
        }
        found.sort_unstable_by_key(Found::id);
        Ok(found)
    }

    fn choose(
        files: &dyn Files,
        layout: &Layout,
        mut found: Vec<Found>,
        mut aside: Aside,
        report: &mut OpenReport,
    ) -> Result<(Vec<Found>, Aside), ReplicaError> {
        let mut chosen: Vec<Found> = Vec::new();
        let looked_into = !aside.is_empty();
        while let Some(newest) = found.last() {
            match walk(&found, &aside.whole, newest.id()) {
                Ok(kept) => {
                    let leftovers: Vec<Found>;
                    (chosen, leftovers) = found.into_iter().partition(|e| kept.contains(&e.id()));
                    for left in leftovers {
                        drop_leftover(files, layout, left, &aside, report)?;
                    }
                    chosen.extend(aside.take_back(files, layout, &kept, report)?);
                    chosen.sort_unstable_by_key(Found::id);
                    break;
                }
                Err(missing) => {
                    // Nothing newer than a gap can be read whole; what is older can.
                    let Some(cut) = found.pop() else { break };
                    let why = format!("needs {missing}, which is missing or damaged");
                    set_aside(files, layout, cut.element.path, why, report)?;
                }
            }
        }
        if looked_into || !report.damaged.is_empty() {
            // Also what this opening has put there, or taken.
            aside = Aside::read(files, layout)?;
            aside.look_for_gaps(&chosen);
        }
        Ok((chosen, aside))
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
/// whole store from being opened. What was read of the places that it refers to is added to
/// `used`, also where it fails.
pub(crate) fn open_whole(files: &dyn Files, path: &Path, used: &mut Used) -> Result<Found, DeltaError> {
    let delta = DeltaFile::open(files.open(path, OpenMode::Read)?)?;
    delta.check_each(|disk, entry| match used.get_mut(disk) {
        Some(places) => places.insert_place(entry.place),
        None => used.entry(disk.clone()).or_default().insert_place(entry.place),
    })?;
    Ok(Found { element: Element::new(delta, path.to_owned()) })
}

/// As [`open_whole`]: what the disk does not give back at once it may give back the next time.
fn read_again(files: &dyn Files, path: &Path, used: &mut Used) -> Result<Found, DeltaError> {
    let mut reads = 1;
    loop {
        match open_whole(files, path, used) {
            Err(DeltaError::Io(error)) if reads < READS_MAX => {
                tracing::warn!(path = %path.display(), %error, "reading it again");
                reads += 1;
            }
            read => return read,
        }
    }
}

/// What the newest element does not need was pruned; where something is aside, it may be
/// needed by that.
fn drop_leftover(
    files: &dyn Files,
    layout: &Layout,
    left: Found,
    aside: &Aside,
    report: &mut OpenReport,
) -> Result<(), ReplicaError> {
    let path = left.element.path;
    if !aside.is_empty() {
        return set_aside(files, layout, path, "the newest point does not stand on it".into(), report);
    }
    let io = |source| ReplicaError::Io { what: "removing a leftover", dir: layout.chain(), source };
    files.remove(&path).map_err(io)?;
    report.dropped.push(Dropped { path, why: "had been pruned".into() });
    Ok(())
}

/// Ids from `newest` back to the first element, of two sets, or the id of the one that is
/// missing.
pub(crate) fn walk(found: &[Found], aside: &[Found], newest: PointId) -> Result<Vec<PointId>, PointId> {
    let (mut at, mut kept) = (Some(newest), Vec::new());
    let find = |all: &'_ [Found], id| all.binary_search_by_key(&id, Found::id).ok();
    while let Some(id) = at {
        let element = match (find(found, id), find(aside, id)) {
            (Some(at), _) => &found[at],
            (None, Some(at)) => &aside[at],
            (None, None) => return Err(id),
        };
        kept.push(id);
        // Parents are always older, so that a damaged file cannot make a ring.
        at = element.element.footer().parent.filter(|p| *p < id);
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
