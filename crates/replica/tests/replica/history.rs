//! A workload and what it was told, by the number of operations that were done at the
//! time: so that whatever a crash leaves can be judged.

use std::{
    collections::BTreeMap,
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use farshore_delta::ElementKind;
use farshore_replica::{Phase, Pin, Replica, ReplicaError};
use farshore_sim::{
    ManualClock, MemoryFiles, ModelDisk,
    driver::{self, Driver, check_point},
};
use farshore_types::{DiskKey, Epoch, PointId};

use crate::{
    cheap::{self, Digests},
    points::{DIR, eager, last},
};

/// Disks with their sizes, as a model.
pub(crate) type Disks = Vec<(DiskKey, u64, ModelDisk)>;

/// Since when something was asked for, and since when it is promised; in operations.
#[derive(Clone, Copy, Debug)]
struct Promise {
    asked: usize,
    done: Option<usize>,
}

impl Promise {
    fn may(&self, at: usize) -> bool {
        self.asked <= at
    }

    fn must(&self, at: usize) -> bool {
        self.done.is_some_and(|done| done <= at)
    }
}

struct Life {
    state: Disks,
    digests: Digests,
    sealed: Promise,
    pruned: Option<Promise>,
}

/// What a store was asked and what it answered.
#[derive(Default)]
pub(crate) struct History {
    lives: BTreeMap<PointId, Life>,
    phases: Vec<(Promise, Phase, u64)>,
    pins: Vec<(Pin, Promise, Option<Promise>)>,
}

/// A workload under way.
pub(crate) struct Run {
    pub(crate) files: MemoryFiles,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) driver: Driver,
    pub(crate) history: History,
}

pub(crate) const CLUSTER: u64 = 65536;

pub(crate) fn open(files: &MemoryFiles, clock: &Arc<ManualClock>) -> Result<Replica, ReplicaError> {
    driver::open(Arc::new(files.clone()), clock.clone(), Path::new(DIR), eager())
}

impl Run {
    pub(crate) fn start(sizes: &[u64]) -> Run {
        let files = MemoryFiles::new();
        Run::start_on(&files, &files, sizes).unwrap()
    }

    /// A run whose store works on `through`, a view of the tree `files`.
    pub(crate) fn start_on(
        files: &MemoryFiles,
        through: &MemoryFiles,
        sizes: &[u64],
    ) -> Result<Run, ReplicaError> {
        let clock = ManualClock::at(1_700_000_000_000);
        let driver = Driver::start(open(through, &clock)?, sizes)?;
        Ok(Run { files: files.clone(), clock, driver, history: History::default() })
    }

    fn promise<T>(
        &mut self,
        act: impl FnOnce(&mut Driver) -> Result<T, ReplicaError>,
    ) -> (Promise, Result<T, ReplicaError>) {
        let asked = self.files.recorded();
        let result = act(&mut self.driver);
        let done = result.is_ok().then(|| self.files.recorded());
        (Promise { asked, done }, result)
    }

    pub(crate) fn point(&mut self) -> Result<PointId, ReplicaError> {
        self.clock.advance(1500);
        let (id, state) = (self.driver.next_id(), self.driver.state());
        let (sealed, result) = self.promise(Driver::point);
        let digests = cheap::digests(&state);
        self.history.lives.insert(id, Life { state, digests, sealed, pruned: None });
        result.map(|r| r.id)
    }

    pub(crate) fn stage(&mut self) -> Result<(), ReplicaError> {
        self.driver.cycle(ElementKind::Stage).map(drop)
    }

    pub(crate) fn upkeep(&mut self) -> Result<(), ReplicaError> {
        self.driver.replica.publish_if_due().map(drop)
    }

    pub(crate) fn prune(&mut self, keep: usize) -> Result<(), ReplicaError> {
        let pinned = |p: &farshore_replica::PointInfo| p.pinned_by.is_empty();
        let open: Vec<PointId> =
            self.driver.replica.points().iter().rev().skip(1).filter(|p| pinned(p)).map(|p| p.id).collect();
        let (pruned, result) = self.promise(|driver| driver.replica.prune_all(&last(keep)));
        // What a failed prune was about to take may be there or not, for ever.
        let gone = result.as_ref().map_or(open, Clone::clone);
        for id in gone {
            if let Some(life) = self.history.lives.get_mut(&id) {
                life.pruned = Some(match life.pruned {
                    Some(before) => Promise { asked: before.asked.min(pruned.asked), done: pruned.done },
                    None => pruned,
                });
            }
        }
        result.map(drop)
    }

    pub(crate) fn pin(&mut self, back: usize) -> Result<(), ReplicaError> {
        let Some(point) = self.driver.replica.points().iter().rev().nth(back).map(|p| p.id) else {
            return Ok(());
        };
        let pin = Pin { point, holder: "a drill".into() };
        let (promise, result) = self.promise(|driver| driver.replica.pin(pin.clone()));
        self.history.pins.push((pin, promise, None));
        result
    }

