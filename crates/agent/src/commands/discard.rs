//! `discard`: ends a bring-up. The machine is stopped and withdrawn, its overlays go, and
//! the replica takes cycles again. This module must never touch a machine that does not
//! run on the replica here.

use std::sync::Arc;

use farshore_hypervisor::{GuestState, Hypervisor, Kind, Machine};
use farshore_replica::{NVRAM, Phase, Replica};
use farshore_types::{MachineId, PointId};

use crate::{Agent, AgentError, OpenReplica, control::Discarded};

pub(crate) async fn discard(agent: &Arc<Agent>, machine: &str, force: bool) -> Result<Discarded, AgentError> {
    let replica = agent.replicas().find(machine).await?;
    let _alone = replica.alone().await;
    let machine = replica.run(|store| store.name().to_owned()).await;
    if !force {
        check_nothing_is_lost(agent, &replica, "discard").await?;
        if !replica.run(|store| store.shelved()).await?.is_empty() {
            return Err(AgentError::Request {
                what: format!("what machine '{machine}' wrote at other points is put aside here"),
                advice:
                    "it becomes points where the failover is taken back, and goes at commit; repeat with \
                         --force where nobody needs it"
                        .to_owned(),
            });
        }
    }
    let point = end(agent, &replica).await?;
    replica.run(Replica::clear_shelf).await?;
    Ok(Discarded { machine, point })
}

/// What a machine wrote while it ran here exists nowhere else: one word must not cost it.
pub(super) async fn check_nothing_is_lost(
    agent: &Agent,
    replica: &Arc<OpenReplica>,
    command: &str,
) -> Result<(), AgentError> {
    let (phase, written) = replica.run(|store| (store.phase(), store.overlays_hold_data())).await;
    if phase == Phase::Receiving {
        return Ok(());
    }
    let name = replica.run(|store| store.name().to_owned()).await;
    let refused = |what: String| {
        let advice = "save what is still needed (`qemu-img convert` reads the overlays of a machine that is \
                      off), then repeat with --force";
        Err(AgentError::Request { what, advice: advice.to_owned() })
    };
    let hypervisor = agent.hypervisor().await?;
    if let Some(machine) = ours(&*hypervisor, agent, replica.machine()).await?
        && !machine.power.is_off()
    {
        let power = super::power(&machine.power);
        return refused(format!(
            "machine '{name}' is {power} here; `{command}` would stop it, and what it wrote would be gone"
        ));
    }
    match written? {
        true => refused(format!(
            "machine '{name}' has written since it was brought up; `{command}` would lose it"
        )),
        false => Ok(()),
    }
}

/// Ends a bring-up where there is one; says at which point it was.
pub(super) async fn end(agent: &Agent, replica: &Arc<OpenReplica>) -> Result<Option<PointId>, AgentError> {
    let (Phase::BroughtUp { point } | Phase::BringingUp { point }) = replica.run(|store| store.phase()).await
    else {
        return Ok(None);
    };
    let hypervisor = agent.hypervisor().await?;
    if let Some(machine) = ours(&*hypervisor, agent, replica.machine()).await? {
        tracing::warn!(machine = machine.name, %point, "stopping the machine and discarding what it wrote");
        hypervisor.destroy(machine.id).await?;
        hypervisor.undefine(machine.id, GuestState::Keep).await?;
    }
    replica.run(Replica::discard).await?;
    remove_nvram(agent, replica.machine())?;
    Ok(Some(point))
}

/// The firmware's variables of a brought-up machine go with its overlays.
pub(crate) fn remove_nvram(agent: &Agent, machine: MachineId) -> Result<(), AgentError> {
    let nvram = agent.replicas().dir_of(machine).join(NVRAM);
    match agent.files.remove(&nvram) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(AgentError::io("remove", nvram)(e)),
        _ => Ok(()),
    }
}

/// The machine as this host knows it, where it runs on the replica here.
///
/// # Errors
/// [`AgentError::Foreign`] where the host knows it with other disks.
pub(crate) async fn ours(
    hypervisor: &dyn Hypervisor,
    agent: &Agent,
    id: MachineId,
) -> Result<Option<Machine>, AgentError> {
    let machine = match hypervisor.machine(id).await {
        Err(error) if error.kind == Kind::NoSuchMachine => return Ok(None),
        found => found?,
    };
    let dir = agent.replicas().dir_of(id);
    let here = |path: &std::path::Path| path.starts_with(&dir);
    match machine.disks.iter().any(|disk| disk.path.as_deref().is_some_and(here)) {
        true => Ok(Some(machine)),
        false => Err(AgentError::Foreign { machine: machine.name }),
    }
}
