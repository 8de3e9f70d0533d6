//! A source and a target in one process: a simulated hypervisor whose disks are the
//! model, a session over a pipe that can be cut anywhere, a real store in a directory.

mod pipe;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use farshore_agent::{
    Agent, AgentError, Config, ReplicaSink, Replicas,
    control::{Observer, Reply, Request},
};
use farshore_capture::{
    Activity, CaptureError, Compression, Definition, Parts, Places, Replicator, Settings, Status,
};
use farshore_env::{File, Files, OpenMode, RealFiles, SystemClock};
use farshore_hypervisor::{Hypervisor, Start, simulated::Simulated};
use farshore_link::{Server, ServerLimits};
use farshore_types::{Consistency, DiskKey, Epoch, MachineId, PointId};
use farshore_wire::Versions;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub use pipe::{Cut, PipeDial};

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Size of each disk in bytes: not a whole number of clusters.
pub const DISK: u64 = 6 * 1024 * 1024 + 512;

/// A source, a target, and what lies between.
pub struct World {
    /// The source's host.
    pub host: Simulated,
    /// The machine that is replicated.
    pub machine: MachineId,
    /// How the source reaches the target; can be cut.
    pub dial: Arc<PipeDial>,
    /// What the next [`World::start`] replicates with.
    pub settings: Settings,
    /// By which the source owns the machine.
    pub epoch: Epoch,
    dir: tempfile::TempDir,
    /// The file system that the target's next start sees.
    pub target_files: Arc<dyn Files>,
    /// The versions that the target's next start speaks.
    versions: Versions,
    target: Mutex<Arc<Agent>>,
    running: Option<Running>,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), CaptureError>>,
    status: watch::Receiver<Status>,
}

/// A disk's name.
#[must_use]
pub fn key(name: &str) -> DiskKey {
    name.parse().unwrap()
}

impl World {
    /// A running machine with the disks vda and vdb; nothing is replicated yet.
    pub async fn new() -> World {
        let host = Simulated::new();
        let machine = host.add_machine("web1", &[("vda", DISK), ("vdb", DISK)]).await.unwrap();
        host.start(machine, Start::Running).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let target_files: Arc<dyn Files> = Arc::new(RealFiles);
        let target = open_target(&dir.path().join("replicas"), &target_files);
        let dial = PipeDial::new();
        serve(&dial, target.replicas(), Versions::OURS);
        let settings = Settings {
            frequency: Duration::from_secs(1),
            compression: Compression::On,
            scratch_reserve: 0,
            ..Settings::default()
        };
        let epoch = Epoch { number: 1, token: 7 };
        World {
            host,
            machine,
            dial,
            settings,
            epoch,
            dir,
            target_files,
            versions: Versions::OURS,
            target: Mutex::new(target),
            running: None,
        }
    }

    /// Starts the source's part.
    pub fn start(&mut self) {
        let replicator = Replicator::new(self.parts()).unwrap();
        let (stop, status) = (CancellationToken::new(), replicator.status());
        let task = tokio::spawn(replicator.run(stop.clone()));
        self.running = Some(Running { stop, task, status });
    }

    fn parts(&self) -> Parts {
        Parts {
            hypervisor: Arc::new(self.host.clone()),
            dial: self.dial.clone(),
            files: Arc::new(RealFiles),
            clock: Arc::new(SystemClock::default()),
            machine: self.machine,
            epoch: self.epoch,
            agent: "a".to_owned(),
            settings: self.settings.clone(),
            places: Places { state: self.dir.path().join("state"), runtime: self.dir.path().join("run") },
        }
    }

