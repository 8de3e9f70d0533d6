//! What becomes of a replica by what is held: which owner it takes, what its own store has
//! learned, and whether it is the one that is meant to be deleted (rules R1, R2, R4). Pure:
//! this module must never touch a replica.

use farshore_control::Protection;
use farshore_types::{Epoch, EpochOrder, HostId, MachineId};

use super::{ledger::Ledger, wanted};

/// What is to be done about a replica's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fence {
    /// It is as it is to be.
    Nothing,
    /// The store has learned of an epoch that is to be made durable.
    Hear {
        /// The epoch.
        epoch: Epoch,
        /// Whose it is.
        owner: HostId,
    },
    /// The store takes a higher epoch from now on: an owner of before writes no more.
    Take {
        /// The epoch.
        epoch: Epoch,
        /// The machine's name.
        name: String,
    },
}

/// Compares what a replica's store holds with what this host holds. `receiving` is false
/// where the machine was brought up from it.
#[must_use]
pub fn fence(ledger: &Ledger, machine: MachineId, held: Epoch, receiving: bool) -> Fence {
    let Some(lineage) = ledger.lineage(machine) else { return Fence::Nothing };
    let protection = ledger.protection(machine);
    let conflicts = held.order_of(&lineage.epoch) == EpochOrder::Conflict;
    if held.number > 0 && (held.number > lineage.epoch.number || conflicts) {
        let source = protection.filter(|_| receiving).map(|protection| protection.source.host);
        return Fence::Hear { epoch: held, owner: source.unwrap_or(ledger.me()) };
    }
    match wanted_here(ledger, machine) {
        Some(protection) if receiving && held.number < lineage.epoch.number && lineage.conflict.is_none() => {
            Fence::Take { epoch: lineage.epoch, name: protection.name.clone() }
        }
        _ => Fence::Nothing,
    }
}

/// The protection by which a replica is wanted here, so that it must not be deleted.
#[must_use]
pub fn wanted_here(ledger: &Ledger, machine: MachineId) -> Option<&Protection> {
    ledger.protection(machine).filter(|protection| wanted::is_target(protection, ledger.me()))
}

/// Whether a replica of epoch `held` is the one of epoch `meant`; one to which nothing was
/// ever written is any.
#[must_use]
pub fn is_meant(held: &Epoch, has_points: bool, meant: &Epoch) -> bool {
    held.order_of(meant) == EpochOrder::Same || (held.number == 0 && !has_points)
}
