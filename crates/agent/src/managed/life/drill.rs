//! Test failover: a copy of the machine beside the replica, at a point that is pinned and
//! published, under a name, an identity and network cards of its own, connected to nothing of
//! production. Its overlays stand on a stock `qemu-nbd` for each disk, which serves the point
//! read-only, outlives the agent, and does not notice that replication goes on. This module must
//! never touch the machine itself, nor write to its replica.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use farshore_capture::Definition;
use farshore_control::{report::Problem, standing::DrillStanding};
use farshore_env::OpenMode;
use farshore_hypervisor::{
    GuestState, Kind, Start,
    definition::{self, Rewrite},
};
use farshore_protection::{Drill, DrillNetwork, DrillPhase};
use farshore_qcow2::Overlay;
use farshore_replica::{Pin, PointInfo, Replica};
use farshore_types::{DiskKey, MachineId, PointId};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::{
    super::{Managed, ledger::Ledger, locked},
    look::Seen,
    start,
    station::Station,
};
use crate::{Agent, AgentError, OpenReplica, control::PointChoice};

/// The stock server of a point.
const SERVER: &str = "qemu-nbd";

/// A test failover that was begun here: what a crash must not forget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillKept {
    /// Number of its order.
    pub order: u64,
    /// Identity of the copy.
    pub id: MachineId,
    /// Its name.
    pub name: String,
    /// At which point.
    pub at: PointId,
    /// The network that was made for it, if one was.
    #[serde(default)]
    pub network: Option<String>,
}

impl DrillKept {
    fn pin(&self) -> Pin {
        Pin { point: self.at, holder: format!("test failover {}", self.order) }
    }
}

fn dir_of(agent: &Agent, machine: MachineId) -> PathBuf {
    agent.config().replica_dir.join(format!("{machine}.drill"))
}

/// Opens what is wanted and is not there, removes what is there and is not wanted.
pub(super) async fn settle(agent: &Arc<Agent>, managed: &Arc<Managed>, seen: &Seen) {
    let machine = seen.protection.machine;
    let done = match (&seen.wanted.drill, &seen.station.drill) {
        (Some(drill), Some(kept)) if drill.phase == DrillPhase::CleaningUp || drill.order != kept.order => {
            remove(agent, managed, machine, kept).await
        }
        (Some(drill), None)
            if drill.phase != DrillPhase::CleaningUp && seen.wanted.other == managed.host() =>
        {
            open(agent, managed, seen, drill).await
        }
        (_, Some(kept)) => check(agent, seen, kept).await,
        _ => Ok(()),
    };
    let removes = removes(seen.wanted.drill.as_ref());
    let failed = done.err().map(|error| {
        let fault = error.fault();
        tracing::warn!(%machine, error = fault.what, advice = fault.advice, "a test failover");
        (removes, Problem { code: "drill".to_owned(), what: fault.what, advice: fault.advice })
    });
    let mut acting = locked(&managed.acting);
    let changed = match failed {
        Some(problem) => acting.drills.insert(machine, problem.clone()) != Some(problem),
        None => acting.drills.remove(&machine).is_some(),
    };
    drop(acting);
    if changed {
        managed.news.soon.notify_one();
    }
}

/// Whether traces are to go: what was in the way of the opposite is told no longer then.
pub(super) fn removes(wanted: Option<&Drill>) -> bool {
    wanted.is_none_or(|drill| drill.phase == DrillPhase::CleaningUp)
}

/// How it stands; none: there is none here, or a host that is asked to have one cannot.
pub(super) async fn standing(
    agent: &Agent,
    wanted: Option<&Drill>,
    kept: Option<&DrillKept>,
    failed: Option<Problem>,
) -> Option<DrillStanding> {
    let Some(kept) = kept else {
        let drill = wanted.filter(|drill| drill.phase != DrillPhase::CleaningUp)?;
        let failed = Some(failed?);
        return Some(DrillStanding {
            order: drill.order,
            runs: false,
            name: String::new(),
            at: None,
            failed,
        });
    };
    let there = match agent.hypervisor().await {
        Ok(hypervisor) => hypervisor.machine(kept.id).await.ok(),
        Err(_) => None,
    };
    let runs = there.is_some_and(|there| !there.power.is_off() && !there.power.is_paused());
    Some(DrillStanding { order: kept.order, runs, name: kept.name.clone(), at: Some(kept.at), failed })
}

/// Removes one that was open when its machine's protection ended.
pub(super) async fn end(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    station: &Station,
) -> Result<(), AgentError> {
    match &station.drill {
        Some(kept) => remove(agent, managed, station.machine, kept).await,
        None => Ok(()),
    }
}

