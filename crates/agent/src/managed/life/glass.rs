//! Break-glass under a vault: a person brings a machine up here while nobody above says so. The
//! other host is asked first, and told before anything starts; the epoch is durable before both.
//! This module must never start anything.

use std::sync::Arc;

use farshore_control::{Protection, ownership::Heard};
use farshore_protection::{
    BroughtUp, Reason,
    fence::{self, Probe},
};
use farshore_types::{Epoch, MachineId, PointId};
use uuid::Uuid;

use super::{
    super::{Managed, ledger::Ledger},
    letters::other_end,
};
use crate::{
    Agent, AgentError,
    control::{Event, Observer},
    probe::{self, Answer},
};

/// What a person wants brought up.
pub(crate) struct ByHand {
    pub(crate) machine: MachineId,
    pub(crate) name: String,
    pub(crate) point: PointId,
    /// Whether the disks show that point already, as the machine has left them.
    pub(crate) stands: bool,
    /// The epoch that the replica's own store holds.
    pub(crate) stored: Epoch,
    pub(crate) force: bool,
}

impl Managed {
    /// Makes the machine this host's by a person's word, durably, and by the other host's where
    /// it answers. The epoch by which it may be started then; none: no vault names the machine.
    ///
    /// # Errors
    /// Where it runs or may run there, was sealed here, or is contested, and nobody forces it.
    pub(crate) async fn take_by_hand(
        self: &Arc<Self>,
        agent: &Agent,
        asked: &ByHand,
        observer: &Observer,
    ) -> Result<Option<Epoch>, AgentError> {
        let machine = asked.machine;
        let Some((protection, lineage, station)) = self.held(machine) else { return Ok(None) };
        // It ran here last, by an epoch that nobody has superseded as far as is known here.
        let ours = lineage.owner == self.host()
            && lineage.seal.is_none()
            && lineage.conflict.is_none()
            && station.brought_up_by(&lineage).is_some()
            && station.taking != Some(lineage.epoch)
            && !station.boots.is_unsure(&agent.boot().to_owned());
        if ours && asked.stands {
            return Ok(Some(lineage.epoch));
        }
        let (probe, said) = probe(agent, &protection, self, asked).await;
        let answers = probe != Probe::Silent;
        let highest = match answers {
            true => self.ask_witness(agent, machine, Uuid::new_v4().as_u128()).await.ok(),
            false => None,
        };
        let issued = protection.life.as_ref().map(|life| life.issued);
        let heard = [station.arrived.map(|seal| seal.next), highest.map(|witness| witness.epoch), issued];
        let heard: Vec<Epoch> = heard.into_iter().flatten().chain([asked.stored]).collect();
        let counts = if ours && !answers { Probe::DoesNot } else { probe };
        let issued = fence::break_glass(&lineage, &heard, counts, asked.force, Uuid::new_v4().as_u128())
            .map_err(|reason| refused(asked, &reason, said))?;
        // A try that was cut goes on by the epoch that it has issued.
        let cut =
            station.taking.filter(|taking| *taking == lineage.epoch && issued.number == taking.number + 1);
        let epoch = cut.unwrap_or(issued);
        let order = protection.life.as_ref().map_or(0, |life| life.ups);
        self.take(machine, BroughtUp { epoch, order, at: Some(asked.point) }).await?;
        if answers && let Err(error) = self.tell_other(agent, &protection, asked, epoch).await {
            if !asked.force {
                return Err(error);
            }
            observer.tell(Event::Note(error.fault().what));
        }
        tracing::warn!(%machine, epoch = epoch.number, force = asked.force, "taken by a person here");
        let told = move |ledger: &mut Ledger| {
            ledger.station_mut(machine).taking = None;
            ((), true)
        };
        self.change(told).await?;
        Ok(Some(epoch))
    }

    /// Durable before anybody is told. What a person stops later is not started again, and orders
    /// that were given before are carried out by this.
    async fn take(self: &Arc<Self>, machine: MachineId, up: BroughtUp) -> Result<(), AgentError> {
        let me = self.host();
        let take = move |ledger: &mut Ledger| {
            let heard = ledger.hear(machine, &up.epoch, me);
            let taken = matches!(heard, Heard::Superseded | Heard::Known);
            if taken {
                ledger.know(machine);
                let station = ledger.station_mut(machine);
                (station.brought_up, station.coming_up, station.turning) = (Some(up), None, None);
                (station.taking, station.fenced) = (Some(up.epoch), None);
            }
            (taken, taken || heard == Heard::Conflict)
        };
        match self.change(take).await? {
            true => Ok(()),
            false => Err(AgentError::Request {
                what: "the machine has got another owner at this instant".to_owned(),
                advice: "look at it again, then repeat it".to_owned(),
            }),
        }
    }

    /// The other host has it durably that it owns the machine no more, and has not begun to start
    /// it before that.
    async fn tell_other(
        &self,
        agent: &Agent,
        protection: &Protection,
        asked: &ByHand,
        epoch: Epoch,
    ) -> Result<(), AgentError> {
        let may_run = |why: String| Err(AgentError::MayRunElsewhere { machine: asked.name.clone(), why });
        if let Err(error) = self.tell_taken(agent, asked.machine, epoch).await {
            let why = error.fault().what;
            return may_run(format!("its host was not told that it is brought up here: {why}"));
        }
        match probe(agent, protection, self, asked).await {
            (Probe::DoesNot, _) => Ok(()),
            (_, said) => may_run(said),
        }
    }
}

async fn probe(agent: &Agent, protection: &Protection, managed: &Managed, asked: &ByHand) -> (Probe, String) {
    let end = other_end(protection, managed.host());
    match probe::ask(agent, asked.machine, &asked.name, &end.name, &end.address).await {
        Answer::DoesNot => (Probe::DoesNot, String::new()),
        Answer::Runs(what) => (Probe::Runs, format!("its host says that {what}")),
        Answer::Silent(why) => (Probe::Silent, format!("its host '{}' does not say: {why}", end.name)),
    }
}

fn refused(asked: &ByHand, reason: &Reason, said: String) -> AgentError {
    match said.is_empty() {
        false => AgentError::MayRunElsewhere { machine: asked.name.clone(), why: said },
        true => AgentError::Request {
            what: reason.what.clone(),
            advice: format!(
                "{}; repeat with --force only if you know that it runs nowhere else",
                reason.advice
            ),
        },
    }
}