    /// Stops the source in good order.
    pub async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.cancel();
        timeout(PATIENCE, running.task).await.expect("it stops").unwrap().unwrap();
    }

    /// Ends the source as a SIGKILL would: in the middle of whatever it does.
    pub async fn kill_source(&mut self) {
        let running = self.running.take().unwrap();
        running.task.abort();
        let _ = running.task.await;
        self.dial.cut_all();
    }

    /// Ends the target and starts it anew: what was not durable is gone.
    pub async fn restart_target(&self) {
        self.end_target().await;
        self.begin_target().await;
    }

    /// Ends the target and starts it as one that speaks these versions.
    pub async fn speak_as_target(&mut self, versions: Versions) {
        self.versions = versions;
        self.restart_target().await;
    }

    /// Ends the target, loses all that it stored, and starts it anew.
    pub async fn lose_target(&self) {
        self.end_target().await;
        // The store is let go in the background.
        let probe = open_target(&self.replica_dir(), &self.target_files);
        self.until_free(probe.replicas()).await;
        drop(probe);
        std::fs::remove_dir_all(self.replica_dir()).unwrap();
        self.begin_target().await;
    }

    async fn end_target(&self) {
        self.dial.cut_all();
        let none = open_target(&self.dir.path().join("none"), &self.target_files);
        let old = std::mem::replace(&mut *self.target.lock().unwrap(), none);
        self.dial.clear_server().await;
        drop(old);
    }

    async fn begin_target(&self) {
        let fresh = open_target(&self.replica_dir(), &self.target_files);
        self.until_free(fresh.replicas()).await;
        serve(&self.dial, fresh.replicas(), self.versions);
        *self.target.lock().unwrap() = fresh;
    }

    /// Waits until the sessions of the old target have let the store go.
    async fn until_free(&self, replicas: &Replicas) {
        let begun = std::time::Instant::now();
        while let Err(locked) = replicas.get(self.machine).await {
            assert!(begun.elapsed() < PATIENCE, "{locked}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where the source keeps what it knows.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The directory of all replicas.
    #[must_use]
    pub fn replica_dir(&self) -> PathBuf {
        self.dir.path().join("replicas")
    }

    /// The target's replicas.
    pub fn replicas(&self) -> Arc<Replicas> {
        self.target.lock().unwrap().replicas().clone()
    }

    /// Gives the target's agent a command.
    pub async fn ask_target(&self, request: Request) -> Result<Reply, AgentError> {
        let agent = self.target.lock().unwrap().clone();
        let (observer, _events) = Observer::new(CancellationToken::new());
        agent.handle(request, &observer).await
    }

    /// What the source shows now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.running.as_ref().unwrap().status.borrow().clone()
    }

    /// Waits until the source shows what `is` asks for.
    pub async fn until(&mut self, what: &str, is: impl Fn(&Status) -> bool) -> Status {
        let running = self.running.as_mut().unwrap();
        let found = timeout(PATIENCE, running.status.wait_for(|s| is(s))).await.map(|s| s.map(|s| s.clone()));
        match found {
            Ok(Ok(status)) => status,
            Ok(Err(_)) => panic!("the source ended while waiting until {what}"),
            Err(_) => panic!("not reached: {what}; it shows {:?}", running.status.borrow().clone()),
        }
    }

    /// Waits for the source to give up, and gives its reason.
    pub async fn failure(&mut self) -> CaptureError {
        let running = self.running.take().unwrap();
        timeout(PATIENCE, running.task).await.expect("it ends").unwrap().expect_err("it fails")
    }

    /// Waits for a point whose cycle began after now; returns it.
    pub async fn next_point(&mut self) -> PointId {
        let before = self.status().last_point.map_or(0, |p| p.id.number);
        // The next one may have begun already.
        let status =
            self.until("two more points", |s| s.last_point.is_some_and(|p| p.id.number >= before + 2)).await;
        status.last_point.unwrap().id
    }

    /// Waits until the machine is off and its last state is at the target.
    pub async fn until_off(&mut self) {
        self.until("off", |s| s.activity == Activity::Off).await;
    }

    /// Lets the guest write.
    pub fn write(&self, disk: &str, at: u64, data: &[u8]) {
        self.host.guest_write(self.machine, &key(disk), at, data).unwrap();
    }

    /// A disk's bytes as the guest sees them now.
    #[must_use]
    pub fn bytes(&self, disk: &str) -> Vec<u8> {
        self.host.model_bytes(self.machine, &key(disk)).unwrap()
    }

    /// A disk's bytes at a point, exported by the target, every digest checked.
    pub async fn point_bytes(&self, id: PointId, disk: &str) -> Vec<u8> {
        let replica = self.replicas().get(self.machine).await.unwrap().expect("a replica");
        let (disk, out) = (key(disk), self.dir.path().join(format!("export-{disk}")));
        replica
            .run(move |store| {
                let reader = store.reader(id).unwrap();
                let file: Arc<dyn File> = RealFiles.open(&out, OpenMode::Truncate).unwrap();
                reader.export_raw(&disk, &*file, &mut |_, _| {}).unwrap();
                std::fs::read(&out).unwrap()
            })
            .await
    }

    /// Writes nothing any more, waits for a point of now, and compares it with the disks.
    pub async fn check_newest(&mut self) -> PointId {
        let id = self.next_point().await;
        for disk in ["vda", "vdb"] {
            assert!(self.point_bytes(id, disk).await == self.bytes(disk), "point {id}, disk {disk} differs");
        }
        id
    }

    /// The machine's definition as the newest point has it.
    pub async fn newest_definition(&self) -> Definition {
        let replica = self.replicas().get(self.machine).await.unwrap().expect("a replica");
        let newest = replica.run(|store| store.reader(store.newest()?.id)).await.unwrap();
        Definition::decode(&replica.run(move |_| newest.definition()).await.unwrap()).unwrap()
    }

    /// The disks that a point has.
    pub async fn disks_of(&self, id: PointId) -> Vec<DiskKey> {
        let replica = self.replicas().get(self.machine).await.unwrap().expect("a replica");
        let point = replica.run(move |store| store.point(id)).await.unwrap();
        point.disks.into_iter().map(|(disk, _)| disk).collect()
    }

    /// The points that the target shows.
    pub async fn points(&self) -> Vec<PointId> {
        let replica = self.replicas().get(self.machine).await.unwrap().expect("a replica");
        replica.run(|store| store.points().iter().map(|p| p.id).collect()).await
    }

    /// What each of these points is called, oldest first.
    pub async fn labels(&self) -> Vec<Consistency> {
        let replica = self.replicas().get(self.machine).await.unwrap().expect("a replica");
        replica.run(|store| store.points().iter().map(|p| p.consistency).collect()).await
    }

    /// Checkpoints of ours that the host has.
    pub async fn checkpoints(&self) -> Vec<String> {
        let all = self.host.checkpoints(self.machine).await.unwrap();
        all.into_iter().map(|c| c.name).filter(|n| n.starts_with("farshore-")).collect()
    }
}

fn open_target(dir: &std::path::Path, files: &Arc<dyn Files>) -> Arc<Agent> {
    let config = Config {
        state_dir: dir.with_extension("state"),
        replica_dir: dir.to_owned(),
        runtime_dir: dir.with_extension("run"),
        ..Config::default()
    };
    Arc::new(Agent::new(config).with_files(files.clone()).with_hypervisor(Arc::new(Simulated::new())))
}

fn serve(dial: &PipeDial, replicas: &Arc<Replicas>, versions: Versions) {
    let sink = Arc::new(ReplicaSink::new(replicas.clone(), Vec::new()));
    let shutdown = CancellationToken::new();
    let limits = ServerLimits { versions, ..ServerLimits::default() };
    dial.set_server(Server::new(sink, limits, shutdown.clone()), shutdown);
}