    pub(crate) fn unpin(&mut self) -> Result<(), ReplicaError> {
        for i in 0..self.history.pins.len() {
            let pin = self.history.pins[i].0.clone();
            let (promise, result) = self.promise(|driver| driver.replica.unpin(&pin));
            self.history.pins[i].2.get_or_insert(promise);
            result?;
        }
        Ok(())
    }

    /// Brings the machine up at the point `back` from the newest.
    pub(crate) fn bring_up(&mut self, back: usize) -> Result<(), ReplicaError> {
        let points = self.driver.replica.points();
        let point = points[points.len() - 1 - back.min(points.len() - 1)].id;
        let epoch = Epoch { number: self.driver.replica.epoch().number + 1, token: 5 };
        let (promise, result) = self.promise(|driver| driver.replica.bring_up(point, epoch));
        self.history.phases.push((promise, Phase::BroughtUp { point }, epoch.number));
        result.map(drop)
    }

    pub(crate) fn discard(&mut self) -> Result<(), ReplicaError> {
        let (promise, result) = self.promise(|driver| driver.replica.discard());
        self.history.phases.push((promise, Phase::Receiving, 0));
        result?;
        let epoch = self.driver.replica.epoch();
        self.driver.own(epoch)
    }

    /// Ends the process without a word, and starts it anew on the same files.
    pub(crate) fn restart(&mut self) -> Result<(), ReplicaError> {
        let epoch = self.driver.replica.epoch();
        let idle = open(&MemoryFiles::new(), &self.clock)?;
        drop(std::mem::replace(&mut self.driver.replica, idle));
        let replica = open(&self.files, &self.clock)?;
        assert!(replica.epoch().number >= epoch.number);
        let phase = replica.phase();
        match phase {
            Phase::Receiving => self.driver.resync(replica),
            _ => self.driver.replica = replica,
        }
        Ok(())
    }

    /// Changes a disk's size; what a smaller one cuts off is forgotten.
    pub(crate) fn resize(&mut self, disk: usize, clusters: u64) {
        let size = clusters * CLUSTER - 512;
        let before = self.driver.disks[disk].1;
        if size < before {
            self.driver.write(&[(disk, size, usize::try_from(before - size).unwrap(), 0)]);
        }
        self.driver.disks[disk].1 = size;
    }
}

impl History {
    /// Whether what a crash after `at` operations left is what it may be. Returns the
    /// opened store and the disks of its last point.
    pub(crate) fn judge(&self, at: usize, files: &MemoryFiles) -> Result<Replica, String> {
        let replica = self.judge_opening(files)?;
        self.judge_points(at, files, &replica)?;
        self.judge_phase(at, &replica)?;
        self.judge_pins(at, &replica)?;
        Ok(replica)
    }

    fn judge_opening(&self, files: &MemoryFiles) -> Result<Replica, String> {
        let clock = ManualClock::at(1_700_001_000_000);
        let opened = catch_unwind(AssertUnwindSafe(|| open(files, &clock)));
        let replica =
            opened.map_err(|_| "panicked in open")?.map_err(|e| format!("does not open: {}", told(&e)))?;
        let report = replica.report();
        if report.damaged.is_empty() && report.rebuilt.is_empty() && report.rescued.is_empty() {
            return Ok(replica);
        }
        Err(format!("a crash was taken for damage: {report:?}"))
    }

    pub(crate) fn judge_points(
        &self,
        at: usize,
        files: &MemoryFiles,
        replica: &Replica,
    ) -> Result<(), String> {
        let shown: Vec<PointId> = replica.points().iter().map(|p| p.id).collect();
        for (id, life) in &self.lives {
            let going = life.pruned.is_some_and(|p| p.may(at));
            if life.sealed.must(at) && !going && !shown.contains(id) {
                return Err(format!("acknowledged point {id} is lost"));
            }
            if shown.contains(id) && life.pruned.is_some_and(|p| p.must(at)) {
                return Err(format!("pruned point {id} is back"));
            }
        }
        for id in shown {
            match self.lives.get(&id).filter(|life| life.sealed.may(at)) {
                Some(life) => cheap::check(files, replica, id, &life.state, &life.digests)?,
                None => return Err(format!("point {id} is shown, and nobody asked for it")),
            }
        }
        Ok(())
    }

    fn judge_phase(&self, at: usize, replica: &Replica) -> Result<(), String> {
        let sure = self.phases.iter().rposition(|(promise, ..)| promise.must(at));
        let (mut allowed, mut epoch) = (Vec::new(), 0);
        match sure {
            Some(sure) => {
                allowed.push(self.phases[sure].1);
                let known = self.phases[..=sure].iter().filter(|(promise, ..)| promise.must(at));
                epoch = known.map(|p| p.2).max().unwrap_or(0);
            }
            None => allowed.push(Phase::Receiving),
        }
        let later = &self.phases[sure.map_or(0, |s| s + 1)..];
        allowed.extend(later.iter().filter(|(promise, ..)| promise.may(at)).map(|(_, phase, _)| *phase));
        if !allowed.contains(&replica.phase()) {
            return Err(format!("its phase is {:?}, not of {allowed:?}", replica.phase()));
        }
        if let Phase::BroughtUp { point } = replica.phase() {
            replica.check_overlays(point).map_err(|e| told(&e))?;
        }
        if replica.epoch().number < epoch {
            return Err(format!("its epoch {} is below {epoch}", replica.epoch().number));
        }
        Ok(())
    }

