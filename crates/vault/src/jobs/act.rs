//! What steps ask for. An act is kept with its job from the first asking on; done twice, it
//! changes nothing the second time. What is told about a protection names its epoch: after
//! another one was issued, it is about something that is no more, and does nothing.

use farshore_control::request::{Action, Ending, Request};
use farshore_job::EffectId;
use farshore_types::{Epoch, HostId, MachineId, PolicyId, RequestId};
use serde::{Deserialize, Serialize};

use super::course::Goal;
use crate::{
    Core, Moment,
    core::peer_of,
    rows::{Ended, ProtectionRow, ReplicaFate, RequestRow},
};

/// What a step asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub(crate) enum Act {
    /// The protection is ordered: it was, with the job.
    Ordered(Of),
    /// The order to protect is taken back; the replica goes with it where the order made it.
    Withdraw {
        #[serde(flatten)]
        of: Of,
        delete: bool,
    },
    /// The target says what stands against starting the machine there.
    Startable(Of),
    /// Nothing of what it said stands against it.
    Verdict { problems: Vec<(String, String)> },
    /// A host has what is ordered of it.
    Told {
        #[serde(flatten)]
        of: Of,
        end: End,
    },
    /// There is a first point.
    FirstCopy(Of),
    /// A host has stopped.
    Stopped {
        #[serde(flatten)]
        of: Of,
        end: End,
    },
    /// The replica of an ended protection is kept, or gone.
    Replica {
        #[serde(flatten)]
        of: Of,
        delete: bool,
    },
    /// The copy on a replica's new host is whole: it counts, and no longer the old one.
    Switch {
        #[serde(flatten)]
        of: Of,
        to: HostId,
    },
    /// The old host's replica, of that epoch, is kept, or gone.
    LetGo {
        #[serde(flatten)]
        of: Of,
        host: HostId,
        /// Not the protection's, which `of` names.
        #[serde(rename = "old")]
        epoch: Epoch,
        delete: bool,
    },
    /// The order to move a replica is taken back.
    MoveBack(Back),
    /// A host that is there has stopped; one that is not learns of it later.
    Informed {
        #[serde(flatten)]
        of: Of,
        end: End,
    },
    /// A replica that nothing wants is gone.
    Discard { machine: MachineId, host: HostId, epoch: Epoch },
    /// Everything was compared, so often.
    Compared {
        #[serde(flatten)]
        of: Of,
        number: u64,
    },
    /// All hosts of protections that follow a policy have it as it is now.
    Reached { policy: PolicyId },
    /// A host has its own document.
    Configured { host: HostId },
    /// A host's clock, room and versions fit.
    Fit { host: HostId, with: Vec<HostId> },
    /// A protection's life has come somewhere.
    Course {
        machine: MachineId,
        #[serde(flatten)]
        goal: Goal,
    },
    /// A host reaches others.
    Reaches { host: HostId, peers: Vec<HostId> },
}

/// A protection, as it was when something was said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Of {
    pub(crate) machine: MachineId,
    pub(crate) epoch: Epoch,
}

/// Where a replica was to move to, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Back {
    #[serde(flatten)]
    pub(crate) of: Of,
    pub(crate) from: HostId,
    /// Its directory there; none: the host's default.
    pub(crate) place: Option<String>,
    pub(crate) to: HostId,
    /// Whether the new host had none before.
    pub(crate) fresh: bool,
}

/// One end of a protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    Source,
    Target,
}

impl ProtectionRow {
    pub(super) fn end(&self, end: End) -> HostId {
        match end {
            End::Source => self.source(),
            End::Target => self.target(),
        }
    }
}

