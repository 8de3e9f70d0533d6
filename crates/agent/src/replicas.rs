//! The replicas that this host keeps: one directory each, named by the machine's UUID,
//! opened when first needed and locked from then on. This module must never know who asks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use farshore_control::Wire;
use farshore_env::{Clock, Files};
use farshore_replica::{Options, Replica};
use farshore_types::MachineId;
use farshore_wire::Held;

use crate::{AgentError, managed::Pruning, scrub};

/// Name of the file by which a directory is known as a replica's.
const RECORD: &str = "replica.json";

/// All replicas of this host.
pub struct Replicas {
    dir: PathBuf,
    /// Directories of those that are not in `dir`.
    places: Mutex<BTreeMap<MachineId, PathBuf>>,
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    open: tokio::sync::Mutex<BTreeMap<MachineId, Arc<OpenReplica>>>,
}

/// One replica, open and shared. Work on it blocks, so it runs off the async threads.
pub struct OpenReplica {
    machine: MachineId,
    store: Mutex<Replica>,
    held: Mutex<Option<Held>>,
    held_since: Mutex<Option<Instant>>,
    sealed: AtomicBool,
    scrub: Mutex<scrub::Record>,
    /// What a vault says of its points.
    pruning: Mutex<Pruning>,
    /// Whether what arrives compressed is kept plain.
    plain: AtomicBool,
    /// Why nothing is taken now.
    halted: Mutex<Option<String>>,
    /// By what its source has to prove itself, where a vault says so.
    wire: Mutex<Option<Wire>>,
    commands: Arc<tokio::sync::Mutex<()>>,
}

impl OpenReplica {
    /// Whose it is.
    #[must_use]
    pub fn machine(&self) -> MachineId {
        self.machine
    }

