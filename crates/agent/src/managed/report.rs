//! Makes the report: everything that the vault is to see, whole, as of now. This module must
//! never change anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use farshore_control::{
    HostReport, Inventory,
    report::{PointAge, Problem, ReplicaPhase, ReplicaState, SourceState, Unclaimed},
};
use farshore_replica::{Phase, PointInfo, Replica};
use farshore_types::{Consistency, Epoch, MachineId};
use tokio::time::Instant;

use super::{
    Managed,
    age::{Aged, millis},
    inventory, life, locked, now,
};
use crate::{Agent, OpenReplica, commands};

/// What is looked at less often than reports are made, and what is followed between them.
#[derive(Default)]
pub(super) struct Seen {
    inventory: Option<(Instant, String, Inventory)>,
    certificate_until_ms: u64,
    ages: BTreeMap<MachineId, [Aged; 3]>,
}

/// How much sooner than usual the host is looked at where something happened.
pub(super) const LOOK_SOONER: u32 = 15;
/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes one.
pub(super) async fn make(agent: &Arc<Agent>, managed: &Arc<Managed>, sequence: u64) -> HostReport {
    // Before anything is looked at: what comes later makes the next one urgent.
    let urgent = managed.news.is_urgent.swap(false, Ordering::Relaxed);
    let mut problems = managed.problems();
    let (digest, inventory) = host(agent, managed, &mut problems).await;
    let (told, wants_documents, transit) = {
        let contact = locked(&managed.contact);
        (contact.told_inventory.clone(), contact.wants_documents, contact.transit)
    };
    let sources = sources(agent, managed);
    let replicas = replicas(agent, managed).await;
    let standings = life::standings(agent, managed).await;
    let unclaimed = unclaimed(agent, managed, &sources, &replicas);
    let (space, outcomes) = (inventory::space(agent), managed.outcomes());
    let certificate_until_ms = managed.seen().certificate_until_ms;
    // Taken last, and with nothing asked of others while it is held.
    let ledger = managed.ledger();
    HostReport {
        host: managed.me,
        run: managed.run,
        sequence,
        urgent,
        agent_version: VERSION.to_owned(),
        clock_ms: agent.clock.wall_ms(),
        transit_ms: millis(transit),
        certificate_until_ms,
        inventory: inventory.filter(|_| told.as_ref() != Some(&digest)),
        inventory_digest: digest,
        space,
        sources,
        replicas,
        lineages: ledger.lineages().cloned().collect(),
        standings,
        holds: ledger.holder().versions(),
        documents: if wants_documents { ledger.holder().documents().cloned().collect() } else { Vec::new() },
        unclaimed,
        outcomes,
        problems,
    }
}

/// The inventory, not older than the timing says; the last one where nobody answers now.
async fn host(
    agent: &Arc<Agent>,
    managed: &Managed,
    problems: &mut Vec<Problem>,
) -> (String, Option<Inventory>) {
    let held = managed.seen().inventory.clone();
    let age = held.as_ref().map_or(Duration::MAX, |(at, ..)| at.elapsed());
    // A machine that is started for every cycle tells of it every time.
    let soon = age >= managed.timing.look / LOOK_SOONER;
    if age >= managed.timing.look || (soon && managed.take_host_changed()) {
        match inventory::look(agent).await {
            Ok(found) => {
                let digest = inventory::digest(&found);
                let mut seen = managed.seen();
                seen.inventory = Some((Instant::now(), digest.clone(), found.clone()));
                seen.certificate_until_ms = certificate_until(agent);
                return (digest, Some(found));
            }
            Err(error) => {
                let fault = error.fault();
                let code = "hypervisor-silent".to_owned();
                problems.push(Problem { code, what: fault.what, advice: fault.advice });
            }
        }
    }
    held.map_or((String::new(), None), |(_, digest, inventory)| (digest, Some(inventory)))
}

/// Until when this host's certificate is valid; 0 where there is none.
pub(crate) fn certificate_until(agent: &Agent) -> u64 {
    let identity = agent.identity();
    let until = identity.ok().map(|identity| identity.valid_until());
    let since = until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, millis)
}

fn sources(agent: &Agent, managed: &Managed) -> Vec<SourceState> {
    let now = now(agent);
    locked(&managed.rooms).values().map(|room| room.state(now)).collect()
}

