//! Agents that die at a chosen instant. What an agent does that outlives it is counted by kind:
//! files that it syncs, replaces or removes, calls of its hypervisor that change something, what
//! it hears from above and tells there. At one of them, before it or after, it dies: from then on
//! nothing that it does has any effect, and nobody hears of it.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use farshore_agent::managed::{Upstream, UpstreamError};
use farshore_control::{
    HostReport, Standing,
    report::ReportReply,
    sync::{Documents, Poll},
};
use farshore_env::{File, Files, OpenMode, RealFiles};
use farshore_hypervisor::{
    Kind,
    simulated::{Operation, Witness},
};

/// At what somebody dies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cut {
    /// A kind of act.
    pub(crate) what: String,
    /// Which of that kind, from 1.
    pub(crate) nth: u64,
    /// Whether it was done.
    pub(crate) after: bool,
}

/// One life of an agent.
#[derive(Default)]
pub(crate) struct Mortal {
    cut: Option<Cut>,
    /// At what those that come after it die.
    heirs: Vec<Cut>,
    acts: Mutex<Acts>,
    dead: AtomicBool,
    /// How many have died of those who come one after the other.
    deaths: Arc<AtomicUsize>,
    /// A kind of act that fails all the time, and that nobody dies of.
    refused: Mutex<Option<&'static str>>,
    /// A deliberate bug: that it has brought a machine up is on no disk when that runs.
    forgetful: AtomicBool,
}

/// What was done that lasts.
#[derive(Default)]
struct Acts {
    in_order: Vec<String>,
    of_kind: BTreeMap<String, u64>,
}

/// The record of a replica, and what it has of a machine that is brought up, or is about to be.
const RECORD: &str = "replica.json";
const UP: &str = "-up\"";

impl Mortal {
    /// One that dies at the first of these, and whose heirs die at the others.
    pub(crate) fn until(cuts: impl IntoIterator<Item = Cut>) -> Arc<Mortal> {
        let mut cuts = cuts.into_iter();
        Arc::new(Mortal { cut: cuts.next(), heirs: cuts.collect(), ..Mortal::default() })
    }

    /// Who comes after it; none: somebody who does not die.
    pub(crate) fn heir(&self) -> Option<Arc<Mortal>> {
        let (next, heirs) = self.heirs.split_first()?;
        let (cut, heirs, deaths) = (Some(next.clone()), heirs.to_vec(), Arc::clone(&self.deaths));
        Some(Arc::new(Mortal { cut, heirs, deaths, ..Mortal::default() }))
    }

    pub(crate) fn set_forgetful(&self, forgetful: bool) {
        self.forgetful.store(forgetful, Ordering::SeqCst);
    }

    /// Acts of that kind fail from now on, or none do.
    pub(crate) fn set_refused(&self, what: Option<&'static str>) {
        *self.refused.lock().unwrap() = what;
    }

