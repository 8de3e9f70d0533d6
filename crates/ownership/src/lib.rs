//! Who may run a machine and write its replica: what one host durably holds of a machine's
//! lineage, and every way in which that may change. A host makes a change durable before it
//! acts on it. This module must never know how anybody came to be asked.

#[cfg(feature = "deliberate-bugs")]
pub mod bug;
#[cfg(not(feature = "deliberate-bugs"))]
mod bug;

use farshore_types::{Epoch, EpochOrder, HostId, MachineId, PointRef};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use bug::Bug;

/// Why something is not allowed. Each says what to do instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Denied {
    /// R1: somebody else issued an epoch meanwhile.
    #[error(
        "epoch {held} is known, not {expected}, as was assumed: the owner changed meanwhile; look at the protection again"
    )]
    Moved {
        /// Highest number that is known.
        held: u64,
        /// What the caller took for it.
        expected: u64,
    },
    /// R4: two owners have the same number.
    #[error("two owners hold epoch {number}: declare which of them is the winner")]
    Conflict {
        /// The number.
        number: u64,
    },
    /// R2: the epoch was superseded.
    #[error("epoch {asked} was superseded by epoch {held}, which another host owns")]
    Superseded {
        /// What was asked with.
        asked: u64,
        /// What is held.
        held: u64,
    },
    /// R3: this host handed the machine over, and nobody said yet that it is not wanted.
    #[error(
        "the machine was sealed for epoch {next} and may run on the other side: complete the failover, or abort it there"
    )]
    Sealed {
        /// The epoch it was handed to.
        next: u64,
    },
    /// R3: the seal is not for the lineage that this host holds.
    #[error("the seal is of epoch {seal}, this host holds epoch {held}")]
    WrongSeal {
        /// The seal's.
        seal: u64,
        /// This host's.
        held: u64,
    },
    /// The host does not own the machine.
    #[error("another host owns the machine by epoch {epoch}")]
    NotOwner {
        /// By which.
        epoch: u64,
    },
    /// R8: after a reboot nobody could say whether the other side has taken over.
    #[error(
        "nobody on the other side answers whether it has taken the machine over: it is held; start it by hand only if you know that it has not"
    )]
    NoWitness,
    /// R8: the answer is not to this question.
    #[error("the answer is to another question than the one asked")]
    StaleWitness,
}

/// Issues the epoch of the next owner (R1): one above the highest known, and only where that
/// is `from`, by which the caller decided. The first owner's is issued from nothing.
///
/// # Errors
/// [`Denied::Moved`], [`Denied::Conflict`].
pub fn issue(known: &[Epoch], from: Option<&Epoch>, token: u128) -> Result<Epoch, Denied> {
    let highest = highest(known)?;
    let expected = from.map_or(0, |epoch| epoch.number);
    match (highest, from) {
        (None, None) => Ok(Epoch { number: 1, token }),
        (Some(highest), Some(from)) if highest == *from && bug::is(Bug::IssuesAgain) => {
            Ok(Epoch { number: highest.number, token })
        }
        (Some(highest), Some(_)) if bug::is(Bug::IssuesFromAny) => {
            Ok(Epoch { number: highest.number + 1, token })
        }
        (Some(highest), Some(from)) if highest == *from => Ok(Epoch { number: highest.number + 1, token }),
        (highest, _) => Err(Denied::Moved { held: highest.map_or(0, |e| e.number), expected }),
    }
}

/// Issues the epoch of the owner that a person declared the winner: above both that conflict.
#[must_use]
pub fn issue_for_winner(known: &[Epoch], token: u128) -> Epoch {
    let number = known.iter().map(|epoch| epoch.number).max().unwrap_or(0);
    Epoch { number: number + 1, token }
}

fn highest(known: &[Epoch]) -> Result<Option<Epoch>, Denied> {
    let Some(highest) = known.iter().max_by_key(|epoch| epoch.number) else { return Ok(None) };
    let conflict = known.iter().any(|other| highest.order_of(other) == EpochOrder::Conflict);
    if conflict { Err(Denied::Conflict { number: highest.number }) } else { Ok(Some(*highest)) }
}

