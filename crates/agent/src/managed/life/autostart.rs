//! Whether a host starts a protected machine when it boots: decided by its owner's lineage, and
//! never by the host alone. What its people had set is remembered, told to the other host, which may
//! own the machine one day without asking anybody, and given back at the end of the protection to
//! the one host that has the machine then. This module must never start anything.

use std::sync::Arc;

use farshore_control::{Body, Key, ownership::Occasion};
use farshore_hypervisor::Kind;
use farshore_types::MachineId;

use super::{
    super::{Managed, ledger::Ledger},
    letters::other_end,
    look::Seen,
    station::Station,
};
use crate::{Agent, AgentError};

/// Takes it from the host, and remembers that it was set.
pub(super) async fn own(agent: &Agent, managed: &Arc<Managed>, seen: &Seen) -> Result<(), AgentError> {
    let set = seen.there.as_ref().is_some_and(|there| there.autostart);
    let given = seen.station.autostart_given;
    // It was given back by the end of an earlier protection: what is set since then counts.
    if !set && !given {
        return Ok(());
    }
    let machine = seen.protection.machine;
    let note = move |ledger: &mut Ledger| {
        let station = ledger.station_mut(machine);
        station.autostart = (set || !given).then_some(true);
        station.autostart_given = false;
        ((), true)
    };
    managed.change(note).await?;
    match set {
        true => Ok(agent.hypervisor().await?.set_autostart(machine, false).await?),
        false => Ok(()),
    }
}

/// Tells the other host, as long as this one can: where that one owns the machine at the end, it
/// starts it when it boots.
pub(super) async fn tell(agent: &Agent, managed: &Arc<Managed>, seen: &Seen) -> Result<(), AgentError> {
    let other = other_end(&seen.protection, managed.host()).host;
    let station = &seen.station;
    let known = station.autostart_told == Some(other);
    if known || station.autostart != Some(true) || seen.lineage.owner != managed.host() {
        return Ok(());
    }
    let machine = seen.protection.machine;
    managed.tell_autostart(agent, machine).await?;
    let note = move |ledger: &mut Ledger| {
        ledger.station_mut(machine).autostart_told = Some(other);
        ((), true)
    };
    managed.change(note).await
}

/// Whether this host, and no other, has a machine whose protection is over; none: nobody knows for
/// certain which does.
fn is_ours(ledger: &Ledger, machine: MachineId) -> Option<bool> {
    let Body::Removed { owner, .. } = &ledger.holder().get(&Key::Protection(machine))?.body else {
        return None;
    };
    let lineage = ledger.lineage(machine).filter(|_| owner.is_some())?;
    if lineage.owner != ledger.me() && lineage.conflict.is_none() {
        return Some(false);
    }
    lineage.may_start(ledger.me(), Occasion::Ordered).is_ok().then_some(true)
}

/// Whether a host starts a machine is its people's to say again once its protection is over: the
/// host that has it then does as was set before, and no other.
pub(super) async fn give_back(
    agent: &Agent,
    managed: &Arc<Managed>,
    station: &Station,
) -> Result<(), AgentError> {
    let machine = station.machine;
    if station.autostart != Some(true) {
        return Ok(());
    }
    let ours = is_ours(&managed.ledger(), machine);
    let problem = ours.is_none().then(|| {
        let what = format!(
            "machine {machine} started with its host before it was protected; which host has it now is not \
             certain, so that none does"
        );
        let advice = "find out where it is to run, and set it there: `virsh autostart`";
        (what, advice.to_owned())
    });
    managed.set_problem(&format!("autostart-{machine}"), problem);
    let give = ours == Some(true);
    if give == station.autostart_given {
        return Ok(());
    }
    match agent.hypervisor().await?.set_autostart(machine, give).await {
        Err(error) if error.kind != Kind::NoSuchMachine => return Err(error.into()),
        _ => tracing::info!(%machine, give, "whether it starts with this host is as it was set before"),
    }
    let note = move |ledger: &mut Ledger| {
        ledger.station_mut(machine).autostart_given = give;
        ((), true)
    };
    managed.change(note).await
}
