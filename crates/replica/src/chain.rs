//! The chain of sealed elements, oldest first: what makes a replica's points. Every
//! element names the one before it, so that after any crash the newest one whole says
//! which files belong and which are leftovers.

use std::path::{Path, PathBuf};

use farshore_delta::{DeltaError, DeltaFile, ElementKind, Footer};
use farshore_env::{Files, OpenMode};
use farshore_types::{DiskKey, PointId, PointRef};

use crate::{
    ReplicaError,
    layout::{DELTA_SUFFIX, Layout, UNFINISHED_SUFFIX},
    report::{Dropped, OpenReport},
};

/// One sealed element.
#[derive(Clone)]
pub(crate) struct Element {
    pub(crate) delta: DeltaFile,
    pub(crate) path: PathBuf,
}

impl Element {
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

#[derive(Clone, Default)]
pub(crate) struct Chain {
    pub(crate) elements: Vec<Element>,
}

impl Chain {
    /// Reads the directory: the longest whole chain that ends in the newest element is
    /// kept; what a crash left is removed, what is damaged is moved aside and named.
    pub(crate) fn open(
        files: &dyn Files,
        layout: &Layout,
        report: &mut OpenReport,
    ) -> Result<Chain, ReplicaError> {
        let io = |source| ReplicaError::Io { what: "reading the chain", dir: layout.chain(), source };
        let mut found: Vec<Element> = Vec::new();
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
                Ok(delta) if delta.footer().id == id => found.push(Element { delta, path }),
                Ok(_) => set_aside(files, layout, path, "names another point".into(), report)?,
                Err(DeltaError::Io(e)) => return Err(io(e)),
                Err(e) => set_aside(files, layout, path, e.to_string(), report)?,
            }
        }
        found.sort_unstable_by_key(Element::id);
        let chain = Chain::choose(files, layout, found, report)?;
        // An agent that was killed may have left names that are seen but not durable: what
        // is shown and built upon from here on must be, and what is removed must stay away.
        files.sync_dir(&layout.chain()).map_err(io)?;
        Ok(chain)
    }

    fn choose(
        files: &dyn Files,
        layout: &Layout,
        mut found: Vec<Element>,
        report: &mut OpenReport,
    ) -> Result<Chain, ReplicaError> {
        while let Some(newest) = found.last() {
            match walk(&found, newest.id()) {
                Ok(kept) => {
                    let (elements, leftovers) = found.into_iter().partition(|e| kept.contains(&e.id()));
                    for left in leftovers {
                        let Element { path, .. } = left;
                        let io = |source| ReplicaError::Io {
                            what: "removing a leftover",
                            dir: layout.chain(),
                            source,
                        };
                        files.remove(&path).map_err(io)?;
                        report.dropped.push(Dropped { path, why: "had been pruned".into() });
                    }
                    return Ok(Chain { elements });
                }
                Err(missing) => {
                    // Nothing newer than a gap can be read whole; what is older can.
                    let Some(cut) = found.pop() else { break };
                    let why = format!("needs {missing}, which is missing or damaged");
                    set_aside(files, layout, cut.path, why, report)?;
                }
            }
        }
        Ok(Chain::default())
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
fn open_whole(files: &dyn Files, path: &Path) -> Result<DeltaFile, DeltaError> {
    let delta = DeltaFile::open(files.open(path, OpenMode::Read)?)?;
    delta.check()?;
    Ok(delta)
}

/// Ids from `newest` back to the first element, or the id of the one that is missing.
fn walk(found: &[Element], newest: PointId) -> Result<Vec<PointId>, PointId> {
    let (mut at, mut kept) = (Some(newest), Vec::new());
    while let Some(id) = at {
        let element = found.binary_search_by_key(&id, Element::id).map_err(|_| id)?;
        kept.push(id);
        // Parents are always older, so that a damaged file cannot make a ring.
        at = found[element].footer().parent.filter(|p| *p < id);
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
