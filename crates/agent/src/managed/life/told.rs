//! What is reported of machines that have a life. This module must never change anything.

use std::sync::Arc;

use farshore_control::{Standing, standing::Flattening};
use farshore_types::MachineId;

use super::{
    super::{Managed, locked},
    drill, flatten as flattens, look,
};
use crate::Agent;

/// How this host stands with each machine that a document gives a life.
pub(in super::super) async fn standings(agent: &Arc<Agent>, managed: &Managed) -> Vec<Standing> {
    let machines: Vec<MachineId> = {
        let ledger = managed.ledger();
        ledger.protections().filter(|p| p.life.is_some()).map(|p| p.machine).collect()
    };
    let mut standings = Vec::new();
    for machine in machines {
        standings.push(standing(agent, managed, machine).await);
    }
    standings
}

async fn standing(agent: &Agent, managed: &Managed, machine: MachineId) -> Standing {
    // The document before what is looked at: what it says counts for no later one.
    let (document, station, lineage, cut_off, drill, flatten) = {
        let ledger = managed.ledger();
        let life = ledger.protection(machine).and_then(|protection| protection.life.as_ref());
        let wanted = life.map(farshore_protection::Life::wanted);
        let (lineage, station) = (ledger.lineage(machine).cloned(), ledger.station(machine));
        let cut_off = lineage.as_ref().zip(wanted.as_ref()).is_some_and(|(lineage, wanted)| {
            lineage.owner == managed.host() && station.is_cut_off(lineage, wanted)
        });
        let flatten = wanted.as_ref().is_some_and(|w| w.flatten && w.owner == managed.host());
        let drill = wanted.and_then(|wanted| wanted.drill.filter(|_| wanted.other == managed.host()));
        (ledger.version_of(machine), station, lineage, cut_off, drill, flatten)
    };
    let failed = locked(&managed.acting).drills.get(&machine).cloned();
    let of_now =
        |(removes, problem): (bool, _)| (removes == drill::removes(drill.as_ref())).then_some(problem);
    let failed = failed.and_then(of_now);
    let drill = drill::standing(agent, drill.as_ref(), station.drill.as_ref(), failed).await;
    let coming = lineage.as_ref().is_some_and(|lineage| station.coming_up_by(lineage).is_some());
    let (runs, layered) = match agent.hypervisor().await {
        Ok(hypervisor) => match hypervisor.machine(machine).await {
            Ok(there) => {
                let layered = !flattens::layered(agent, &there).is_empty();
                (look::runs(agent, Some(&there), coming).await.ok(), Some(layered))
            }
            Err(error) if error.kind == farshore_hypervisor::Kind::NoSuchMachine => (Some(false), None),
            Err(_) => (None, None),
        },
        Err(_) => (None, None),
    };
    // What is cut off is not what its users are to get: it is started anew.
    let runs = runs.map(|runs| runs && !cut_off);
    let acting = locked(&managed.acting);
    let held = lineage.is_some_and(|lineage| station.fenced == Some(lineage.epoch));
    Standing {
        document,
        runs,
        fenced: held,
        brought_up: station.brought_up,
        doing: acting.doing.get(&machine).cloned(),
        cannot: acting.cannot.get(&machine).cloned(),
        adopted: station.turned,
        drill,
        flattening: flatten.then(|| acting.flattening.get(&machine).cloned().unwrap_or_else(nothing_done)),
        layered,
        addresses: acting.addressed.get(&machine).map(|last| last.told.clone()).unwrap_or_default(),
        could_start: acting.looked.get(&machine).map(|looked| looked.told.clone()),
        held_without_witness: acting.held.contains(&machine),
        ..Standing::of(machine)
    }
}

/// What is said before anybody has looked.
fn nothing_done() -> Flattening {
    Flattening { done: 0, total: 0, flat: false, failed: None }
}