async fn replicas(agent: &Arc<Agent>, managed: &Managed) -> Vec<ReplicaState> {
    let mut states = Vec::new();
    for machine in agent.replicas().machines().unwrap_or_default() {
        let state = match agent.replicas().get_or_create(machine).await {
            Ok(replica) => replica_state(agent, managed, &replica).await,
            Err(error) => unusable(managed, machine, error.fault().what),
        };
        states.push(state);
    }
    states
}

async fn replica_state(agent: &Arc<Agent>, managed: &Managed, replica: &Arc<OpenReplica>) -> ReplicaState {
    let machine = replica.machine();
    let (wall, scrub) = (agent.clock.wall_ms(), replica.scrub().clone());
    let look = move |store: &mut Replica| {
        let points = store.points();
        let frozen = |point: &&PointInfo| point.consistency == Consistency::Application;
        let application = points.iter().rev().find(frozen).cloned();
        let ends = (points.last().cloned(), points.first().cloned(), application);
        let line = commands::replica_line(store, wall, &scrub);
        let own_writes = commands::own_writes(&points);
        (line, store.phase(), store.epoch(), ends, store.newest_age_ms(), own_writes)
    };
    let (line, phase, held, (newest, oldest, application), least, own_writes) = replica.run(look).await;
    let known = managed.ledger().lineage(machine).map(|lineage| lineage.epoch);
    let consistency = newest.as_ref().map(|point| point.consistency);
    let mut seen = managed.seen();
    let [new, old, app] = seen.ages.entry(machine).or_default();
    let now = now(agent);
    ReplicaState {
        machine,
        name: line.machine,
        epoch: higher(held, known),
        phase: match phase {
            Phase::Receiving => ReplicaPhase::Receiving,
            Phase::BringingUp { point } | Phase::BroughtUp { point } => ReplicaPhase::BroughtUp { point },
        },
        newest: newest.map(|point| aged(new, &point, least, now)),
        newest_application: application.map(|point| aged(app, &point, 0, now)),
        oldest: oldest.map(|point| aged(old, &point, 0, now)),
        consistency,
        points: u64::try_from(line.points).unwrap_or(u64::MAX),
        stored: line.stored,
        faults: line.faults,
        own_writes,
    }
}

fn aged(aged: &mut Aged, point: &PointInfo, least_ms: u64, now: (u64, Duration)) -> PointAge {
    aged.of_other(point.id, point.captured_ms, least_ms, now)
}

fn higher(held: Epoch, known: Option<Epoch>) -> Epoch {
    known.filter(|known| known.number > held.number).unwrap_or(held)
}

fn unusable(managed: &Managed, machine: MachineId, why: String) -> ReplicaState {
    let ledger = managed.ledger();
    ReplicaState {
        machine,
        name: ledger.protection(machine).map(|p| p.name.clone()).unwrap_or_default(),
        epoch: ledger.lineage(machine).map_or(Epoch { number: 0, token: 0 }, |lineage| lineage.epoch),
        phase: ReplicaPhase::Unusable,
        newest: None,
        consistency: None,
        newest_application: None,
        oldest: None,
        points: 0,
        stored: 0,
        faults: vec![why],
        own_writes: Vec::new(),
    }
}

/// What goes on here and no document names (rule R5).
fn unclaimed(
    agent: &Agent,
    managed: &Managed,
    sources: &[SourceState],
    replicas: &[ReplicaState],
) -> Vec<Unclaimed> {
    let claimed: BTreeSet<MachineId> = managed.ledger().protections().map(|p| p.machine).collect();
    let kept =
        replicas.iter().filter(|replica| !claimed.contains(&replica.machine)).map(|replica| Unclaimed {
            machine: replica.machine,
            name: replica.name.clone(),
            role: "replica".to_owned(),
            epoch: replica.epoch,
        });
    let ours: BTreeSet<MachineId> = sources.iter().map(|source| source.machine).collect();
    let lines = agent.sources().lines(agent.clock.wall_ms());
    let sent = lines.into_iter().filter_map(|line| {
        let machine = line.id.filter(|id| !ours.contains(id) && !claimed.contains(id))?;
        let epoch = crate::source::Owner::held(agent, machine)?;
        Some(Unclaimed { machine, name: line.machine, role: "source".to_owned(), epoch })
    });
    kept.chain(sent).collect()
}
