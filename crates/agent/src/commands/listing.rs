//! What there is: machines, replicas, points, and how far behind they are. This module
//! must never change anything.

use farshore_hypervisor::{Disk, Machine, PowerState, Tracking};
use farshore_replica::{Phase, PointInfo, Replica};
use farshore_types::{CLUSTER_BYTES, MachineId, PointId};

use crate::{
    Agent, AgentError,
    control::{DiskLine, MachineLine, PointLine, ReplicaLine, ReplicaPoints, Status},
    scrub,
};

/// The machines of this host.
pub(crate) async fn machines(agent: &Agent) -> Result<Vec<MachineLine>, AgentError> {
    let found = agent.hypervisor().await?.machines().await?;
    let mut lines = Vec::new();
    for machine in found {
        // A replica that cannot be opened must not hide the machines.
        let replica = agent.replicas().get(machine.id).await.ok().flatten();
        let brought_up_at = match replica {
            Some(replica) => brought_up_at(replica.run(|store| store.phase()).await),
            None => None,
        };
        let named = |wanted: &str| wanted == machine.name || wanted.parse() == Ok(machine.id);
        let replicated = agent.config().replicate.iter().any(|entry| named(&entry.machine));
        lines.push(machine_line(machine, replicated, brought_up_at));
    }
    Ok(lines)
}

fn machine_line(machine: Machine, replicated: bool, brought_up_at: Option<PointId>) -> MachineLine {
    MachineLine {
        id: machine.id,
        power: power(&machine.power),
        disks: machine.disks.into_iter().map(disk_line).collect(),
        name: machine.name,
        replicated,
        brought_up_at,
    }
}

pub(crate) fn disk_line(disk: Disk) -> DiskLine {
    let (tracking, why) = match disk.tracking {
        Tracking::Bitmap => ("bitmap", None),
        Tracking::Compare { why } => ("compare", Some(why)),
        Tracking::LeftOut { why } => ("left-out", Some(why)),
        Tracking::Unknown { why } => ("unknown", Some(why)),
    };
    DiskLine {
        disk: disk.key,
        size: disk.size,
        format: disk.format,
        tracking: tracking.to_owned(),
        why,
        discard: disk.discard,
    }
}

/// A power state in one word.
pub(crate) fn power(power: &PowerState) -> String {
    match power {
        PowerState::Running => "running".to_owned(),
        PowerState::Paused { io_error: true, .. } => "paused (I/O error)".to_owned(),
        PowerState::Paused { .. } => "paused".to_owned(),
        PowerState::ShutOff { .. } => "off".to_owned(),
        PowerState::Other(word) => word.clone(),
    }
}

/// Recovery points of one machine or of all.
pub(crate) async fn points(agent: &Agent, machine: Option<&str>) -> Result<Vec<ReplicaPoints>, AgentError> {
    if let Some(wanted) = machine {
        let replica = agent.replicas().find(wanted).await?;
        return Ok(vec![replica.run(|store| points_of(store)).await]);
    }
    let mut lines = Vec::new();
    for id in agent.replicas().machines()? {
        lines.push(match agent.replicas().get_or_create(id).await {
            Ok(replica) => replica.run(|store| points_of(store)).await,
            Err(error) => unusable(id, &error),
        });
    }
    Ok(lines)
}

fn points_of(store: &Replica) -> ReplicaPoints {
    let points = store.points().into_iter().map(PointLine::from).collect();
    ReplicaPoints { id: store.machine(), machine: store.name().to_owned(), fault: None, points }
}

fn unusable(id: MachineId, error: &AgentError) -> ReplicaPoints {
    ReplicaPoints { id, machine: String::new(), fault: Some(error.fault().what), points: Vec::new() }
}

impl From<PointInfo> for PointLine {
    fn from(point: PointInfo) -> PointLine {
        PointLine {
            id: point.id,
            root: point.root,
            consistency: point.consistency,
            captured_ms: point.captured_ms,
            disks: point.disks,
            changed: point.changed_clusters * CLUSTER_BYTES,
            received: point.received,
            published: point.published,
            pinned_by: point.pinned_by,
        }
    }
}

