//! What a request asks for, done by the rooms that know how. Each may be done again after a
//! crash. This module must never decide whether a request is still wanted.

mod delete;
mod medium;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use farshore_control::{
    Peer, Wire,
    request::{Action, Answer, Ending, POINTS_MAX, PointFacts},
};
use farshore_hypervisor::definition::{self, Rewrite};
use farshore_replica::PointInfo;
use farshore_types::{CLUSTER_BYTES, Consistency, DiskKey, MachineId, PointId};

use super::Managed;
use crate::{
    Agent, AgentError, commands,
    control::{Adopt, Observer},
    probe,
};

/// Does it.
pub(super) async fn run(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    action: Action,
    observer: &Observer,
) -> Ending {
    let done = match action {
        Action::CheckPeer { peer } => check_peer(agent, &peer).await,
        Action::CheckStartable { definition, networks } => {
            check_startable(agent, &definition, &networks).await
        }
        Action::Definition { machine } => definition_of(agent, machine).await,
        Action::ExportMedium { machine, to } => {
            medium::export(agent, machine, PathBuf::from(to), observer).await.map(|()| Answer::Done)
        }
        Action::Adopt { machine, disks } => adopt(agent, machine, disks, observer).await,
        Action::Points { machine, before, application, limit } => {
            points(agent, machine, (before, application, limit)).await
        }
        Action::DeleteReplica { machine, epoch } => {
            delete::delete(agent, managed, machine, &epoch).await.map(|()| Answer::Done)
        }
    };
    match done {
        Ok(answer) => Ending::Done { answer },
        Err(error) => {
            let fault = error.fault();
            Ending::Failed { what: fault.what, advice: fault.advice }
        }
    }
}

async fn check_peer(agent: &Agent, peer: &Peer) -> Result<Answer, AgentError> {
    let met = probe::measure(agent, &peer.name, &peer.address, Wire::Certificate).await?;
    // Where both could, both must: a policy may choose it at any time.
    let setup_ms = match peer.principal.is_some() && agent.kerberos().is_configured() {
        true => probe::measure(agent, &peer.name, &peer.address, Wire::Kerberos).await?.setup_ms,
        false => met.setup_ms,
    };
    Ok(Answer::Peer { setup_ms, skew_ms: met.skew_ms, agent: met.agent, free: met.free })
}

/// As a bring-up would have it, but for its disks, which are not there yet.
async fn check_startable(
    agent: &Agent,
    text: &str,
    networks: &BTreeMap<String, String>,
) -> Result<Answer, AgentError> {
    let wrong = |error: definition::DefinitionError| AgentError::Request {
        what: format!("the definition cannot be read: {error}"),
        advice: "look at the machine's definition on its own host".to_owned(),
    };
    let machine = definition::machine(text).map_err(wrong)?;
    let to = Rewrite {
        networks: networks.iter().map(|(there, here)| (there.clone(), Some(here.clone()))).collect(),
        unplug_others: true,
        emulator: machine.emulator.as_ref().filter(|path| !path.exists()).map(|_| PathBuf::new()),
        ..Rewrite::default()
    };
    let here = definition::rewrite(text, &to).map_err(wrong)?;
    let problems = agent.hypervisor().await?.check_startable(&here).await?;
    Ok(Answer::Startable { problems: problems.into_iter().map(|p| (p.what, p.advice)).collect() })
}

/// Recovery points of a replica, the newest first.
async fn points(
    agent: &Agent,
    machine: MachineId,
    (before, application, limit): (Option<PointId>, bool, u32),
) -> Result<Answer, AgentError> {
    let Some(replica) = agent.replicas().get(machine).await? else {
        return Err(AgentError::Request {
            what: format!("there is no replica of machine {machine} here"),
            advice: "see `farshore replica list`".to_owned(),
        });
    };
    let (now, limit) = (agent.clock.wall_ms(), limit.clamp(1, POINTS_MAX) as usize);
    let mut points = replica.run(|store| store.points()).await;
    points.retain(|point| {
        before.is_none_or(|before| point.id < before)
            && (!application || point.consistency == Consistency::Application)
    });
    let more = points.len() > limit;
    let facts = |point: PointInfo| PointFacts {
        id: point.id,
        age_ms: now.saturating_sub(point.captured_ms),
        consistency: point.consistency,
        changed: point.changed_clusters * CLUSTER_BYTES,
        received: point.received,
        pinned_by: point.pinned_by,
    };
    Ok(Answer::Points { points: points.into_iter().rev().take(limit).map(facts).collect(), more })
}

async fn definition_of(agent: &Agent, machine: MachineId) -> Result<Answer, AgentError> {
    let found = agent.hypervisor().await?.machine(machine).await?;
    let text = definition::without_secrets(&found.definition).map_err(|error| AgentError::Request {
        what: format!("the definition of machine '{}' cannot be read: {error}", found.name),
        advice: "look at it on its own host".to_owned(),
    })?;
    Ok(Answer::Definition { text })
}

async fn adopt(
    agent: &Arc<Agent>,
    machine: MachineId,
    disks: Vec<(DiskKey, String)>,
    observer: &Observer,
) -> Result<Answer, AgentError> {
    let mut left: Vec<(DiskKey, PathBuf)> = disks.into_iter().map(|(key, path)| (key, path.into())).collect();
    // What an earlier try has taken over is not taken again.
    if let Some(replica) = agent.replicas().get(machine).await? {
        left = replica
            .run(move |store| left.into_iter().filter(|(key, _)| !store.is_adopted(key)).collect::<Vec<_>>())
            .await;
        if left.is_empty() {
            return Ok(Answer::Done);
        }
    }
    commands::adopt(agent, Adopt { machine: machine.to_string(), disks: left }, observer).await?;
    Ok(Answer::Done)
}