    fn is_refused(&self, what: &str) -> bool {
        *self.refused.lock().unwrap() == Some(what)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// How many have died, it or its heirs.
    pub(crate) fn deaths(&self) -> usize {
        self.deaths.load(Ordering::SeqCst)
    }

    /// The kinds of what was done, in order.
    pub(crate) fn acts(&self) -> Vec<String> {
        self.acts.lock().unwrap().in_order.clone()
    }

    /// Something that lasts is about to be done: which of its kind it is, unless somebody is dead.
    fn begins(&self, what: &str) -> Option<u64> {
        let mut acts = self.acts.lock().unwrap();
        if self.is_dead() {
            return None;
        }
        acts.in_order.push(what.to_owned());
        let nth = acts.of_kind.entry(what.to_owned()).or_default();
        *nth += 1;
        self.dies_at(what, *nth, false).then_some(*nth)
    }

    /// It was done; whether somebody lives to know of it.
    fn ends(&self, what: &str, nth: u64) -> bool {
        self.dies_at(what, nth, true)
    }

    /// Whether somebody lives on.
    fn dies_at(&self, what: &str, nth: u64, after: bool) -> bool {
        let is = |cut: &Cut| cut.what == what && (cut.nth, cut.after) == (nth, after);
        if self.cut.as_ref().is_some_and(is) && !self.dead.swap(true, Ordering::SeqCst) {
            self.deaths.fetch_add(1, Ordering::SeqCst);
        }
        !self.is_dead()
    }

    fn alive(&self) -> io::Result<()> {
        if self.is_dead() { Err(gone()) } else { Ok(()) }
    }

    /// Does something that lasts.
    fn does<T>(&self, what: &str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.is_refused(what) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let nth = self.begins(what).ok_or_else(gone)?;
        let done = act();
        if self.ends(what, nth) { done } else { Err(gone()) }
    }
}

fn gone() -> io::Error {
    io::Error::other("whoever did this is dead")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a file is of its kind: numbers, and what is made up for it alone, are left out.
fn kind(path: &Path) -> String {
    let name = name(path);
    let parts =
        name.split('.').map(|part| if part.contains(|c: char| c.is_ascii_digit()) { "#" } else { part });
    parts.collect::<Vec<_>>().join(".")
}

/// The files of a mortal.
pub(crate) struct MortalFiles(pub(crate) Arc<Mortal>);

struct MortalFile {
    file: Arc<dyn File>,
    owner: Arc<Mortal>,
    kind: String,
}

impl Files for MortalFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if mode != OpenMode::Read {
            self.0.alive()?;
        }
        let (file, owner) = (RealFiles.open(path, mode)?, Arc::clone(&self.0));
        Ok(Arc::new(MortalFile { file, owner, kind: kind(path) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.alive()?;
        RealFiles.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFiles.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let tells = || std::fs::read_to_string(from).is_ok_and(|text| text.contains(UP));
        let forgets = self.0.forgetful.load(Ordering::SeqCst) && name(to) == RECORD && tells();
        let keep = || if forgets { Ok(()) } else { RealFiles.rename(from, to) };
        self.0.does(&format!("keep {}", kind(to)), keep)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.does(&format!("remove {}", kind(path)), || RealFiles.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.alive()?;
        RealFiles.sync_dir(dir)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        RealFiles.free_space(path)
    }
}

impl File for MortalFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.owner.alive()?;
        self.file.write_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.owner.does(&format!("sync {}", self.kind), || self.file.sync())
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.owner.alive()?;
        self.file.set_size(size)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.owner.alive()?;
        self.file.punch(offset, len)
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn try_lock_bytes_shared(&self, bytes: &[u64]) -> io::Result<bool> {
        self.file.try_lock_bytes_shared(bytes)
    }

    fn others_lock(&self, byte: u64) -> io::Result<bool> {
        self.file.others_lock(byte)
    }
}

/// Calls that change nothing.
const ASKS: [Operation; 13] = [
    Operation::HostFacts,
    Operation::Machines,
    Operation::Machine,
    Operation::HasRun,
    Operation::CheckStartable,
    Operation::Checkpoints,
    Operation::OpenExport,
    Operation::Job,
    Operation::IsFrozen,
    Operation::Allocated,
    Operation::Dirty,
    Operation::Read,
    Operation::Thaw,
];

impl Witness for Mortal {
    fn before(&self, operation: Operation) -> Result<u64, Kind> {
        let what = format!("call {operation:?}");
        match ASKS.contains(&operation) {
            true => self.alive().map(|()| 0).map_err(|_| Kind::Connection),
            false if self.is_refused(&what) => Err(Kind::Busy),
            false => self.begins(&what).ok_or(Kind::Connection),
        }
    }

    fn after(&self, operation: Operation, nth: u64) -> Result<(), Kind> {
        let alive = nth == 0 || self.ends(&format!("call {operation:?}"), nth);
        if alive { Ok(()) } else { Err(Kind::Connection) }
    }
}

/// A vault that hears nothing of the dead, and tells them nothing.
pub(crate) struct Hears {
    pub(crate) vault: Arc<dyn Upstream>,
    pub(crate) whom: Arc<Mortal>,
    /// What was told last, but for what is told anew all the time.
    pub(crate) told: Mutex<String>,
}

impl Hears {
    fn died(&self) -> UpstreamError {
        UpstreamError { peer: self.peer(), why: gone().to_string() }
    }

    fn is_new(&self, report: &HostReport) -> bool {
        let of = |s: &Standing| (s.runs, s.fenced, s.brought_up, s.adopted, s.cannot.is_some());
        let standings: Vec<_> = report.standings.iter().map(of).collect();
        let tells = format!("{:?} {standings:?}", report.lineages);
        std::mem::replace(&mut *self.told.lock().unwrap(), tells.clone()) != tells
    }
}

#[async_trait]
impl Upstream for Hears {
    fn peer(&self) -> String {
        self.vault.peer()
    }

    async fn poll(&self, poll: &Poll) -> Result<Documents, UpstreamError> {
        self.whom.alive().map_err(|_| self.died())?;
        let answer = self.vault.poll(poll).await?;
        match answer.documents.is_empty() {
            true => self.whom.alive().map(|()| answer),
            false => self.whom.does("hear documents", || Ok(answer)),
        }
        .map_err(|_| self.died())
    }

    async fn report(&self, report: &HostReport) -> Result<ReportReply, UpstreamError> {
        if !self.is_new(report) {
            self.whom.alive().map_err(|_| self.died())?;
            return self.vault.report(report).await;
        }
        let nth = self.whom.begins("tell news").ok_or_else(|| self.died())?;
        let reply = self.vault.report(report).await;
        if self.whom.ends("tell news", nth) { reply } else { Err(self.died()) }
    }
}