async fn open(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
    drill: &Drill,
) -> Result<(), AgentError> {
    let machine = seen.protection.machine;
    let replica = agent.replicas().get_or_create(machine).await?;
    let nothing = || AgentError::Request {
        what: "there is no point of this machine to try".to_owned(),
        advice: "wait for the first one".to_owned(),
    };
    let point = start::chosen(&replica, drill.point).await?.ok_or_else(nothing)?;
    let id = MachineId(uuid::Uuid::new_v4());
    let name = format!("{}-test-{}", seen.protection.name, drill.order);
    let network = (drill.network == DrillNetwork::Own).then(|| format!("farshore-{}", id.0.simple()));
    let kept = DrillKept { order: drill.order, id, name, at: point.id, network };
    let noted = kept.clone();
    managed
        .change(move |ledger| {
            ledger.station_mut(machine).drill = Some(noted);
            ((), true)
        })
        .await?;
    bring_up(agent, &replica, &point, &kept, &drill.network).await?;
    tracing::info!(%machine, copy = kept.name, point = %point.id, "a test failover runs");
    Ok(())
}

/// What a crash cut is done once more from its beginning; what was there stays.
async fn check(agent: &Arc<Agent>, seen: &Seen, kept: &DrillKept) -> Result<(), AgentError> {
    let machine = seen.protection.machine;
    let wanted = seen.wanted.drill.as_ref().filter(|drill| drill.order == kept.order);
    let there = agent.hypervisor().await?.machine(kept.id).await;
    match (there, wanted) {
        // It was defined, and could not be started then.
        (Ok(there), Some(drill)) if there.power.is_off() && drill.phase == DrillPhase::Opening => {
            Ok(agent.hypervisor().await?.start(kept.id, Start::Running).await?)
        }
        (Ok(_), _) => {
            let dir = dir_of(agent, machine);
            let silent = |path: &PathBuf| server_of(path).is_none();
            match pid_files(&dir).iter().find(|path| silent(path)) {
                None => Ok(()),
                Some(path) => Err(AgentError::Request {
                    what: format!("the server of a disk has ended: {}", path.display()),
                    advice: "what the copy shows is worth nothing from then on: clean up, and try again"
                        .to_owned(),
                }),
            }
        }
        (Err(error), Some(drill)) if error.kind == Kind::NoSuchMachine => {
            let replica = agent.replicas().get_or_create(machine).await?;
            let at = kept.at;
            let point = replica.run(move |store| store.point(at)).await?;
            bring_up(agent, &replica, &point, kept, &drill.network).await
        }
        (Err(error), _) => Err(error.into()),
    }
}

async fn bring_up(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    point: &PointInfo,
    kept: &DrillKept,
    network: &DrillNetwork,
) -> Result<(), AgentError> {
    let (pin, at) = (kept.pin(), point.id);
    replica
        .run(move |store: &mut Replica| {
            store.pin(pin)?;
            store.publish(at)
        })
        .await?;
    let dir = dir_of(agent, replica.machine());
    agent.files.create_dir_all(&dir).map_err(AgentError::io("create", &dir))?;
    let mut disks = BTreeMap::new();
    for (disk, size) in &point.disks {
        let image = agent.replicas().dir_of(replica.machine()).join(format!("{disk}.qcow2"));
        let socket = serve_point(&dir, disk, &image, at).await?;
        let path = overlay(agent, &dir, disk, *size, &socket)?;
        disks.insert(disk.clone(), definition::Overlay { path, format: "qcow2".to_owned() });
    }
    let hypervisor = agent.hypervisor().await?;
    if let Some(name) = &kept.network {
        hypervisor.create_network(name).await?;
    }
    let xml = copy_of(agent, replica, point, kept, (disks, network), &dir).await?;
    let id = hypervisor.define(&xml).await?;
    hypervisor.set_autostart(id, false).await?;
    Ok(hypervisor.start(id, Start::Running).await?)
}