/// What is replicated from here and to here.
pub(crate) async fn status(agent: &Agent) -> Result<Status, AgentError> {
    let mut replicas = Vec::new();
    for id in agent.replicas().machines()? {
        let now = agent.clock.wall_ms();
        replicas.push(match agent.replicas().get_or_create(id).await {
            Ok(replica) => {
                let scrub = replica.scrub().clone();
                replica.run(move |store| replica_line(store, now, &scrub)).await
            }
            Err(error) => unusable_line(id, &error),
        });
    }
    Ok(Status {
        host: agent.config().name.clone(),
        running: agent.is_serving(),
        sources: agent.sources().lines(agent.clock.wall_ms()),
        replicas,
        problems: agent.managed().map(|managed| managed.problems()).unwrap_or_default(),
    })
}

pub(crate) fn replica_line(store: &mut Replica, now_ms: u64, scrub: &scrub::Record) -> ReplicaLine {
    let state = match store.phase() {
        Phase::Receiving => "receiving",
        Phase::BringingUp { .. } => "bringing-up",
        Phase::BroughtUp { .. } => "brought-up",
    };
    let newest = store.newest().ok();
    let mut faults: Vec<String> = store.report().damaged.iter().map(damage).collect();
    faults.extend(store.report().decayed.iter().map(decayed));
    faults.extend(set_aside(store));
    faults.extend(rescued(store));
    let (scrub, decay) = scrub.told(store);
    faults.extend(decay);
    let stored = match store.usage() {
        Ok(usage) => usage.images + usage.chain,
        Err(error) => {
            faults.push(error.to_string());
            0
        }
    };
    ReplicaLine {
        id: store.machine(),
        machine: store.name().to_owned(),
        state: state.to_owned(),
        brought_up_at: brought_up_at(store.phase()),
        epoch: store.epoch().number,
        points: store.points().len(),
        newest: newest.as_ref().map(|point| point.id),
        rpo_ms: newest.map(|point| now_ms.saturating_sub(point.captured_ms)),
        stored,
        scrub: Some(scrub),
        faults,
    }
}

/// Points that only the images still know must not be forgotten there.
fn rescued(store: &Replica) -> Option<String> {
    let points = store.rescued();
    let (first, last) = (points.first()?, points.last()?);
    Some(format!(
        "{} points of the damaged chain, {first} to {last}, can be read by `qemu-img` alone; \
         `drop-rescued` frees their space",
        points.len()
    ))
}

/// Their data is kept until somebody says that it need not be.
fn set_aside(store: &Replica) -> Option<String> {
    let elements = store.set_aside();
    let (first, last) = (elements.first()?, elements.last()?);
    Some(format!(
        "{} deltas, {first} to {last}, are set aside in `quarantine`, their data is kept: put the \
         damaged or missing file into `chain` and start the agent again, or free their space by \
         `drop-rescued`",
        elements.len()
    ))
}

fn decayed(file: &farshore_replica::Dropped) -> String {
    format!(
        "{} has been damaged since it was opened: {}; put the right file in its place before the \
         agent is started again, or replicate to a new replica; nothing is pruned meanwhile",
        file.path.display(),
        file.why
    )
}

fn damage(file: &farshore_replica::Dropped) -> String {
    format!("{} was damaged and moved aside: {}", file.path.display(), file.why)
}

fn unusable_line(id: MachineId, error: &AgentError) -> ReplicaLine {
    ReplicaLine {
        id,
        machine: String::new(),
        state: "unusable".to_owned(),
        brought_up_at: None,
        epoch: 0,
        points: 0,
        newest: None,
        rpo_ms: None,
        stored: 0,
        scrub: None,
        faults: vec![error.fault().what],
    }
}

pub(crate) fn brought_up_at(phase: Phase) -> Option<PointId> {
    match phase {
        Phase::Receiving => None,
        Phase::BringingUp { point } | Phase::BroughtUp { point } => Some(point),
    }
}
