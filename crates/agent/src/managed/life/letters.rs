//! What two agents tell and ask each other of a machine (rules R3 and R8): a seal, the refusal
//! of one, and whether the other has taken over. What is answered is durable. This module must
//! never start or stop anything.

use std::sync::Arc;

use bytes::Bytes;
use farshore_control::{
    Protection,
    ownership::{Heard, Lineage, Seal, Witness},
};
use farshore_link::{Caller, LinkError, ask};
use farshore_protection::fence;
use farshore_types::{Epoch, HostId, MachineId};
use farshore_wire::{Refusal, RefusalCode};
use serde::{Deserialize, Serialize};

use super::super::{Managed, ledger::Ledger, unproved};
use crate::{Agent, AgentError, config::Target, source};

/// A letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Letter {
    /// The machine is sealed for you. It may be said again.
    Sealed(Seal),
    /// Do you refuse the seal of this epoch for good?
    Refused(MachineId, Epoch),
    /// Which is the highest epoch that you know? The text is a number that only this question
    /// has, in hexadecimal digits.
    Witness(MachineId, String),
    /// Its host was to start the machine when it boots. It may be said again.
    Autostart(MachineId),
    /// A person has brought the machine up here without the vault, by this epoch.
    Took(MachineId, Epoch),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    /// What was told is kept, durably.
    Kept,
    /// The seal of the epoch is refused for good.
    Refuses(Epoch),
    /// It is not, or not yet; this is known instead.
    Knows(Epoch, HostId),
    /// The highest epoch that is known, to the question of that number.
    Highest(String, Epoch),
}

/// What became of a seal that somebody wants back.
pub(super) enum Refuses {
    /// It is refused for good.
    Yes,
    /// Not yet; or it was accepted, and the other host owns the machine by this epoch.
    No(Epoch, HostId),
}

impl Managed {
    /// Tells the other host of a seal; when this returns, it has it durably.
    pub(super) async fn tell_sealed(&self, agent: &Agent, seal: Seal) -> Result<(), AgentError> {
        match self.write(agent, seal.machine, &Letter::Sealed(seal)).await? {
            Told::Kept => Ok(()),
            other => Err(strange(&other)),
        }
    }

    /// Tells the other host that its host is to start the machine when it boots, once that is for
    /// people to say again.
    pub(super) async fn tell_autostart(&self, agent: &Agent, machine: MachineId) -> Result<(), AgentError> {
        match self.write(agent, machine, &Letter::Autostart(machine)).await? {
            Told::Kept => Ok(()),
            other => Err(strange(&other)),
        }
    }

    /// Asks the other host whether it refuses a seal of this host's.
    pub(super) async fn ask_refusal(
        &self,
        agent: &Agent,
        machine: MachineId,
        next: Epoch,
    ) -> Result<Refuses, AgentError> {
        match self.write(agent, machine, &Letter::Refused(machine, next)).await? {
            Told::Refuses(epoch) if epoch == next => Ok(Refuses::Yes),
            Told::Knows(epoch, owner) => Ok(Refuses::No(epoch, owner)),
            other => Err(strange(&other)),
        }
    }

    /// Asks the other host whether it has taken over.
    pub(super) async fn ask_witness(
        &self,
        agent: &Agent,
        machine: MachineId,
        nonce: u128,
    ) -> Result<Witness, AgentError> {
        match self.write(agent, machine, &Letter::Witness(machine, format!("{nonce:032x}"))).await? {
            Told::Highest(to, epoch) => {
                let nonce = u128::from_str_radix(&to, 16).unwrap_or(0);
                Ok(Witness { nonce, epoch })
            }
            other => Err(strange(&other)),
        }
    }

    /// Tells the other host that this one has taken the machine; when this returns, it has that
    /// durably, and starts it no more.
    pub(super) async fn tell_taken(
        &self,
        agent: &Agent,
        machine: MachineId,
        epoch: Epoch,
    ) -> Result<(), AgentError> {
        match self.write(agent, machine, &Letter::Took(machine, epoch)).await? {
            Told::Kept => Ok(()),
            other => Err(strange(&other)),
        }
    }

    async fn write(&self, agent: &Agent, machine: MachineId, letter: &Letter) -> Result<Told, AgentError> {
        let (target, wire) = {
            let ledger = self.ledger();
            let Some(protection) = ledger.protection(machine) else {
                return Err(AgentError::Request {
                    what: "no document says which host is the machine's other one".to_owned(),
                    advice: "the vault's document is awaited".to_owned(),
                });
            };
            let end = other_end(protection, self.host());
            let target = Target { address: end.address.clone(), server_name: end.name.clone() };
            (target, protection.settings.wire)
        };
        let dial = source::dial(agent, &target, Some(wire))?;
        let text = serde_json::to_vec(letter).map_err(|e| garbled(&e))?;
        let answer = ask(&*dial, text).await.map_err(|error| refused(error, &target))?;
        serde_json::from_slice(&answer).map_err(|e| garbled(&e))
    }

