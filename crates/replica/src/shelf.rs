//! Overlays of a machine that was brought up at one point and goes to another: kept, with its
//! firmware's variables, so that it can come back to them as they were left. What was left at the
//! same point before is kept as well, aside. This module must never start or stop anything.

use std::collections::BTreeSet;

use farshore_types::{DiskKey, PointId};

use crate::{
    Phase, Pin, Replica, ReplicaError,
    layout::{NVRAM, OVERLAY_SUFFIX},
};

/// Who holds the points of kept overlays.
const HOLDER: &str = "kept overlays";

impl Replica {
    /// Puts the overlays of a brought-up machine aside, and takes cycles again. The machine
    /// must not run. Cut anywhere, it is repeated.
    ///
    /// # Errors
    /// As the system reports.
    pub fn shelve(&mut self) -> Result<(), ReplicaError> {
        self.check_record()?;
        let (Phase::BroughtUp { point } | Phase::BringingUp { point }) = self.state.phase else {
            return Ok(());
        };
        // What an earlier try put aside is not put aside again.
        self.pin(Pin { point, holder: HOLDER.to_owned() })?;
        self.put_aside(point)?;
        let mut next = self.state.clone();
        next.phase = Phase::Receiving;
        self.save(next)
    }

    /// Whether overlays of that point were put aside.
    ///
    /// # Errors
    /// As the system reports.
    pub fn is_shelved(&self, point: PointId) -> Result<bool, ReplicaError> {
        Ok(self.names()?.iter().any(|name| name.ends_with(&kept(point))))
    }

    /// Puts the overlays of the point that was just brought up in the place of the fresh ones.
    /// Nothing happens where none were put aside.
    ///
    /// # Errors
    /// [`ReplicaError::NotNow`] where another point, or none, was brought up; else as the
    /// system reports.
    pub fn unshelve(&mut self, point: PointId) -> Result<(), ReplicaError> {
        self.check_record()?;
        if self.state.phase != (Phase::BroughtUp { point }) {
            let why = format!("the machine was not brought up at {point}");
            return Err(ReplicaError::NotNow { what: "going back to overlays", why });
        }
        let (kept, before) = (kept(point), format!("{}{BEFORE}", kept(point)));
        let names = self.names()?;
        for thing in names.iter().filter_map(|name| name.strip_suffix(&kept)) {
            self.rename(&format!("{thing}{kept}"), &active(thing))?;
        }
        self.sync_shelf()?;
        match names.iter().any(|name| name.contains(&before)) {
            true => Ok(()),
            false => self.unpin(&Pin { point, holder: HOLDER.to_owned() }),
        }
    }

    /// What was put aside, and is there still: the oldest point first, of each what was left last
    /// at the end.
    ///
    /// # Errors
    /// As the system reports.
    pub fn shelved(&self) -> Result<Vec<Shelved>, ReplicaError> {
        // A machine's disks make a time; its firmware's variables alone are of none.
        let names = self.names()?;
        let disks = names.iter().filter(|name| !name.starts_with(NVRAM));
        let found: BTreeSet<Shelved> = disks.filter_map(|name| shelved_of(name)).collect();
        Ok(found.into_iter().collect())
    }

    /// Where putting aside, or going back, was cut between one overlay and the next, the others
    /// follow.
    pub(crate) fn finish_shelving(&mut self) -> Result<(), ReplicaError> {
        let Phase::BroughtUp { point } = self.state.phase else { return Ok(()) };
        let names: BTreeSet<String> = self.names()?.into_iter().collect();
        let disks: Vec<String> =
            self.reader(point)?.disks().iter().map(|(disk, _)| disk.to_string()).collect();
        let kept = kept(point);
        let is_aside = |disk: &&String| names.contains(&format!("{disk}{kept}"));
        let aside = disks.iter().filter(is_aside).count();
        if disks.iter().any(|disk| !names.contains(&active(disk))) {
            // Some overlays are aside, and others are not yet.
            return if aside > 0 { self.shelve() } else { Ok(()) };
        }
        if aside == 0 || aside == disks.len() {
            return Ok(());
        }
        // What was aside made room for what was to follow; or it has come back.
        let times = |disk: &String| {
            let before = format!("{disk}{kept}{BEFORE}");
            names.iter().filter(|name| name.starts_with(&before)).count()
        };
        let (there, gone): (Vec<&String>, Vec<&String>) = disks.iter().partition(is_aside);
        let most = |disks: Vec<&String>| disks.into_iter().map(times).max();
        if most(gone) > most(there) { self.shelve() } else { self.unshelve(point) }
    }

