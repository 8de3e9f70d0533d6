//! Whether a source may write a replica here (rules R1, R4), by what is held. Pure: this
//! module must never know how a session comes about.

use farshore_control::{HostDocument, Wire, ownership::Denied};
use farshore_link::{Caller, Proof};
use farshore_types::{Epoch, EpochOrder, HostId, MachineId};
use farshore_wire::{Refusal, RefusalCode};

use super::{ledger::Ledger, wanted};

/// What is answered to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may write; what its epoch tells is to be made durable first.
    Yes {
        /// An epoch and its owner that were not known.
        hear: Option<(Epoch, HostId)>,
    },
    /// It may not; what its epoch tells is to be made durable all the same.
    No {
        /// Why.
        refusal: Refusal,
        /// An epoch and its owner that were not known.
        hear: Option<(Epoch, HostId)>,
    },
    /// No document names the machine.
    Unnamed,
}

fn no(code: RefusalCode, message: String, advice: &str) -> Admission {
    Admission::No { refusal: Refusal::new(code, message, advice), hear: None }
}

/// Judges the host `peer` that comes with an epoch of a machine.
pub fn judge(ledger: &Ledger, machine: MachineId, peer: &Caller, epoch: &Epoch) -> Admission {
    if ledger.is_removed(machine) {
        let message = "the protection of this machine was ended by the vault".to_owned();
        return no(RefusalCode::NotAuthorised, message, "enable it again; the points here are kept");
    }
    let Some(protection) = ledger.protection(machine) else { return Admission::Unnamed };
    if !wanted::is_target(protection, ledger.me()) {
        let message = format!("host '{}' keeps the replica of this machine now", protection.target.name);
        return no(RefusalCode::NotAuthorised, message, "the source learns of it by the vault's document");
    }
    if protection.source.name != peer.name {
        let message = format!("host '{}' owns this machine, not '{peer}'", protection.source.name);
        return no(
            RefusalCode::NotAuthorised,
            message,
            "the vault assigns the source; wait for its document",
        );
    }
    if let Some(refusal) = unproved(protection.settings.wire, peer) {
        return Admission::No { refusal, hear: None };
    }
    if ledger.host().is_some_and(|host| host.maintenance) {
        let message = "this host is in maintenance".to_owned();
        return no(RefusalCode::Busy, message, "end the maintenance, or move the replica");
    }
    let owner = protection.source.host;
    let Some(lineage) = ledger.lineage(machine) else {
        return Admission::Yes { hear: Some((*epoch, owner)) };
    };
    let order = lineage.epoch.order_of(epoch);
    let hear = matches!(order, EpochOrder::Newer | EpochOrder::Conflict).then_some((*epoch, owner));
    match lineage.may_write(owner, epoch) {
        Ok(()) => Admission::Yes { hear },
        Err(denied) => {
            let code = match denied {
                Denied::Conflict { .. } => RefusalCode::EpochConflict,
                Denied::Superseded { .. } => RefusalCode::OlderEpoch,
                _ => RefusalCode::NotAuthorised,
            };
            let hear = hear.filter(|_| order == EpochOrder::Conflict);
            let refusal = Refusal::new(code, denied.to_string(), "the vault says who the owner is");
            Admission::No { refusal, hear }
        }
    }
}

/// A host that proves itself by what the policy did not choose is not known: else whoever
/// broke the one would be let in by the other.
pub(crate) fn unproved(wanted: Wire, peer: &Caller) -> Option<Refusal> {
    let (wants, came) = match (wanted, peer.proof) {
        (Wire::Certificate, Proof::Certificate) | (Wire::Kerberos, Proof::Kerberos) => return None,
        (Wire::Kerberos, Proof::Certificate) => ("Kerberos", "a certificate"),
        (Wire::Certificate, Proof::Kerberos) => ("certificates", "Kerberos"),
    };
    let message = format!("{wants} must prove host '{peer}' here, and it came by {came}");
    let advice = "it is tried again, and goes on when both hosts know of the same policy";
    Some(Refusal::new(RefusalCode::NotAuthorised, message, advice))
}

/// Why a replica takes nothing now, sessions that run included; none: it may.
pub fn halted(ledger: &Ledger, machine: MachineId) -> Option<String> {
    if ledger.is_removed(machine) {
        return Some("its protection was ended by the vault".to_owned());
    }
    let protection = ledger.protection(machine)?;
    if !wanted::is_target(protection, ledger.me()) {
        return Some(format!("host '{}' keeps its replica now", protection.target.name));
    }
    let conflict = ledger.lineage(machine).and_then(|lineage| lineage.conflict);
    conflict.map(|epoch| Denied::Conflict { number: epoch.number }.to_string())
}

/// Whether a host that asks what runs here may ask: any that the vault lets meet this one.
pub(super) fn may_ask(ledger: &Ledger, peer: &str) -> bool {
    let met = |host: &HostDocument| host.peers.iter().any(|met| met.name == peer);
    ledger.host().is_some_and(met)
        || ledger.protections().any(|p| p.source.name == peer || p.target.name == peer)
}
