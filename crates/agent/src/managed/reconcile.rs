//! Makes what runs what is wanted, again and again, from the whole ledger. This module must
//! never know what has changed: it looks at everything, every time.

use std::{collections::BTreeMap, sync::Arc};

use farshore_control::report::Problem;
use farshore_types::MachineId;
use tokio_util::sync::CancellationToken;

use super::{
    Managed, life, locked,
    room::Room,
    target,
    wanted::{self, Role},
};
use crate::{Agent, kerberos, source};

/// Name of the file by which a first copy is known to have begun.
const SEEDED: &str = "record.json";

/// Reconciles until stopped; then sources end in good order.
pub(super) async fn reconcile(agent: &Arc<Agent>, managed: &Arc<Managed>, stop: &CancellationToken) {
    let mut tick = tokio::time::interval(managed.timing.look);
    loop {
        once(agent, managed, stop).await;
        tokio::select! {
            () = managed.wanted.notified() => {}
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
    }
    let rooms = std::mem::take(&mut *locked(&managed.rooms));
    close(rooms).await;
}

async fn once(agent: &Arc<Agent>, managed: &Arc<Managed>, stop: &CancellationToken) {
    agent.kerberos().assign(managed.principals());
    let kerberos = kerberos::check(agent).await.err().map(|error| error.fault());
    managed.set_problem("kerberos", kerberos.map(|fault| (fault.what, fault.advice)));
    if let Err(error) = target::settle(agent, managed).await {
        let fault = error.fault();
        tracing::error!(error = fault.what, "replicas cannot be seen to as the vault wants");
        managed.set_problem("replicas", Some((fault.what, fault.advice)));
    } else {
        managed.set_problem("replicas", None);
    }
    hear_owners(agent, managed).await;
    let over = settle_sources(agent, managed);
    close(over).await;
    life::settle(agent, managed, stop);
    raise_unprotected(agent, managed);
    managed.do_requests(agent, stop).await;
}

/// Disks that nobody has left out, and that no point has all the same, are a problem of the host:
/// whoever added one to a protected machine believes it protected.
fn raise_unprotected(agent: &Arc<Agent>, managed: &Managed) {
    let mut found = BTreeMap::new();
    for (name, state) in managed.source_states(agent) {
        let disks: Vec<&str> =
            state.notes.iter().map(String::as_str).filter(|note| note.contains(NOT_PROTECTED)).collect();
        if !disks.is_empty() {
            let what = format!("machine '{name}': {}", disks.join("; "));
            let advice = "make them disks that can be replicated, or leave them out by name".to_owned();
            let code = format!("{UNPROTECTED}{}", state.machine);
            found.insert(code.clone(), Problem { code, what, advice });
        }
    }
    let mut problems = locked(&managed.problems);
    let before: Vec<String> = problems.keys().filter(|code| code.starts_with(UNPROTECTED)).cloned().collect();
    let changed = before.len() != found.len() || before.iter().any(|code| !found.contains_key(code));
    problems.retain(|code, _| !code.starts_with(UNPROTECTED));
    problems.extend(found);
    drop(problems);
    if changed {
        managed.news.soon.notify_one();
    }
}

/// What notes on disks say of those that are in no point though they hold data.
const NOT_PROTECTED: &str = "NOT protected";
/// Begins the problem's code; the machine follows.
const UNPROTECTED: &str = "not-protected-";

/// What a person has raised on this host is known from then on (rule R2).
async fn hear_owners(agent: &Arc<Agent>, managed: &Arc<Managed>) {
    let me = managed.me;
    let machines: Vec<MachineId> = managed.ledger().protections().map(|p| p.machine).collect();
    for machine in machines {
        let Some(held) = source::Owner::held(agent, machine) else { continue };
        let known = managed.ledger().lineage(machine).map(|lineage| lineage.epoch);
        if known.is_none_or(|known| known.number < held.number) {
            let heard =
                managed.change(move |ledger| ((), ledger.hear(machine, &held, me) != HEARD_NOTHING)).await;
            if let Err(error) = heard {
                tracing::error!(%machine, error = error.fault().what, "an epoch cannot be kept");
            }
        }
    }
}

const HEARD_NOTHING: farshore_control::ownership::Heard = farshore_control::ownership::Heard::Known;

/// Opens rooms and tells them what is wanted; gives those that are over.
fn settle_sources(agent: &Arc<Agent>, managed: &Arc<Managed>) -> BTreeMap<MachineId, Room> {
    let roles = roles(agent, managed);
    let mut rooms = locked(&managed.rooms);
    for (machine, role) in &roles {
        match rooms.get(machine) {
            Some(room) => room.want(role.clone()),
            None => {
                let aged = locked(&managed.left).remove(machine).unwrap_or_default();
                let room = Room::open(agent, *machine, role.clone(), Arc::clone(&managed.news), aged);
                rooms.insert(*machine, room);
            }
        }
    }
    // Only a document ends a source: another owner is named, or the protection is removed.
    let over: BTreeMap<_, _> = rooms.extract_if(.., |machine, _| !roles.contains_key(machine)).collect();
    // The wall clock may be set before they are opened again.
    locked(&managed.left).extend(over.iter().map(|(machine, room)| (*machine, room.aged())));
    over
}

fn roles(agent: &Agent, managed: &Managed) -> BTreeMap<MachineId, Role> {
    let (ledger, now) = (managed.ledger(), agent.clock.wall_ms());
    let role = |protection: &farshore_control::Protection| {
        let machine = protection.machine;
        let seeded = source::dir_of(agent, machine).join(SEEDED).exists();
        let role = wanted::source(&ledger, protection, now, seeded)?;
        Some((machine, life::held_back(&ledger, protection).unwrap_or(role)))
    };
    ledger.protections().filter_map(role).collect()
}

async fn close(rooms: BTreeMap<MachineId, Room>) {
    let closing: Vec<_> = rooms.into_values().map(|room| tokio::spawn(room.close())).collect();
    for closed in closing {
        if let Err(error) = closed.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