    /// Removes one time's overlays.
    pub(crate) fn remove_shelved(&self, shelved: Shelved) -> Result<(), ReplicaError> {
        let io = |e| self.io("removing kept overlays", e);
        for name in self.names()?.iter().filter(|name| shelved_of(name) == Some(shelved)) {
            self.files.remove(&self.layout.dir().join(name)).map_err(io)?;
        }
        self.sync_shelf()
    }

    /// Removes all overlays that were put aside, with what the machine wrote there.
    ///
    /// # Errors
    /// As the system reports.
    pub fn clear_shelf(&mut self) -> Result<(), ReplicaError> {
        let io = |e| self.io("removing kept overlays", e);
        for name in self.files.list(self.layout.dir()).map_err(io)? {
            if name.contains(KEPT) {
                self.files.remove(&self.layout.dir().join(name)).map_err(io)?;
            }
        }
        let pins: Vec<Pin> = self.state.pins.iter().filter(|pin| pin.holder == HOLDER).cloned().collect();
        pins.iter().try_for_each(|pin| self.unpin(pin))
    }

    /// What was put aside at the same point before makes room first.
    fn put_aside(&self, point: PointId) -> Result<(), ReplicaError> {
        let mut names: BTreeSet<String> = self.names()?.into_iter().collect();
        let things: Vec<String> = names.iter().filter_map(|name| thing(name)).collect();
        for thing in things {
            let to = format!("{thing}{}", kept(point));
            if names.contains(&to) {
                let free = |number: &u32| !names.contains(&format!("{to}{BEFORE}{number}"));
                let number = (1..).find(free).unwrap_or(u32::MAX);
                self.rename(&to, &format!("{to}{BEFORE}{number}"))?;
            }
            self.rename(&active(&thing), &to)?;
            names.insert(to);
        }
        self.sync_shelf()
    }

    fn names(&self) -> Result<Vec<String>, ReplicaError> {
        self.files.list(self.layout.dir()).map_err(|e| self.io("looking for overlays", e))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ReplicaError> {
        let dir = self.layout.dir();
        self.files.rename(&dir.join(from), &dir.join(to)).map_err(|e| self.io("putting overlays aside", e))
    }

    fn sync_shelf(&self) -> Result<(), ReplicaError> {
        self.files.sync_dir(self.layout.dir()).map_err(|e| self.io("putting overlays aside", e))
    }
}

/// One time for which a machine ran at a point, whose overlays were put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shelved {
    /// The point on which they stand.
    pub point: PointId,
    /// Counted from the first time on; the last time's have no number in their names.
    time: u32,
}

impl Shelved {
    /// Name of the file that a disk's overlay is.
    pub(crate) fn name_of(self, disk: &DiskKey) -> String {
        self.name(&disk.to_string())
    }

    /// Name of the file that the firmware's variables are in, where there are any.
    pub(crate) fn name_of_nvram(self) -> String {
        self.name(NVRAM)
    }

    fn name(self, thing: &str) -> String {
        let name = format!("{thing}{}", kept(self.point));
        if self.time == LAST { name } else { format!("{name}{BEFORE}{}", self.time) }
    }
}

/// Which names the points may have that keep what was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aside {
    /// By whose epoch it was written.
    pub epoch: u64,
    /// The first number, above those of all elements that the replica had before.
    pub first: u64,
    /// The number that comes after the last.
    pub end: u64,
}

/// Above all numbers of times.
const LAST: u32 = u32::MAX;

/// Which time a file was put aside for.
fn shelved_of(name: &str) -> Option<Shelved> {
    let (_, kept) = name.split_once(KEPT)?;
    let (point, time) = kept.split_once(BEFORE).map_or((kept, None), |(point, time)| (point, Some(time)));
    let time = time.map_or(Ok(LAST), str::parse);
    Some(Shelved { point: point.parse().ok()?, time: time.ok()? })
}

/// In the names of what was put aside, between the thing's and the point's.
const KEPT: &str = ".kept-";
/// Behind the point's name: what was left there before the last time, and a number.
const BEFORE: &str = "~";

/// What of a machine that runs a file is: a disk's overlay, or its firmware's variables.
fn thing(name: &str) -> Option<String> {
    match name.strip_suffix(OVERLAY_SUFFIX) {
        Some(disk) => Some(disk.to_owned()),
        None => (name == NVRAM).then(|| NVRAM.to_owned()),
    }
}

/// Its name while the machine runs on it.
fn active(thing: &str) -> String {
    if thing == NVRAM { NVRAM.to_owned() } else { format!("{thing}{OVERLAY_SUFFIX}") }
}

/// Not ending as an image's name does, so that nobody takes it for one.
fn kept(point: PointId) -> String {
    format!("{KEPT}{point}")
}
