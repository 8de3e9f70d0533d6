//! `bring-up`: a machine comes up here at a point. Everything that can be refused is
//! refused before anything changes; after that, every step may be repeated. Under a vault
//! `managed::life::glass` says who may have it. This module must never start a machine over
//! disks that show another point.

mod plan;

use std::{sync::Arc, time::Instant};

use farshore_hypervisor::{Hypervisor, Machine, Start};
use farshore_replica::{Phase, PointInfo, Replica};
use farshore_types::{Epoch, PointId};

use super::{
    discard::{self, ours},
    listing::power,
    verify::millis,
};
use crate::{
    Agent, AgentError, OpenReplica,
    control::{BringUp, BroughtUp, Event, Observer, PointChoice, StartChoice},
    managed::ByHand,
    probe::{self, Answer},
};
use plan::Plan;

pub(crate) async fn bring_up(
    agent: &Arc<Agent>,
    wanted: &BringUp,
    observer: &Observer,
) -> Result<BroughtUp, AgentError> {
    let begun = Instant::now();
    let replica = agent.replicas().find(&wanted.machine).await?;
    let _alone = replica.alone().await;
    let (phase, point) = standing(&replica, wanted.point).await?;
    let hypervisor = agent.hypervisor().await?;
    let there = ours(&*hypervisor, agent, replica.machine()).await?;
    let runs = |machine: &Machine| match wanted.start {
        StartChoice::Run => !machine.power.is_off() && !machine.power.is_paused(),
        StartChoice::Paused | StartChoice::No => !machine.power.is_off(),
    };
    if let Phase::BroughtUp { point: at } | Phase::BringingUp { point: at } = phase {
        if at == point.id && there.as_ref().is_some_and(runs) {
            return already(&replica, &*hypervisor, there, &point, wanted.start).await;
        }
        if at != point.id && !wanted.replace {
            let machine = wanted.machine.clone();
            return Err(AgentError::OtherPoint { machine, at, asked: point.id });
        }
        if at != point.id && !wanted.force {
            discard::check_nothing_is_lost(agent, &replica, "bring-up --replace").await?;
        }
    }
    let plan = Plan::make(agent, &replica, &point).await?;
    plan.check(&*hypervisor).await?;
    let epoch = take(agent, &replica, &plan, phase, &point, wanted.force, observer).await?;
    if phase == (Phase::BroughtUp { point: point.id }) && there.as_ref().is_some_and(|it| !it.power.is_off())
    {
        return already(&replica, &*hypervisor, there, &point, wanted.start).await;
    }
    if let Phase::BroughtUp { point: at } | Phase::BringingUp { point: at } = phase
        && at != point.id
    {
        observer.tell(Event::Note(format!("discarding the machine as it was brought up at {at}")));
        discard::end(agent, &replica).await?;
    }
    let epoch = set(&replica, point.id, epoch).await?;
    plan.write_nvram(agent)?;
    let power = come_up(&replica, &*hypervisor, &plan, point.id, wanted.start).await?;
    let running_after_ms = (wanted.start != StartChoice::No).then(|| millis(begun));
    tracing::info!(machine = plan.machine, point = %point.id, epoch, running_after_ms, "brought up");
    Ok(plan.told(&point, epoch, false, power, running_after_ms))
}

/// Sets the disks to the point by an epoch that was issued, and defines the machine over them;
/// it is not started. Everything may be repeated. Who may have it was decided before.
pub(crate) async fn define_at(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    point: &PointInfo,
    epoch: Epoch,
) -> Result<(), AgentError> {
    let hypervisor = agent.hypervisor().await?;
    let plan = Plan::make(agent, replica, point).await?;
    plan.check(&*hypervisor).await?;
    let id = point.id;
    replica.run(move |store| store.bring_up(id, epoch)).await?;
    plan.write_nvram(agent)?;
    come_up(replica, &*hypervisor, &plan, id, StartChoice::No).await.map(drop)
}

/// Whether this host could run the machine as it would be here at a point. Nothing is changed.
pub(crate) async fn check_startable(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    point: &PointInfo,
) -> Result<(), AgentError> {
    let hypervisor = agent.hypervisor().await?;
    Plan::make(agent, replica, point).await?.check(&*hypervisor).await
}

/// The definition that the machine would have here at a point. Nothing is changed.
pub(crate) async fn as_it_would_be(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    point: &PointInfo,
) -> Result<String, AgentError> {
    Ok(Plan::make(agent, replica, point).await?.xml)
}

/// By which epoch it may be brought up here, where a vault names the machine: that is decided by
/// what this host holds of its owner, and by the other host's word. Else only who replicates it
/// is asked.
async fn take(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    plan: &Plan,
    phase: Phase,
    point: &PointInfo,
    force: bool,
    observer: &Observer,
) -> Result<Option<Epoch>, AgentError> {
    if let Some(managed) = agent.managed() {
        let by_hand = ByHand {
            machine: replica.machine(),
            name: plan.machine.clone(),
            point: point.id,
            stands: phase == (Phase::BroughtUp { point: point.id }),
            stored: replica.run(|store| store.epoch()).await,
            force,
        };
        if let Some(epoch) = managed.take_by_hand(agent, &by_hand, observer).await? {
            return Ok(Some(epoch));
        }
    }
    if phase == Phase::Receiving && !force {
        ask_its_host(agent, replica, &plan.machine, observer).await?;
    }
    Ok(None)
}

