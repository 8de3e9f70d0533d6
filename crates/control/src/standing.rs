//! How a host stands with one machine: what the vault makes events of its life of. Said whole
//! with every report. This module must never know what follows from it.

use std::net::IpAddr;

use farshore_protection::{BroughtUp, Said};
use farshore_types::{Epoch, HostId, MachineId, PointId};
use serde::{Deserialize, Serialize};

use crate::{Version, ownership::Lineage, report::Problem};

/// How a host stands with one machine. Every field besides the first is left out by an agent
/// that knows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which machine.
    pub machine: MachineId,
    /// The version of the machine's document that the agent held when it looked at all of this:
    /// what it says of what it was told to do counts only for that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Version>,
    /// Whether the machine runs here; none: the hypervisor does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<bool>,
    /// Whether its copy here was stopped or isolated, because another host owns it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fenced: bool,
    /// How it was brought up here last, kept durably.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought_up: Option<BroughtUp>,
    /// What is being done about what the document wants, for people to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<Doing>,
    /// Why what the document wants cannot be done now: the machine not shut down, the last cycle
    /// not sent, the machine not started or not brought up. It is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot: Option<Problem>,
    /// What was adopted here for a replication the other way, kept durably.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
    /// The test failover that is here, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillStanding>,
    /// How far flattening is, while its document wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flattening: Option<Flattening>,
    /// Whether any disk of which the machine is made here stands on the replica; none: the machine
    /// is not here, or the hypervisor does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layered: Option<bool>,
    /// Of each address that the guest should have on this side, whether it will get it here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressStanding>,
    /// Whether the machine could be started here from the newest point that this host holds of
    /// it, as it was looked at last; none: nobody has looked yet, or there is nothing to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub could_start: Option<CouldStart>,
    /// Nobody on the other side has answered since this host was booted: the machine is held
    /// (rule R8), until somebody does or a person overrides it here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_without_witness: bool,
}

/// Something on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// What, for people: `shutting the machine down`.
    pub what: String,
    /// Done of it, in bytes or seconds.
    #[serde(default)]
    pub done: u64,
    /// In all; 0: not known.
    #[serde(default)]
    pub total: u64,
}

/// Disks that became the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// By which epoch of the owner that is to replicate to here.
    pub epoch: Epoch,
    /// Whether there were disks to adopt: else everything is copied.
    pub had_disks: bool,
}

/// A test failover on its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillStanding {
    /// Number of the order, as the document has it.
    pub order: u64,
    /// Whether its copy runs.
    pub runs: bool,
    /// The copy's name.
    #[serde(default)]
    pub name: String,
    /// The point that it was brought up at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<PointId>,
    /// Why it could not be brought up, or not be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Problem>,
}

/// An address of a guest on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStanding {
    /// The card, as the document has it.
    pub card: String,
    /// The address.
    pub address: IpAddr,
    /// The libvirt network in which it is reserved for the card; none: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_in: Option<String>,
    /// Why it is not, and what to do by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<Problem>,
}

/// How far disks are made the machine's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flattening {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Whether all is done.
    pub flat: bool,
    /// Why it does not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Problem>,
}

/// Whether a host that keeps a replica could start the machine, found out without doing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouldStart {
    /// The point whose definition and disks were looked at.
    pub at: PointId,
    /// What stands against it, all of it, each with what to do; empty: it could.
    #[serde(default)]
    pub against: Vec<Problem>,
}

impl CouldStart {
    /// Whether nothing stands against it.
    #[must_use]
    pub fn could(&self) -> bool {
        self.against.is_empty()
    }
}

impl Standing {
    /// What of a machine of which nothing is known.
    #[must_use]
    pub fn of(machine: MachineId) -> Standing {
        Standing {
            machine,
            document: None,
            runs: None,
            fenced: false,
            brought_up: None,
            doing: None,
            cannot: None,
            adopted: None,
            drill: None,
            flattening: None,
            layered: None,
            addresses: Vec::new(),
            could_start: None,
            held_without_witness: false,
        }
    }

    /// What it says for a life, of which `newest` is the document, and `epoch` the owner's.
    #[must_use]
    pub fn said(&self, host: HostId, lineage: &Lineage, newest: Option<Version>, epoch: &Epoch) -> Said {
        Said {
            host,
            lineage: lineage.clone(),
            runs: self.runs == Some(true),
            brought_up: self.brought_up,
            // That nothing is known of whether it runs is no word that it was stopped.
            current: newest.is_some() && self.document == newest && self.runs.is_some(),
            cannot_run: self.cannot.as_ref().map(Problem::to_string),
            adopted: self.adopted.filter(|adopted| adopted.epoch == *epoch).map(|adopted| adopted.had_disks),
        }
    }
}

#[cfg(test)]
mod tests {
    use farshore_types::VaultId;
    use uuid::Uuid;

    use super::*;
    use crate::Term;

    #[test]
    fn what_a_host_says_counts_for_the_document_that_it_held() {
        let (machine, host) = (MachineId(Uuid::nil()), HostId(Uuid::nil()));
        let version =
            |generation| Version { term: Term { number: 1, vault: VaultId(Uuid::nil()) }, generation };
        let epoch = Epoch { number: 3, token: 5 };
        let lineage = Lineage::new(machine, epoch, host);
        let standing = Standing { document: Some(version(4)), runs: Some(false), ..Standing::of(machine) };
        let said = |standing: &Standing, newest| standing.said(host, &lineage, newest, &epoch);
        assert!(said(&standing, Some(version(4))).current);
        assert!(!said(&standing, Some(version(5))).current);
        assert!(!said(&Standing { runs: None, ..standing.clone() }, Some(version(4))).current);
        assert!(!said(&Standing::of(machine), None).current, "an agent of before says nothing");
        let adopted = Some(Adopted { epoch: Epoch { number: 2, token: 5 }, had_disks: true });
        let of_before = Standing { adopted, ..standing };
        assert_eq!(said(&of_before, Some(version(4))).adopted, None);
    }

    #[test]
    fn what_an_agent_leaves_out_is_not_said() {
        let machine = MachineId(Uuid::nil());
        let text = format!("{{\"machine\":\"{}\"}}", machine.0);
        assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), Standing::of(machine));
    }
}