    fn judge_pins(&self, at: usize, replica: &Replica) -> Result<(), String> {
        for (pin, put, taken) in &self.pins {
            let held = put.must(at) && taken.is_none_or(|t| !t.may(at));
            let shown = replica.point(pin.point).is_ok_and(|p| p.pinned_by.contains(&pin.holder));
            if held && !shown {
                return Err(format!("the pin of {} is lost", pin.point));
            }
        }
        Ok(())
    }

    /// What a point must equal.
    pub(crate) fn state_of(&self, id: PointId) -> &Disks {
        &self.lives[&id].state
    }

    /// Whether stock tools would be shown what the chain says.
    pub(crate) fn judge_tables(&self, replica: &Replica) -> Result<(), String> {
        match replica.check_tables() {
            Ok(faults) if faults.is_empty() => Ok(()),
            Ok(faults) => Err(format!("wrong tables: {faults:?}")),
            Err(e) => Err(told(&e)),
        }
    }

    /// Whether replication goes on from what a crash left, and harms nothing that is there.
    pub(crate) fn judge_going_on(&self, at: usize, mut replica: Replica) -> Result<(), String> {
        let told = |e: ReplicaError| told(&e);
        replica.discard().map_err(told)?;
        let points = replica.points();
        let now = points.last().map_or_else(blank, |p| self.state_of(p.id).clone());
        let mut driver = Driver::resume(replica, now).map_err(told)?;
        driver.write(&[(0, CLUSTER, 150_000, 2), (0, 5 * CLUSTER, 5000, 1), (1, 0, 70_000, 6)]);
        let first = driver.point().map_err(told)?;
        self.judge_points_but(at, &driver, &[])?;
        driver.replica.publish(first.id).map_err(told)?;
        let gone = driver.replica.prune_all(&last(2)).map_err(told)?;
        driver.replica.release_unread().map_err(told)?;
        driver.write(&[(0, 0, 200_000, 10), (1, CLUSTER, 90_000, 14)]);
        driver.point().map_err(told)?;
        self.judge_points_but(at, &driver, &gone)?;
        self.judge_tables(&driver.replica)
    }

    fn judge_points_but(&self, at: usize, driver: &Driver, gone: &[PointId]) -> Result<(), String> {
        for point in driver.replica.points() {
            match driver.acknowledged.get(&point.id).or(self.lives.get(&point.id).map(|l| &l.state)) {
                Some(state) => check_point(&driver.replica, point.id, state)?,
                None => return Err(format!("point {} is shown, and nobody asked for it", point.id)),
            }
        }
        for (id, life) in &self.lives {
            let kept = life.sealed.must(at) && life.pruned.is_none() && !gone.contains(id);
            if kept && driver.replica.point(*id).is_err() {
                return Err(format!("point {id} was lost by going on"));
            }
        }
        Ok(())
    }
}

/// Two disks before the first point.
fn blank() -> Disks {
    ["vda", "vdb"].map(|disk| (disk.parse().unwrap(), 6 * CLUSTER, ModelDisk::default())).into()
}

/// An error with its sources.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text = format!("{text}: {e}");
        source = e.source();
    }
    text
}

/// Numbers that only look random.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// One step of a workload that goes through all that a store can do.
pub(crate) fn step(run: &mut Run, noise: &mut Noise, n: u64) -> Result<(), ReplicaError> {
    for _ in 0..=noise.next(3) {
        let disk = usize::try_from(noise.next(2)).unwrap();
        let (at, len) =
            (noise.next(8) * CLUSTER + noise.next(9000), usize::try_from(noise.next(100_000)).unwrap());
        run.driver.write(&[(disk, at, len, noise.next(40))]);
    }
    match n % 16 {
        3 => run.stage()?,
        5 => run.pin(1)?,
        6 => run.prune(2)?,
        7 => run.resize(1, 3 + noise.next(4)),
        8 => give_up(run)?,
        9 => run.unpin()?,
        11 => run.prune(3)?,
        12 => run.bring_up(1).and_then(|()| run.discard())?,
        13 => run.restart()?,
        14 => run.resize(1, 6),
        _ => {}
    }
    run.point()?;
    run.upkeep()
}

/// A cycle that the source does not finish.
fn give_up(run: &mut Run) -> Result<(), ReplicaError> {
    let (base, disks) = (run.driver.replica.last(), run.driver.disks.clone());
    let number = run.driver.next_id().number;
    run.driver.replica.begin_cycle(farshore_replica::CycleStart { number, base, disks })?;
    let bytes = driver::content(22, 65536);
    let digest = farshore_types::Digest::of(&bytes);
    let incoming =
        farshore_replica::Incoming { cluster: 1, digest, stored: farshore_replica::Stored::Raw(&bytes) };
    run.driver.replica.append(0, &[incoming])?;
    run.driver.replica.give_up_cycle();
    Ok(())
}