/// The definition of the copy: other identity, other cards, no network of production.
async fn copy_of(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    point: &PointInfo,
    kept: &DrillKept,
    (disks, network): (BTreeMap<DiskKey, definition::Overlay>, &DrillNetwork),
    dir: &Path,
) -> Result<String, AgentError> {
    let wrong = |why: String| AgentError::Definition { machine: kept.name.clone(), point: point.id, why };
    let reader = agent.reader(replica, PointChoice::At(point.id)).await?;
    let packed = replica.run(move |_| reader.definition()).await?;
    let sent = Definition::decode(&packed).map_err(|e| wrong(e.to_string()))?;
    let text = definition::machine(&sent.xml).map_err(|e| wrong(e.to_string()))?;
    let fixed = text.disks.iter().filter(|disk| matches!(disk.device.as_str(), "disk" | "lun"));
    let drop_disks = fixed.map(|disk| disk.key.clone()).filter(|key| !disks.contains_key(key)).collect();
    let nvram = sent.nvram.as_ref().map(|_| dir.join("nvram"));
    if let (Some(path), Some(bytes)) = (&nvram, &sent.nvram) {
        write(agent, path, bytes, bytes.len() as u64)?;
    }
    let to = Rewrite {
        name: Some(kept.name.clone()),
        id: Some(kept.id),
        disks,
        add_disks: true,
        drop_disks,
        unplug_others: true,
        all_networks: match network {
            DrillNetwork::None => None,
            DrillNetwork::Named(name) => Some(name.clone()),
            DrillNetwork::Own => kept.network.clone(),
        },
        new_cards: true,
        nvram,
        emulator: text.emulator.as_ref().filter(|path| !path.exists()).map(|_| PathBuf::new()),
        ..Rewrite::default()
    };
    definition::rewrite(&sent.xml, &to).map_err(|e| wrong(e.to_string()))
}

fn overlay(
    agent: &Agent,
    dir: &Path,
    disk: &DiskKey,
    size: u64,
    socket: &Path,
) -> Result<PathBuf, AgentError> {
    let path = dir.join(format!("{disk}.qcow2"));
    let layout = Overlay {
        size,
        backing: format!("nbd+unix:///?socket={}", socket.display()),
        backing_format: "raw".to_owned(),
        extensions: Vec::new(),
    };
    let file = layout.image().map_err(|error| AgentError::Request {
        what: format!("an overlay for disk {disk} cannot be made: {error}"),
        advice: "choose a shorter directory for replicas".to_owned(),
    })?;
    write(agent, &path, &file.bytes, file.file_size)?;
    Ok(path)
}

fn write(agent: &Agent, path: &Path, bytes: &[u8], size: u64) -> Result<(), AgentError> {
    let write = || {
        let file = agent.files.open(path, OpenMode::Truncate)?;
        file.write_at(bytes, 0)?;
        file.set_size(size)?;
        file.sync()
    };
    write().map_err(AgentError::io("write", path))
}

/// Begins to serve a point of a disk, by a process that is nobody's child; gives its socket.
async fn serve_point(dir: &Path, disk: &DiskKey, image: &Path, at: PointId) -> Result<PathBuf, AgentError> {
    let (socket, pid) = (dir.join(format!("{disk}.sock")), dir.join(format!("{disk}.pid")));
    if server_of(&pid).is_some() {
        return Ok(socket);
    }
    let mut server = tokio::process::Command::new(SERVER);
    server.args(["--fork", "--persistent", "--read-only", "--shared=0", "--format=qcow2"]);
    server.arg(format!("--load-snapshot={at}")).arg("--socket").arg(&socket).arg("--pid-file").arg(&pid);
    let ended = server.arg(image).stdin(Stdio::null()).stdout(Stdio::null()).output().await;
    let ended = ended.map_err(AgentError::io("start", SERVER))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(AgentError::Request {
            what: format!("{SERVER} cannot serve point {at} of disk {disk}: {said}"),
            advice: "look whether qemu-utils is installed, and into the replica with `verify`".to_owned(),
        });
    }
    // QEMU may run as another user.
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&socket, open).map_err(AgentError::io("open", &socket))?;
    Ok(socket)
}

fn pid_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "pid")).collect()
}

/// The process that a file names, if it is still the server that wrote it.
fn server_of(pid_file: &Path) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let named = pid_file.display().to_string();
    line.split(|byte| *byte == 0).any(|word| word == named.as_bytes()).then_some(pid)
}

/// Removes every trace.
async fn remove(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    machine: MachineId,
    kept: &DrillKept,
) -> Result<(), AgentError> {
    let hypervisor = agent.hypervisor().await?;
    match hypervisor.machine(kept.id).await {
        Err(error) if error.kind == Kind::NoSuchMachine => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {
            hypervisor.destroy(kept.id).await?;
            hypervisor.undefine(kept.id, GuestState::Remove).await?;
        }
    }
    if let Some(name) = &kept.network {
        hypervisor.remove_network(name).await?;
    }
    let dir = dir_of(agent, machine);
    for pid in pid_files(&dir).iter().filter_map(|path| server_of(path)) {
        // Gone meanwhile is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(AgentError::io("remove", dir)(e)),
        _ => {}
    }
    if let Some(replica) = agent.replicas().get(machine).await? {
        let pin = kept.pin();
        replica.run(move |store| store.unpin(&pin)).await?;
    }
    tracing::info!(%machine, copy = kept.name, "nothing of the test failover is left");
    let gone = move |ledger: &mut Ledger| {
        ledger.station_mut(machine).drill = None;
        ((), true)
    };
    managed.change(gone).await
}