    /// Does work on the store, alone, on a thread that may block.
    ///
    /// # Panics
    /// Where the work does; the store is not used again after that, since nobody knows
    /// what state it is in. The files are whole: the next open recovers.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Replica) -> T + Send + 'static,
    ) -> T {
        let this = Arc::clone(self);
        blocking(move || work(&mut this.store.lock().expect("the store failed before: restart the agent")))
            .await
    }

    /// As [`OpenReplica::run`], after work of its own that does not need the store: on the
    /// same thread, because every change of threads costs.
    pub(crate) async fn run_after<P, T: Send + 'static>(
        self: &Arc<Self>,
        prepare: impl FnOnce() -> P + Send + 'static,
        work: impl FnOnce(&mut Replica, P) -> T + Send + 'static,
    ) -> T {
        let this = Arc::clone(self);
        blocking(move || {
            let prepared = prepare();
            work(&mut this.store.lock().expect("the store failed before: restart the agent"), prepared)
        })
        .await
    }

    /// Keeps other commands that change what the machine is here waiting while it lives.
    pub(crate) async fn alone(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.commands).lock_owned().await
    }

    /// The same, but only if no command has it now.
    pub(crate) fn try_alone(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        Arc::clone(&self.commands).try_lock_owned().ok()
    }

    /// The cycle that a lost session left open.
    pub(crate) fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the cycle that a lost session left open, and since when.
    pub(crate) fn hold(&self, held: Option<Held>) {
        let since = held.is_some().then(Instant::now);
        *self.held_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
        *self.held() = held;
    }

    /// Gives the cycle of a lost session up if that was so long ago: who comes later sends it
    /// anew. Returns whether there was one.
    pub async fn give_up_held(self: &Arc<Self>, longest: Duration) -> bool {
        let this = Arc::clone(self);
        // With the store, so that no session takes it up at the same time.
        self.run(move |store| {
            let since = *this.held_since.lock().unwrap_or_else(PoisonError::into_inner);
            if since.is_none_or(|since| since.elapsed() < longest) || this.held().take().is_none() {
                return false;
            }
            store.give_up_cycle();
            true
        })
        .await
    }

    /// What the scrub has done and found.
    pub(crate) fn scrub(&self) -> MutexGuard<'_, scrub::Record> {
        self.scrub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to become of its points.
    pub(crate) fn pruning(&self) -> Pruning {
        *self.pruning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is to become of its points.
    pub(crate) fn set_pruning(&self, pruning: Pruning) {
        *self.pruning.lock().unwrap_or_else(PoisonError::into_inner) = pruning;
    }

    /// Whether what arrives compressed is kept plain, so that it reads at full speed.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain.load(Ordering::Relaxed)
    }

    /// Says whether what arrives from now on is kept plain. What is there stays as it is.
    pub(crate) fn set_plain(&self, plain: bool) {
        self.plain.store(plain, Ordering::Relaxed);
    }

    /// Why nothing is taken now, not even from a session that runs; none: it is.
    pub(crate) fn halted(&self) -> Option<String> {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whether anything is taken.
    pub(crate) fn set_halted(&self, why: Option<String>) {
        *self.halted.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// By what its source has to prove itself, also in a session that runs; none: no vault
    /// says so.
    pub(crate) fn wire(&self) -> Option<Wire> {
        *self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says by what its source has to prove itself.
    pub(crate) fn set_wire(&self, wire: Option<Wire>) {
        *self.wire.lock().unwrap_or_else(PoisonError::into_inner) = wire;
    }

    /// Remembers that something was sealed: upkeep is due.
    pub(crate) fn mark_sealed(&self) {
        self.sealed.store(true, Ordering::Relaxed);
    }

    /// Whether something was sealed since this was last asked.
    pub(crate) fn take_sealed(&self) -> bool {
        self.sealed.swap(false, Ordering::Relaxed)
    }
}

/// Runs what blocks on a thread for that; a panic of it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Replicas {
    /// The replicas under `dir`, which need not exist yet.
    #[must_use]
    pub fn new(dir: &Path, files: Arc<dyn Files>, clock: Arc<dyn Clock>) -> Replicas {
        let (places, open) = (Mutex::default(), tokio::sync::Mutex::default());
        Replicas { dir: dir.to_owned(), places, files, clock, open }
    }

    /// Where a machine's replica is, or would be.
    #[must_use]
    pub fn dir_of(&self, machine: MachineId) -> PathBuf {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(&machine).unwrap_or(&self.dir).join(machine.to_string())
    }

    /// Where a machine's replica is to be, or is known to be; none: where all are.
    pub(crate) fn set_place(&self, machine: MachineId, place: Option<PathBuf>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        match place {
            Some(place) => places.insert(machine, place),
            None => places.remove(&machine),
        };
    }

    /// Whether a machine has a replica here.
    pub(crate) fn exists(&self, machine: MachineId) -> bool {
        self.dir_of(machine).join(RECORD).exists()
    }

    /// A machine's replica, if there is one.
    ///
    /// # Errors
    /// As [`Replica::open`].
    pub async fn get(&self, machine: MachineId) -> Result<Option<Arc<OpenReplica>>, AgentError> {
        match self.exists(machine) {
            true => self.get_or_create(machine).await.map(Some),
            false => Ok(None),
        }
    }

    /// A machine's replica, made where there is none.
    ///
    /// # Errors
    /// As [`Replica::open`].
    pub async fn get_or_create(&self, machine: MachineId) -> Result<Arc<OpenReplica>, AgentError> {
        let mut open = self.open.lock().await;
        if let Some(replica) = open.get(&machine) {
            return Ok(Arc::clone(replica));
        }
        let (files, clock, dir) = (Arc::clone(&self.files), Arc::clone(&self.clock), self.dir_of(machine));
        let load = move || {
            let scrub = scrub::Record::load(&*files, &dir);
            Replica::open(files, clock, &dir, machine, Options::default()).map(|store| (store, scrub))
        };
        let (store, scrub) = blocking(load).await?;
        tell_report(&store);
        let replica = Arc::new(OpenReplica {
            machine,
            store: Mutex::new(store),
            held: Mutex::new(None),
            held_since: Mutex::new(None),
            sealed: AtomicBool::new(true),
            scrub: Mutex::new(scrub),
            pruning: Mutex::default(),
            plain: AtomicBool::new(false),
            halted: Mutex::default(),
            wire: Mutex::default(),
            commands: Arc::default(),
        });
        open.insert(machine, Arc::clone(&replica));
        Ok(replica)
    }

    /// The machines that have a replica here.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn machines(&self) -> Result<Vec<MachineId>, AgentError> {
        let names = match self.files.list(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(AgentError::io("read", &self.dir))?,
        };
        let mut ids: Vec<MachineId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.extend(self.places.lock().unwrap_or_else(PoisonError::into_inner).keys());
        ids.retain(|id| self.exists(*id));
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// Deletes a machine's replica with all its points, if `check` has nothing against it.
    /// From when it goes on, no session seals anything any more. What a crash leaves is under
    /// another name, and [`Replicas::finish_deleting`] removes it.
    ///
    /// # Errors
    /// What `check` says, with nothing changed; else as the system reports.
    pub(crate) async fn delete(
        &self,
        machine: MachineId,
        why: &str,
        check: impl FnOnce(&mut Replica) -> Result<(), AgentError> + Send + 'static,
    ) -> Result<(), AgentError> {
        let mut open = self.open.lock().await;
        let Some(replica) = open.get(&machine).cloned() else { return Ok(()) };
        let (dir, doomed, files) = (self.dir_of(machine), self.doomed(machine), Arc::clone(&self.files));
        let (shared, why) = (Arc::clone(&replica), why.to_owned());
        let rename = move |store: &mut Replica| {
            check(store)?;
            if store.is_read() {
                return Err(AgentError::Request {
                    what: format!("a point of the replica of '{}' is being read", store.name()),
                    advice: "wait until that is over, or end it, and ask again".to_owned(),
                });
            }
            files.rename(&dir, &doomed).map_err(AgentError::io("rename", &dir))?;
            // With the store: whoever seals next finds this.
            shared.set_halted(Some(why));
            let parent = dir.parent().unwrap_or(&dir);
            files.sync_dir(parent).map_err(AgentError::io("sync", parent))
        };
        let renamed = replica.run(rename).await;
        if replica.halted().is_some() && !self.exists(machine) {
            open.remove(&machine);
        }
        drop((open, replica));
        renamed?;
        self.finish_deleting(machine).await
    }

    /// Removes what is left of a replica that was deleted.
    ///
    /// # Errors
    /// As the system reports.
    pub(crate) async fn finish_deleting(&self, machine: MachineId) -> Result<(), AgentError> {
        let doomed = self.doomed(machine);
        let path = doomed.clone();
        match blocking(move || std::fs::remove_dir_all(&path)).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(AgentError::io("remove", doomed)(e)),
            _ => Ok(()),
        }
    }

    /// Name of a replica that is being deleted: none that a replica can have.
    fn doomed(&self, machine: MachineId) -> PathBuf {
        self.dir_of(machine).with_extension("deleted")
    }

    /// Those that are open now.
    pub async fn opened(&self) -> Vec<Arc<OpenReplica>> {
        self.open.lock().await.values().cloned().collect()
    }

    /// The replica of a machine by its UUID or its name. A damaged replica of another
    /// machine is not in the way.
    ///
    /// # Errors
    /// [`AgentError::UnknownMachine`], naming those there are; [`AgentError::Request`] where
    /// two have the name; what opening the one that is meant reports.
    pub async fn find(&self, wanted: &str) -> Result<Arc<OpenReplica>, AgentError> {
        if let Ok(id) = wanted.parse()
            && let Some(replica) = self.get(id).await?
        {
            return Ok(replica);
        }
        let (mut found, mut known, mut failed) = (Vec::new(), Vec::new(), None);
        for id in self.machines()? {
            match self.get_or_create(id).await {
                Ok(replica) => {
                    let name = replica.run(|store| store.name().to_owned()).await;
                    if name == wanted {
                        found.push(replica);
                    }
                    known.push(name);
                }
                Err(error) => failed = Some(error),
            }
        }
        match (found.pop(), failed) {
            (Some(replica), _) if found.is_empty() => Ok(replica),
            (Some(_), _) => Err(AgentError::Request {
                what: format!("several machines here are named '{wanted}'"),
                advice: "give the UUID instead; `points` lists them".to_owned(),
            }),
            (None, Some(error)) => Err(error),
            (None, None) => Err(AgentError::UnknownMachine {
                of: "replica",
                wanted: wanted.to_owned(),
                known: known.join(", "),
            }),
        }
    }
}

/// What opening mended or lost must not go unseen.
fn tell_report(store: &Replica) {
    let (report, machine) = (store.report(), store.name());
    for dropped in &report.dropped {
        tracing::info!(machine, path = %dropped.path.display(), why = dropped.why, "leftover removed");
    }
    for rebuilt in &report.rebuilt {
        tracing::warn!(machine, path = %rebuilt.path.display(), why = rebuilt.why, "tables rebuilt");
    }
    if !report.restored.is_empty() {
        tracing::warn!(machine, points = ?report.restored, "what was set aside is part of the chain again");
    }
    if !report.rescued.is_empty() {
        tracing::error!(machine, points = ?report.rescued, "only the images still know these points");
    }
    for damaged in &report.damaged {
        tracing::error!(machine, path = %damaged.path.display(), why = damaged.why, "damaged file moved aside");
    }
}