impl Core {
    /// Does what an act asks for, as far as it is not done.
    pub(super) fn act(&mut self, id: EffectId, act: &Act, for_ms: u64, at: &Moment) {
        match act {
            Act::Withdraw { of, delete } => self.withdraw(of, *delete, at),
            Act::Startable(of) => self.ask_if_startable(id, of),
            Act::Reaches { host, peers } => self.ask_for_peers(id, *host, peers),
            Act::Course { machine, goal } => self.act_on_course(id, *machine, goal, for_ms, at),
            Act::Switch { of, to } => self.switch(of, *to),
            Act::LetGo { of, host, epoch, delete: true } => self.let_go(id, of, (*host, *epoch), at),
            Act::MoveBack(back) => self.move_back(id, back, at),
            Act::Discard { machine, host, epoch } => self.discard(id, *host, (*machine, *epoch), at),
            // They are true or become so by themselves; there is only something to look at.
            Act::Ordered(_)
            | Act::Verdict { .. }
            | Act::Told { .. }
            | Act::FirstCopy(_)
            | Act::Stopped { .. }
            | Act::Replica { .. }
            | Act::LetGo { .. }
            | Act::Informed { .. }
            | Act::Compared { .. }
            | Act::Reached { .. }
            | Act::Configured { .. }
            | Act::Fit { .. } => {}
        }
    }

    /// The protection's row while it is of that epoch.
    pub(super) fn row_of(&self, of: &Of) -> Option<&ProtectionRow> {
        let same = self.tables.epochs.get(&of.machine).is_some_and(|row| row.epoch == of.epoch);
        self.tables.protections.get(&of.machine).filter(|_| same)
    }

    fn withdraw(&mut self, of: &Of, delete: bool, at: &Moment) {
        let row = self.row_of(of);
        #[cfg(feature = "deliberate-bugs")]
        let row = match self.has_bug(crate::Bug::UndoesOthers) {
            true => self.tables.protections.get(&of.machine),
            false => row,
        };
        let Some(row) = row.filter(|row| row.is_live()) else { return };
        // What may be the only good copy stays, whoever made it.
        let alone = || !self.own_writes(row.target(), row.machine).is_empty();
        let goes = delete && self.has_another_copy(row).is_ok() && !alone();
        let replica = if goes { ReplicaFate::ToDelete } else { ReplicaFate::Kept };
        let ended = Ended { why: "enabling was taken back".to_owned(), at_ms: at.wall_ms, replica };
        self.tables.protections.change(&of.machine, |row| row.has_ended(ended));
    }

    /// Asks the source for the definition, and then the target whether it could start it.
    fn ask_if_startable(&mut self, id: EffectId, of: &Of) {
        let Some(row) = self.row_of(of).cloned() else { return };
        let [definition, startable] = startable_requests(id);
        self.ask(id, definition, row.source(), Action::Definition { machine: of.machine });
        let told = self.tables.requests.get(&definition).and_then(|row| row.ending.clone());
        if let Some(Ending::Done { answer: farshore_control::request::Answer::Definition { text } }) = told {
            let networks = self.networks_between(row.source(), row.target());
            let action = Action::CheckStartable { definition: text, networks };
            self.ask(id, startable, row.target(), action);
        }
    }

    fn ask_for_peers(&mut self, id: EffectId, host: HostId, peers: &[HostId]) {
        for (request, peer) in peer_requests(id, peers) {
            let Some(row) = self.tables.hosts.get(&peer).filter(|row| !row.removed) else { continue };
            let action = Action::CheckPeer { peer: peer_of(row) };
            self.ask(id, request, host, action);
        }
    }

    /// Asks a host, unless it was asked already.
    fn ask(&mut self, effect: EffectId, id: RequestId, host: HostId, action: Action) {
        if self.tables.requests.get(&id).is_some() {
            return;
        }
        let machine = match action {
            Action::Definition { machine } => Some(machine),
            _ => None,
        };
        self.tables.requests.put(RequestRow {
            id,
            host,
            machine,
            request: Request { id, expires_ms: None, action },
            ending: None,
            withdrawn: false,
            effect: Some(effect),
        });
    }
}

/// Ids of the two questions by which it is known whether a machine could start.
pub(super) fn startable_requests(id: EffectId) -> [RequestId; 2] {
    [id.request_part(0), id.request_part(1)]
}

/// Ids of the questions whether a host reaches its peers.
pub(super) fn peer_requests(id: EffectId, peers: &[HostId]) -> impl Iterator<Item = (RequestId, HostId)> {
    (0u32..).map(move |part| id.request_part(part)).zip(peers.iter().copied())
}
