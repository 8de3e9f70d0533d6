//! Elements set aside: files of the chain that damage has cut off, or that cannot be read,
//! moved to the quarantine. Nothing they may refer to is used again before they are dropped,
//! so that they can be taken back as soon as the right file is there again. This module must
//! never remove a file that may be the only good copy of something.

use farshore_delta::{DeltaError, DeltaWriter, ElementKind};
use farshore_env::{Files, OpenMode};
use farshore_types::{DiskKey, PointId};

use crate::{
    ReplicaError,
    bug::{self, Bug},
    chain::{Found, Used, open_whole, walk},
    layout::{DELTA_SUFFIX, Layout, unfinished},
    report::OpenReport,
    sectors::Sectors,
};

/// What lies in the quarantine.
#[derive(Default)]
pub(crate) struct Aside {
    /// Files that can be read whole, oldest first.
    pub(crate) whole: Vec<Found>,
    /// Names of those that cannot.
    broken: Vec<PointId>,
    /// What can be read of the places that all of them refer to.
    used: Used,
    /// Whether a whole file needs one that is nowhere: what that one refers to is unknown.
    incomplete: bool,
    /// The highest number that was stepped over and is free again by [`Aside::rejoin`]: a
    /// source may know it.
    pub(crate) stepped_over: u64,
}

/// What became of an attempt to put what is aside back in its place.
pub(crate) enum Rejoined {
    /// Nothing was to be done, or can be.
    No,
    /// The chain must be read anew; this number was in it until now.
    Yes(u64),
}

impl Aside {
    /// Reads the quarantine.
    ///
    /// # Errors
    /// Where the directory cannot be listed.
    pub(crate) fn read(files: &dyn Files, layout: &Layout) -> Result<Aside, ReplicaError> {
        let names = match files.list(&layout.quarantine()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(io(layout))?,
        };
        let mut aside = Aside::default();
        for name in names {
            let Some(id) = name.strip_suffix(DELTA_SUFFIX).and_then(|n| n.parse::<PointId>().ok()) else {
                continue;
            };
            match open_whole(files, &layout.quarantine().join(&name), &mut aside.used) {
                Ok(found) if found.id() == id => aside.whole.push(found),
                _ => aside.broken.push(id),
            }
        }
        aside.whole.sort_unstable_by_key(Found::id);
        Ok(aside)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.broken.is_empty()
    }

    /// Names of all, oldest first.
    pub(crate) fn ids(&self) -> Vec<PointId> {
        let mut ids: Vec<PointId> = self.whole.iter().map(Found::id).chain(self.broken.clone()).collect();
        ids.sort_unstable();
        ids
    }

    /// When the newest that can be read was captured, in milliseconds; none where one cannot.
    pub(crate) fn newest_ms(&self) -> Option<u64> {
        self.whole.iter().map(|found| found.element.footer().steady_ms()).max()
    }

    /// Whether they may refer to places that nobody knows.
    pub(crate) fn hides_places(&self) -> bool {
        (self.incomplete || !self.broken.is_empty()) && !bug::is(Bug::ReuseSetAside)
    }

    /// The known places of a disk that they refer to.
    pub(crate) fn used(&self, disk: &DiskKey) -> Sectors {
        match self.used.get(disk) {
            Some(used) if !bug::is(Bug::ReuseSetAside) => used.clone(),
            _ => Sectors::default(),
        }
    }

    /// Moves those of `kept` back into the chain, and removes what was aside of the rest of
    /// them: the chain has each of these whole.
    pub(crate) fn take_back(
        &mut self,
        files: &dyn Files,
        layout: &Layout,
        kept: &[PointId],
        report: &mut OpenReport,
    ) -> Result<Vec<Found>, ReplicaError> {
        let ours = |id: &PointId| kept.contains(id);
        // From the oldest on: whatever a crash leaves is a chain, and the rest still aside.
        let mut back: Vec<Found> = self.whole.extract_if(.., |found| ours(&found.id())).collect();
        for found in &mut back {
            let path = layout.delta(found.id());
            files.rename(&found.element.path, &path).map_err(io(layout))?;
            found.element.path = path;
            report.restored.push(found.id());
        }
        let replaced: Vec<PointId> = self.broken.extract_if(.., |id| ours(id)).collect();
        let taken: Vec<PointId> = back.iter().map(Found::id).collect();
        if !back.is_empty() {
            files.sync_dir(&layout.chain()).map_err(io(layout))?;
        }
        for id in replaced.iter().filter(|id| !taken.contains(id)) {
            files.remove(&layout.quarantine().join(format!("{id}{DELTA_SUFFIX}"))).map_err(io(layout))?;
        }
        if !back.is_empty() || !replaced.is_empty() {
            files.sync_dir(&layout.quarantine()).map_err(io(layout))?;
        }
        Ok(back)
    }