/// The old owner's word that it has stopped for good: with it, and not without, the next
/// owner of an orderly change starts (R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seal {
    /// The machine.
    pub machine: MachineId,
    /// By which epoch the old owner had it.
    pub epoch: Epoch,
    /// The last point, which has everything.
    pub last: PointRef,
    /// The next owner's epoch.
    pub next: Epoch,
}

/// What a host durably holds of a machine's lineage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lineage {
    /// The machine.
    pub machine: MachineId,
    /// The highest epoch this host knows.
    pub epoch: Epoch,
    /// Whose it is.
    pub owner: HostId,
    /// What this host, when it owned the machine, handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// An epoch of the same number with another token that this host has met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<Epoch>,
    /// Epochs of seals that this host, as the next owner, has durably refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Epoch>,
}

/// What hearing of an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing new.
    Known,
    /// It supersedes: the lineage is another one now, to be made durable.
    Superseded,
    /// It is of before: who sent it is to learn what is held.
    Stale,
    /// Equal number, another token: to be made durable; both stop until a winner is declared.
    Conflict,
}

/// Why a machine would be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody orders it: a document, or a person on this host.
    Ordered,
    /// The host has booted; the other side was asked with this nonce, and this came back.
    Boot {
        /// The question.
        nonce: u128,
        /// The answer, if there was one.
        answer: Option<Witness>,
    },
}

/// What the other side says about a machine, on being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The question it answers.
    pub nonce: u128,
    /// The highest epoch known there.
    pub epoch: Epoch,
}

impl Lineage {
    /// The lineage of a machine that `owner` has by `epoch`.
    #[must_use]
    pub fn new(machine: MachineId, epoch: Epoch, owner: HostId) -> Lineage {
        Lineage { machine, epoch, owner, seal: None, conflict: None, refused: Vec::new() }
    }

    /// Takes notice of an epoch and its owner (R2, R4). A move of the owner's role to another
    /// host under the same epoch is the vault's to say, and taken.
    pub fn hear(&mut self, epoch: &Epoch, owner: HostId) -> Heard {
        match self.epoch.order_of(epoch) {
            EpochOrder::Older if bug::is(Bug::TakesLower) => {
                *self = Lineage::new(self.machine, *epoch, owner);
                Heard::Superseded
            }
            EpochOrder::Conflict if bug::is(Bug::TakesTwins) => {
                *self = Lineage::new(self.machine, *epoch, owner);
                Heard::Superseded
            }
            EpochOrder::Older => Heard::Stale,
            EpochOrder::Same if self.owner == owner => Heard::Known,
            EpochOrder::Same => {
                self.owner = owner;
                Heard::Superseded
            }
            EpochOrder::Conflict if self.conflict == Some(*epoch) => Heard::Known,
            EpochOrder::Conflict => {
                self.conflict = Some(*epoch);
                Heard::Conflict
            }
            EpochOrder::Newer => {
                *self = Lineage {
                    refused: std::mem::take(&mut self.refused),
                    ..Lineage::new(self.machine, *epoch, owner)
                };
                Heard::Superseded
            }
        }
    }

