//! What is done about a machine beside its course: test failovers, looks whether it could start,
//! addresses, and what a protection that is over has left here. Each call of it may hang for as
//! long as a network daemon does; so it is done by a task of its own, and this module must never do
//! anything that a failover waits for.

use std::sync::Arc;

use farshore_types::MachineId;
use tokio_util::sync::CancellationToken;

use super::{
    super::Managed, Side, addresses, autostart, begin, drill, look::Seen, startable, station::Station,
};
use crate::{Agent, AgentError};

/// Begins to do it, by what was seen last, unless somebody does.
pub(super) fn settle(agent: &Arc<Agent>, managed: &Arc<Managed>, stop: &CancellationToken, seen: Seen) {
    let agent = Arc::clone(agent);
    let of = (seen.protection.machine, Side::Beside);
    begin(managed, stop, of, async move |managed: Arc<Managed>| {
        drill::settle(&agent, &managed, &seen).await;
        startable::settle(&agent, &managed, &seen).await;
        addresses::settle(&agent, &managed, &seen).await;
        if let Err(error) = autostart::tell(&agent, &managed, &seen).await {
            tracing::debug!(machine = %of.0, error = error.fault().what, "its autostart is told later");
        }
    });
}

/// Where the machine's course is hindered: begins to remove a test failover that nobody wants any
/// more, which may have the memory or the device that it lacks.
pub(super) fn make_room(agent: &Arc<Agent>, managed: &Arc<Managed>, stop: &CancellationToken, seen: Seen) {
    if seen.station.drill.is_none() || !drill::removes(seen.wanted.drill.as_ref()) {
        return;
    }
    let agent = Arc::clone(agent);
    begin(managed, stop, (seen.protection.machine, Side::Beside), async move |managed: Arc<Managed>| {
        drill::settle(&agent, &managed, &seen).await;
    });
}

/// Whether anything is left here that goes with a machine's protection.
pub(super) fn has_left(station: &Station) -> bool {
    station.autostart.is_some() || station.drill.is_some() || !station.addresses.is_empty()
}

/// Ends what a protection that is over has left here; what cannot be ended now is, later.
pub(super) async fn end(agent: &Arc<Agent>, managed: &Arc<Managed>, machine: MachineId) {
    let station = managed.ledger().station(machine);
    // It may be protected anew since.
    if !managed.ledger().is_removed(machine) {
        return;
    }
    let later = |error: &AgentError| {
        let fault = error.fault();
        tracing::warn!(%machine, error = fault.what, advice = fault.advice, "left of its protection: ended later");
        Some((fault.what, fault.advice))
    };
    let ended = autostart::give_back(agent, managed, &station).await;
    let ended = ended.and(drill::end(agent, managed, &station).await);
    let ended = ended.and(addresses::end(agent, managed, machine, station.addresses.clone()).await);
    managed.set_problem(&format!("left-{machine}"), ended.err().as_ref().and_then(later));
}
