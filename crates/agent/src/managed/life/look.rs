//! What is so here about one machine, as it is decided by. This module must never change
//! anything.

use farshore_capture::{Left, left_at, was_started_for_a_cycle};
use farshore_control::{Protection, ownership::Lineage};
use farshore_hypervisor::{Kind, Machine, PowerState};
use farshore_protection::{Want, Wanted, fence::Here};
use farshore_types::MachineId;

use super::{super::Managed, station::Station};
use crate::{Agent, AgentError, replicas::blocking, source};

/// Everything about one machine, at one look.
pub(super) struct Seen {
    pub(super) protection: Protection,
    pub(super) wanted: Wanted,
    /// What this host is to do.
    pub(super) mine: Want,
    pub(super) lineage: Lineage,
    pub(super) station: Station,
    /// As the hypervisor knows it; none: it does not.
    pub(super) there: Option<Machine>,
    pub(super) here: Here,
}

impl Managed {
    /// Looks at a machine of which a document tells a life; none: none does.
    pub(super) async fn look_at(
        &self,
        agent: &Agent,
        machine: MachineId,
    ) -> Result<Option<Seen>, AgentError> {
        let Some((protection, lineage, station)) = self.held(machine) else { return Ok(None) };
        let Some(life) = &protection.life else { return Ok(None) };
        let wanted = life.wanted();
        let mine = wanted.of(self.host());
        let there = match agent.hypervisor().await?.machine(machine).await {
            Err(error) if error.kind == Kind::NoSuchMachine => None,
            found => Some(found?),
        };
        let coming = station.coming_up_by(&lineage).is_some();
        let runs = runs(agent, there.as_ref(), coming).await?;
        let left = match (&there, mine) {
            (Some(there), Want::HandOver { .. }) => left(agent, there).await?,
            _ => None,
        };
        let boot = agent.boot().to_owned();
        let here = Here {
            runs,
            cut_off: runs && lineage.owner == self.host() && station.is_cut_off(&lineage, &wanted),
            booted: !runs && station.boots.is_unsure(&boot),
            ran: !runs && station.boots.ran_before(&boot),
            asked: self.may_heed(agent, &lineage, &station),
            fresh: self.is_fresh(),
            complete: left.is_some(),
            brought_up: station.brought_up_by(&lineage),
            seal: station.arrived,
            fence: agent.config().fence,
        };
        Ok(Some(Seen { protection, wanted, mine, lineage, station, there, here }))
    }

    pub(super) fn held(&self, machine: MachineId) -> Option<(Protection, Lineage, Station)> {
        let ledger = self.ledger();
        let protection = ledger.protection(machine)?.clone();
        let lineage = ledger.lineage(machine)?.clone();
        Some((protection, lineage, ledger.station(machine)))
    }
}

/// Whether the machine runs, and does not only stand paused for a cycle of ours, or, where it is
/// `coming` up, before its users get it.
pub(super) async fn runs(agent: &Agent, there: Option<&Machine>, coming: bool) -> Result<bool, AgentError> {
    let Some(there) = there.filter(|there| !there.power.is_off()) else { return Ok(false) };
    let for_a_cycle = || was_started_for_a_cycle(&*agent.files, &source::dir_of(agent, there.id));
    if !matches!(there.power, PowerState::Paused { .. }) || !(coming || for_a_cycle()) {
        return Ok(true);
    }
    Ok(agent.hypervisor().await?.has_run(there.id).await?)
}

/// The point that the machine's disks are, if the other host is known to have it. Of one whose memory
/// is saved they are not all that is left.
pub(super) async fn left(agent: &Agent, there: &Machine) -> Result<Option<Left>, AgentError> {
    if there.saved {
        return Ok(None);
    }
    let (files, state, machine) = (agent.files.clone(), source::dir_of(agent, there.id), there.clone());
    Ok(blocking(move || left_at(&files, &state, &machine)).await?)
}

/// Why the disks of a machine whose memory is saved are not made use of, and what to do.
pub(super) fn saved(also: &str) -> AgentError {
    AgentError::Request {
        what: "the machine's memory is saved in a file of this host, without which its disks are as after a \
               power cut"
            .to_owned(),
        advice: format!("give that state up (`virsh managedsave-remove`){also}"),
    }
}