    /// Whether all that the files aside need is there.
    pub(crate) fn look_for_gaps(&mut self, chain: &[Found]) {
        self.incomplete = self.whole.iter().any(|found| walk(chain, &self.whole, found.id()).is_err());
    }

    /// Makes the files aside part of the chain again, where they are whole again and nothing
    /// newer stands in another place than on top of them.
    ///
    /// # Errors
    /// As the system reports; the next open goes on.
    pub(crate) fn rejoin(
        &self,
        files: &dyn Files,
        layout: &Layout,
        chain: &[Found],
        report: &mut OpenReport,
    ) -> Result<Rejoined, ReplicaError> {
        let paths = self.whole.iter().rev().find_map(|found| walk(chain, &self.whole, found.id()).ok());
        let Some((path, newest)) = paths.and_then(|path| Some((path.clone(), *path.first()?))) else {
            return Ok(Rejoined::No);
        };
        let own = chain.last().filter(|last| is_own_stage(last));
        let sealed = &chain[..chain.len() - usize::from(own.is_some())];
        if sealed.iter().all(|found| path.contains(&found.id())) {
            // Nothing was sealed since but the number that was stepped over.
            if let Some(own) = own {
                files.remove(&own.element.path).map_err(io(layout))?;
                files.sync_dir(&layout.chain()).map_err(io(layout))?;
            }
            let mut back: Vec<PointId> =
                path.into_iter().filter(|id| self.whole.iter().any(|f| f.id() == *id)).collect();
            back.sort_unstable();
            for id in back {
                let name = format!("{id}{DELTA_SUFFIX}");
                files.rename(&layout.quarantine().join(name), &layout.delta(id)).map_err(io(layout))?;
                report.restored.push(id);
            }
            files
                .sync_dir(&layout.chain())
                .and_then(|()| files.sync_dir(&layout.quarantine()))
                .map_err(io(layout))?;
            return Ok(Rejoined::Yes(own.map_or(0, |own| own.id().number)));
        }
        // A chain that begins anew hides all that is older: it may as well stand on top of it.
        let Some(first) = chain.first() else { return Ok(Rejoined::No) };
        let anew = first.element.footer().parent.is_none()
            && first.element.footer().disks.iter().all(|disk| disk.floor == 0);
        // Leftovers of a merge refer to what the merged one refers to.
        let old: Vec<&Found> = self.whole.iter().filter(|found| path.contains(&found.id())).collect();
        if newest >= first.id() || !anew || overlap(chain, &old)? {
            return Ok(Rejoined::No);
        }
        stand_on(files, layout, first, newest)?;
        Ok(Rejoined::Yes(0))
    }
}

/// Whether any place is among both.
fn overlap(chain: &[Found], old: &[&Found]) -> Result<bool, ReplicaError> {
    let mut used = Used::new();
    for found in old {
        for disk in &found.element.footer().disks {
            let places = used.entry(disk.key.clone()).or_default();
            for entry in found.element.delta.cursor(&disk.key) {
                places.insert_place(entry.map_err(|e| found.element.error(e))?.place);
            }
        }
    }
    for element in chain.iter().map(|found| &found.element) {
        for disk in &element.footer().disks {
            let Some(places) = used.get(&disk.key) else { continue };
            for entry in element.delta.cursor(&disk.key) {
                let place = entry.map_err(|e| element.error(e))?.place;
                if place.range().is_some_and(|range| places.meets(&range)) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// A stage that the replica sealed to step over numbers: it changes nothing.
fn is_own_stage(found: &Found) -> bool {
    let footer = found.element.footer();
    footer.kind == ElementKind::Stage
        && footer.received == 0
        && footer.disks.iter().all(|disk| disk.entries == 0 && disk.floor == disk.size)
}

/// Writes an element anew with another parent, durably.
fn stand_on(files: &dyn Files, layout: &Layout, found: &Found, parent: PointId) -> Result<(), ReplicaError> {
    let element = &found.element;
    let path = layout.delta(element.id());
    let new = unfinished(&path);
    let write = || {
        let mut writer = DeltaWriter::new(files.open(&new, OpenMode::Truncate)?);
        for disk in &element.footer().disks {
            writer.begin_disk(disk.key.clone(), disk.size, disk.floor)?;
            element.delta.cursor(&disk.key).try_for_each(|entry| writer.push(&entry?))?;
        }
        let mut footer = element.footer().clone();
        footer.parent = Some(parent);
        writer.finish(footer, &element.delta.definition()?)?;
        files.rename(&new, &path).and_then(|()| files.sync_dir(&layout.chain()))?;
        Ok::<(), DeltaError>(())
    };
    write().map_err(|source| element.error(source))
}

fn io(layout: &Layout) -> impl Fn(std::io::Error) -> ReplicaError + use<'_> {
    |source| ReplicaError::Io { what: "looking after files set aside", dir: layout.quarantine(), source }
}