    /// Whether `host` may write the replica by `epoch` now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_write(&self, host: HostId, epoch: &Epoch) -> Result<(), Denied> {
        match self.epoch.order_of(epoch) {
            _ if self.conflict.is_some() => Err(Denied::Conflict { number: self.epoch.number }),
            EpochOrder::Older if bug::is(Bug::LetsLowerWrite) => Ok(()),
            EpochOrder::Older => Err(Denied::Superseded { asked: epoch.number, held: self.epoch.number }),
            EpochOrder::Conflict => Err(Denied::Conflict { number: epoch.number }),
            EpochOrder::Same if self.owner != host => Err(Denied::NotOwner { epoch: self.epoch.number }),
            EpochOrder::Same | EpochOrder::Newer => Ok(()),
        }
    }

    /// Whether `me` may start the machine (R3, R4, R8).
    ///
    /// # Errors
    /// Why not.
    pub fn may_start(&self, me: HostId, occasion: Occasion) -> Result<(), Denied> {
        if let Some(seal) = self.held_seal() {
            return Err(Denied::Sealed { next: seal.next.number });
        }
        if self.conflict.is_some() {
            return Err(Denied::Conflict { number: self.epoch.number });
        }
        if self.owner != me {
            return Err(Denied::NotOwner { epoch: self.epoch.number });
        }
        match occasion {
            Occasion::Ordered => Ok(()),
            Occasion::Boot { .. } if bug::is(Bug::AsksNobody) => Ok(()),
            Occasion::Boot { answer: None, .. } => Err(Denied::NoWitness),
            Occasion::Boot { nonce, answer: Some(answer) } if answer.nonce != nonce => {
                Err(Denied::StaleWitness)
            }
            Occasion::Boot { answer: Some(answer), .. } => match self.epoch.order_of(&answer.epoch) {
                EpochOrder::Same | EpochOrder::Older => Ok(()),
                EpochOrder::Conflict => Err(Denied::Conflict { number: answer.epoch.number }),
                EpochOrder::Newer => {
                    Err(Denied::Superseded { asked: self.epoch.number, held: answer.epoch.number })
                }
            },
        }
    }

    /// The seal by which this host does not run the machine any more, before the next owner has
    /// refused it for good (R3).
    #[must_use]
    pub fn held_seal(&self) -> Option<Seal> {
        self.seal.filter(|_| !bug::is(Bug::StartsSealed))
    }

    /// Hands the machine over, which is stopped for good at `last` (R3). The same hand-over
    /// again is the same seal.
    ///
    /// # Errors
    /// [`Denied::NotOwner`], [`Denied::Conflict`]; [`Denied::Sealed`] where it was handed to
    /// another epoch.
    pub fn seal(&mut self, me: HostId, last: PointRef, next: Epoch) -> Result<Seal, Denied> {
        if self.conflict.is_some() {
            return Err(Denied::Conflict { number: self.epoch.number });
        }
        if self.owner != me {
            return Err(Denied::NotOwner { epoch: self.epoch.number });
        }
        let wanted = Seal { machine: self.machine, epoch: self.epoch, last, next };
        match self.seal {
            Some(seal) if seal != wanted => return Err(Denied::Sealed { next: seal.next.number }),
            _ if next.number <= self.epoch.number => {
                return Err(Denied::Superseded { asked: next.number, held: self.epoch.number });
            }
            _ => self.seal = Some(wanted),
        }
        Ok(wanted)
    }

    /// Becomes the owner by a seal (R3).
    ///
    /// # Errors
    /// [`Denied::WrongSeal`] where it is of another lineage than the one held,
    /// [`Denied::Superseded`] where it was refused here, or a later owner is known.
    pub fn accept(&mut self, me: HostId, seal: &Seal) -> Result<(), Denied> {
        if self.epoch == seal.next && self.owner == me {
            return Ok(());
        }
        let refused = self.refused.contains(&seal.next) && !bug::is(Bug::AcceptsRefused);
        if refused || seal.next.number <= self.epoch.number {
            return Err(Denied::Superseded { asked: seal.next.number, held: self.epoch.number });
        }
        if self.epoch != seal.epoch && !bug::is(Bug::AcceptsAnySeal) {
            return Err(Denied::WrongSeal { seal: seal.epoch.number, held: self.epoch.number });
        }
        self.hear(&seal.next, me);
        Ok(())
    }

    /// Refuses a seal for good: made durable here, it lets the old owner run the machine
    /// again.
    ///
    /// # Errors
    /// [`Denied::Superseded`] where it was accepted already.
    pub fn refuse(&mut self, next: &Epoch) -> Result<(), Denied> {
        if self.epoch.number >= next.number {
            return Err(Denied::Superseded { asked: next.number, held: self.epoch.number });
        }
        if !self.refused.contains(next) {
            self.refused.push(*next);
        }
        Ok(())
    }

    /// Takes its own seal back on the durable refusal of the epoch it was for.
    ///
    /// # Errors
    /// [`Denied::WrongSeal`] where the refusal is of another one.
    pub fn unseal(&mut self, refused: &Epoch) -> Result<(), Denied> {
        match self.seal {
            None => Ok(()),
            Some(seal) if seal.next == *refused => {
                self.seal = None;
                Ok(())
            }
            Some(seal) => Err(Denied::WrongSeal { seal: seal.next.number, held: refused.number }),
        }
    }
}

#[cfg(test)]
mod tests;
