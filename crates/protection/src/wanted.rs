//! What each of the two hosts is told: a life as documents will have it. Level-triggered and
//! whole: a host that reads only the last one does the right thing. This module must never
//! know what the hosts do at the moment.

use farshore_types::{Epoch, HostId};
use serde::{Deserialize, Serialize};

use crate::{
    Choice, Contest, Drill, Flat, Kind, Life, Overlay, Phase, Stage, Why,
    bug::{self, Bug},
};

/// What is told to the two hosts of a protection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wanted {
    /// By which epoch the source owns the machine.
    pub epoch: Epoch,
    /// The host that owns it.
    pub owner: HostId,
    /// The other host.
    pub other: HostId,
    /// What the owner is to do.
    pub source: Want,
    /// What the other host is to do.
    pub target: Want,
    /// Whether cycles run from the owner to the other.
    pub copies: bool,
    /// The test failover that its host is to have, or to remove; none: nothing is said.
    #[serde(default)]
    pub drill: Option<Drill>,
    /// Whether the owner makes the machine's disks its own.
    #[serde(default)]
    pub flatten: bool,
}

/// What one host is to do about a machine. What stops a guest holds only as long as the
/// document says so: it is never a message of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "want")]
pub enum Want {
    /// It is this host's, and runs as its users want. After a boot it is started when the
    /// witness says so (rule R8).
    Own,
    /// The same, and it is to be started.
    Run,
    /// It is shut down here and sealed for the next owner (rule R3).
    HandOver {
        /// The next owner's epoch.
        next: Epoch,
        /// Whether the other host is to have everything before the seal.
        last_cycle: bool,
        /// Whether it is switched off where it does not shut down.
        power_off: bool,
    },
    /// A seal of this epoch is accepted here, and the machine started.
    Accept {
        /// The epoch.
        next: Epoch,
    },
    /// A seal of this epoch is refused here for good, unless it was accepted.
    Refuse {
        /// The epoch.
        next: Epoch,
    },
    /// It is brought up here.
    BringUp {
        /// At which point.
        point: Choice,
        /// From what, at that point.
        #[serde(default)]
        overlay: Overlay,
        /// Number of the order among those of this epoch: it is carried out once.
        #[serde(default)]
        order: u64,
    },
    /// It runs where this host says; the replica is kept here, and takes cycles.
    Receive,
    /// It is another host's now. A copy that runs here is stopped or isolated, as this host is
    /// set, and its disks are kept as they are.
    Fence,
    /// What this host wrote itself is kept as a point, and its disks become the replica.
    Adopt,
    /// Nothing is started and nothing is stopped: a person has to decide.
    Hold,
    /// Nothing is wanted any more. What is there stays.
    Nothing,
}

impl Want {
    /// Whether the machine is on its way from or to this host: that it is off is not its users'
    /// doing then.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        matches!(self, Want::HandOver { .. } | Want::Accept { .. } | Want::BringUp { .. })
    }
}

impl Wanted {
    /// What `host` is to do. Of a host that is neither of the two nothing is wanted: a machine
    /// that runs there has been migrated, or is strange, and is never stopped for that.
    #[must_use]
    pub fn of(&self, host: HostId) -> Want {
        match host {
            host if host == self.owner => self.source,
            host if host == self.other || bug::is(Bug::FencesBystanders) => self.target,
            _ => Want::Nothing,
        }
    }
}

impl Life {
    /// What the two hosts are told.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let (source, target) = self.wants();
        let paused = self.paused && !bug::is(Bug::SendsPaused);
        let flattens = self.flat == Flat::Flattening && !bug::is(Bug::FlattensBeside);
        let flows = self.replicates() && !paused && !flattens && self.rival.is_none();
        let flows = flows && !self.awaits_the_other();
        Wanted {
            epoch: self.epoch,
            owner: self.source,
            other: self.target,
            source,
            target,
            copies: flows,
            drill: self.drill.clone(),
            flatten: self.flat == Flat::Flattening && self.rival.is_none(),
        }
    }

    fn wants(&self) -> (Want, Want) {
        let (source, target) = self.wants_of_stage();
        // Whether the other host still runs the machine is not known: nothing is stopped for
        // what this one did by itself.
        let stops = matches!(target, Want::Receive | Want::Fence | Want::Adopt);
        if stops && self.awaits_the_other() { (source, Want::Hold) } else { (source, target) }
    }

    fn wants_of_stage(&self) -> (Want, Want) {
        if self.stage == Stage::Disabled {
            return (Want::Nothing, Want::Nothing);
        }
        if self.rival.is_some() {
            return (Want::Hold, Want::Hold);
        }
        match &self.stage {
            Stage::Disabled => (Want::Nothing, Want::Nothing),
            Stage::Replicating => (Want::Own, Want::Receive),
            Stage::HandingOver(over) => match over.phase {
                Phase::Aborting { .. } => (Want::Run, Want::Refuse { next: over.next }),
                // What is sealed already is accepted; what is not yet will be.
                _ => (
                    Want::HandOver {
                        next: over.next,
                        last_cycle: over.why == Why::Planned,
                        power_off: over.power_off,
                    },
                    Want::Accept { next: over.next },
                ),
            },
            Stage::Starting { .. } => (Want::Run, Want::Receive),
            Stage::BringingUp(up) => {
                let point = if up.then == Contest::Winner { Choice::AsLeft } else { up.point };
                (Want::BringUp { point, overlay: up.overlay, order: self.ups }, Want::Fence)
            }
            Stage::FailedOver { kind: Kind::Planned, .. } => (Want::Own, Want::Receive),
            Stage::FailedOver { kind: Kind::Unplanned, .. } | Stage::Committed => (Want::Own, Want::Fence),
            Stage::Reversing { .. } => (Want::Own, Want::Adopt),
        }
    }

    /// Hosts that may run the machine by what is told, as far as the vault knows of seals: one
    /// that has sealed may not, whatever it is told, before it has the refusal.
    #[must_use]
    pub fn may_run(&self) -> Vec<HostId> {
        let (source, target) = self.wants();
        let sealed = matches!(&self.stage, Stage::HandingOver(over) if over.last.is_some());
        let runs = |want: Want| matches!(want, Want::Own | Want::Run | Want::BringUp { .. } | Want::Hold);
        let mut hosts: Vec<HostId> = Vec::new();
        hosts.extend((runs(source) && !sealed).then_some(self.source));
        hosts.extend(runs(target).then_some(self.target));
        hosts
    }
}
