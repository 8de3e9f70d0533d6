//! Deletes a replica with all its points: the one thing here that takes data away. Refused
//! while a document wants the replica, while the machine runs on it, and by any other epoch
//! than the one that was meant. This module must never delete what it was not told the epoch of.

use std::sync::Arc;

use farshore_replica::Phase;
use farshore_types::{Epoch, MachineId};

use super::super::{Managed, fencing, ledger::Ledger};
use crate::{Agent, AgentError};

pub(super) async fn delete(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    machine: MachineId,
    epoch: &Epoch,
) -> Result<(), AgentError> {
    check_wanted(managed, machine)?;
    agent.replicas().finish_deleting(machine).await?;
    let Some(replica) = agent.replicas().get(machine).await? else {
        // An earlier try has done it.
        return forget(managed, machine).await;
    };
    let _alone = replica.alone().await;
    let (asked, known) = (*epoch, managed.ledger().lineage(machine).map(|lineage| lineage.epoch));
    let check = move |store: &mut farshore_replica::Replica| check(store, &asked, known.as_ref());
    replica.run(check).await?;
    agent.replicas().delete(machine, "the vault had it deleted", check).await?;
    tracing::warn!(%machine, epoch = epoch.number, "the replica was deleted, as the vault asked");
    forget(managed, machine).await
}

fn check_wanted(managed: &Managed, machine: MachineId) -> Result<(), AgentError> {
    match fencing::wanted_here(&managed.ledger(), machine) {
        Some(protection) => Err(AgentError::Request {
            what: format!("machine '{}' is protected to this host: its replica is wanted", protection.name),
            advice: "end its protection, or move it, first".to_owned(),
        }),
        None => Ok(()),
    }
}

/// `known`: the highest epoch of the machine that this host knows. Reports name that, for a
/// replica that was written by a lower one, and so may who wants it deleted.
fn check(store: &farshore_replica::Replica, epoch: &Epoch, known: Option<&Epoch>) -> Result<(), AgentError> {
    let (held, name) = (store.epoch(), store.name());
    let refused = |what: String| {
        Err(AgentError::Request {
            what,
            advice: "look at the protection again: something happened since this was asked".to_owned(),
        })
    };
    if let Phase::BroughtUp { point } | Phase::BringingUp { point } = store.phase() {
        return refused(format!("machine '{name}' was brought up from this replica, at point {point}"));
    }
    let told = known.filter(|known| known.number > held.number).unwrap_or(&held);
    if [&held, told].into_iter().any(|held| fencing::is_meant(held, store.last().is_some(), epoch)) {
        return Ok(());
    }
    refused(format!(
        "the replica of '{name}' is of epoch {}, to be deleted was one of epoch {}",
        held.number, epoch.number
    ))
}

async fn forget(managed: &Arc<Managed>, machine: MachineId) -> Result<(), AgentError> {
    managed.set_problem(&format!("replica-{machine}"), None);
    let forget = move |ledger: &mut Ledger| {
        // Nothing is there any more that could become the replica.
        ledger.station_mut(machine).turning = None;
        (ledger.set_place(machine, None), true)
    };
    managed.change(forget).await
}