    /// Answers a letter of another host.
    pub(crate) async fn answer(self: &Arc<Self>, peer: &Caller, letter: Bytes) -> Result<Bytes, Refusal> {
        let letter: Letter = serde_json::from_slice(&letter).map_err(|error| {
            let why = format!("the letter cannot be read: {error}");
            Refusal::new(RefusalCode::Other, why, "both agents must be of versions that know each other")
        })?;
        let machine = match &letter {
            Letter::Sealed(seal) => seal.machine,
            Letter::Refused(machine, _)
            | Letter::Witness(machine, _)
            | Letter::Autostart(machine)
            | Letter::Took(machine, _) => *machine,
        };
        let (lineage, from) = self.judge_writer(peer, machine)?;
        let told = match letter {
            Letter::Sealed(seal) => self.keep_seal(&lineage, from, seal).await?,
            Letter::Autostart(_) => self.keep_autostart(machine, from).await?,
            Letter::Refused(_, next) if lineage.refused.contains(&next) => Told::Refuses(next),
            Letter::Refused(..) => Told::Knows(lineage.epoch, lineage.owner),
            Letter::Took(_, epoch) => self.keep_taken(machine, epoch, from).await?,
            Letter::Witness(_, nonce) => {
                let number = u128::from_str_radix(&nonce, 16).unwrap_or(0);
                Told::Highest(nonce, fence::witness(&lineage, number).epoch)
            }
        };
        serde_json::to_vec(&told)
            .map(Bytes::from)
            .map_err(|error| Refusal::new(RefusalCode::Other, error.to_string(), "report this as a fault"))
    }

    /// Only the machine's other host is answered, by the proof that its policy wants.
    fn judge_writer(&self, peer: &Caller, machine: MachineId) -> Result<(Lineage, HostId), Refusal> {
        let no = |why: String| {
            Refusal::new(RefusalCode::NotAuthorised, why, "the vault says which hosts a machine has")
        };
        let ledger = self.ledger();
        let Some(protection) = ledger.protection(machine) else {
            return Err(no(format!("no document of the vault names machine {machine}")));
        };
        let other = other_end(protection, self.host());
        if other.name != peer.name {
            return Err(no(format!("the machine's other host is '{}', not '{peer}'", other.name)));
        }
        if let Some(refusal) = unproved(protection.settings.wire, peer) {
            return Err(refusal);
        }
        let lineage = ledger.lineage(machine).cloned();
        let lineage = lineage.ok_or_else(|| no(format!("nothing is known of machine {machine}")))?;
        Ok((lineage, other.host))
    }

    async fn keep_taken(
        self: &Arc<Self>,
        machine: MachineId,
        epoch: Epoch,
        from: HostId,
    ) -> Result<Told, Refusal> {
        let keep = move |ledger: &mut Ledger| {
            let heard = ledger.hear(machine, &epoch, from);
            let held = ledger.lineage(machine).map(|held| (held.epoch, held.owner, held.conflict));
            (held, matches!(heard, Heard::Superseded | Heard::Conflict))
        };
        Ok(match self.keep(keep).await? {
            Some((held, owner, None)) if (held, owner) == (epoch, from) => Told::Kept,
            Some((held, owner, _)) => Told::Knows(held, owner),
            None => Told::Knows(epoch, from),
        })
    }

    async fn keep_seal(
        self: &Arc<Self>,
        lineage: &Lineage,
        from: HostId,
        seal: Seal,
    ) -> Result<Told, Refusal> {
        let theirs = lineage.epoch == seal.epoch && lineage.owner == from;
        let known = lineage.epoch.number >= seal.next.number;
        if !theirs && !known {
            let why =
                format!("the seal is of epoch {}, epoch {} is held", seal.epoch.number, lineage.epoch.number);
            return Err(Refusal::new(
                RefusalCode::OlderEpoch,
                why,
                "it is sent again when both know the same",
            ));
        }
        let keep = move |ledger: &mut Ledger| {
            let station = ledger.station_mut(seal.machine);
            let new = station.arrived != Some(seal);
            station.arrived = Some(seal);
            ((), new && !known)
        };
        self.keep(keep).await?;
        Ok(Told::Kept)
    }

    async fn keep_autostart(self: &Arc<Self>, machine: MachineId, from: HostId) -> Result<Told, Refusal> {
        let keep = move |ledger: &mut Ledger| {
            let station = ledger.station_mut(machine);
            let new = (station.autostart, station.autostart_told) != (Some(true), Some(from));
            (station.autostart, station.autostart_told) = (Some(true), Some(from));
            ((), new)
        };
        self.keep(keep).await?;
        Ok(Told::Kept)
    }

    /// Keeps what was told durably, and gives back what the change gives.
    async fn keep<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Ledger) -> (T, bool) + Send + 'static,
    ) -> Result<T, Refusal> {
        let kept = self.change(change).await;
        kept.map_err(|error| Refusal::new(RefusalCode::Other, error.fault().what, "it is tried again"))
    }
}

/// The end of a protection that is not this host.
pub(super) fn other_end(protection: &Protection, me: HostId) -> &farshore_control::Endpoint {
    if protection.source.host == me { &protection.target } else { &protection.source }
}

fn strange(told: &Told) -> AgentError {
    AgentError::Request {
        what: format!("the other host's agent answers something else than was asked: {told:?}"),
        advice: "both agents must be of versions that know each other".to_owned(),
    }
}

fn garbled(error: &serde_json::Error) -> AgentError {
    AgentError::Request {
        what: format!("the other host's answer cannot be read: {error}"),
        advice: "both agents must be of versions that know each other".to_owned(),
    }
}

fn refused(error: LinkError, target: &Target) -> AgentError {
    match error {
        LinkError::Refused { refusal, .. } => AgentError::Request {
            what: format!("host '{}' does not answer: {}", target.server_name, refusal.message),
            advice: refusal.advice,
        },
        error => error.into(),
    }
}