/// Whether the machine runs where it was replicated from: only that host can say. Where it
/// does, or nobody answers, a person has to decide.
async fn ask_its_host(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    machine: &str,
    observer: &Observer,
) -> Result<(), AgentError> {
    let refused = |why: String| Err(AgentError::MayRunElsewhere { machine: machine.to_owned(), why });
    let host = replica.run(|store| store.writer().map(str::to_owned)).await;
    let config = agent.config();
    let address = |host: &String| {
        let managed = || agent.managed()?.address_of(host);
        config.peer_addresses.get(host).cloned().or_else(managed)
    };
    let Some((host, address)) = host.as_ref().and_then(|h| Some((h, address(h)?))) else {
        let why = match host {
            Some(host) => format!("its host '{host}' could not be asked: [peer_addresses] does not have it"),
            None => "no host has replicated it to here, so none could be asked".to_owned(),
        };
        if config.require_probe {
            return refused(why);
        }
        observer.tell(Event::Note(format!("whether '{machine}' runs elsewhere is not known: {why}")));
        return Ok(());
    };
    match probe::ask(agent, replica.machine(), machine, host, &address).await {
        Answer::DoesNot => Ok(()),
        Answer::Runs(what) => refused(format!("its host says that {what}")),
        Answer::Silent(why) => refused(format!("its host '{host}' does not say: {why}")),
    }
}

/// What the replica is doing, and the point that is meant: while a machine runs on a point,
/// "latest" is that one.
async fn standing(replica: &Arc<OpenReplica>, choice: PointChoice) -> Result<(Phase, PointInfo), AgentError> {
    let look = move |store: &mut Replica| {
        let phase = store.phase();
        let point = match (choice, phase) {
            (PointChoice::At(id), _) => store.point(id)?,
            (PointChoice::Latest, Phase::BroughtUp { point } | Phase::BringingUp { point }) => {
                store.point(point)?
            }
            (PointChoice::Latest, Phase::Receiving) => store.newest()?,
        };
        Ok::<_, AgentError>((phase, point))
    };
    replica.run(look).await
}

/// Asked for what is so already; a machine that was only paused may still be let run.
async fn already(
    replica: &Arc<OpenReplica>,
    hypervisor: &dyn Hypervisor,
    there: Option<Machine>,
    point: &PointInfo,
    start: StartChoice,
) -> Result<BroughtUp, AgentError> {
    let paused = there.as_ref().is_some_and(|machine| machine.power.is_paused());
    if paused && start == StartChoice::Run {
        hypervisor.resume(replica.machine()).await?;
    }
    let machine = hypervisor.machine(replica.machine()).await?;
    let (id, point_id) = (machine.id, point.id);
    let files = |disk: farshore_hypervisor::Disk| Some((disk.key, disk.path?));
    Ok(BroughtUp {
        id,
        machine: machine.name,
        point: point_id,
        captured_ms: point.captured_ms,
        epoch: replica.run(|store| store.epoch().number).await,
        already: true,
        power: power(&machine.power),
        running_after_ms: None,
        disks: machine.disks.into_iter().filter_map(files).collect(),
        without_disks: Vec::new(),
    })
}

/// Sets the disks to the point by the epoch, or by one of the replica's own where no vault names
/// the machine (rule R1: highest known + 1).
async fn set(replica: &Arc<OpenReplica>, point: PointId, epoch: Option<Epoch>) -> Result<u64, AgentError> {
    let set = move |store: &mut Replica| {
        let held = store.epoch();
        if store.phase() == (Phase::BroughtUp { point }) {
            return Ok(epoch.unwrap_or(held).number);
        }
        let next = || Epoch { number: held.number + 1, token: uuid::Uuid::new_v4().as_u128() };
        let epoch = epoch.unwrap_or_else(next);
        store.bring_up(point, epoch)?;
        Ok(epoch.number)
    };
    replica.run(set).await
}

/// Defines and starts, over disks that were just checked to show the point.
async fn come_up(
    replica: &Arc<OpenReplica>,
    hypervisor: &dyn Hypervisor,
    plan: &Plan,
    point: PointId,
    start: StartChoice,
) -> Result<String, AgentError> {
    replica.run(move |store| store.check_overlays(point)).await?;
    let id = hypervisor.define(&plan.xml).await?;
    // Who starts it after a reboot is decided by people, not by the host.
    hypervisor.set_autostart(id, false).await?;
    match start {
        StartChoice::Run => hypervisor.start(id, Start::Running).await?,
        StartChoice::Paused => hypervisor.start(id, Start::Paused).await?,
        StartChoice::No => {}
    }
    Ok(power(&hypervisor.machine(id).await?.power))
}
