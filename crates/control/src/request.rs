//! What is done once (rule R7): a request has an id, an agent keeps its outcome until that
//! is acknowledged, and what stops a guest or deletes anything expires.

use std::collections::BTreeMap;

use farshore_types::{Consistency, DiskKey, Epoch, HostId, MachineId, PointId, RequestId};
use serde::{Deserialize, Serialize};

use crate::{
    Peer,
    bug::{self, Bug},
};

/// Most outcomes that an agent keeps for one that never acknowledges.
pub const OUTCOMES_MAX: usize = 10_000;

/// Something to be done once by one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// By which the outcome is known.
    pub id: RequestId,
    /// After this many milliseconds since the Unix epoch, by the vault's clock, it is not
    /// begun any more; none: it never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// What.
    pub action: Action,
}

/// What an agent can be asked to do once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Action {
    /// Tries a session with another host and measures it; changes nothing.
    CheckPeer {
        /// Whom.
        peer: Peer,
    },
    /// Says what stands against starting a machine of this definition here.
    CheckStartable {
        /// Its definition.
        definition: String,
        /// Networks of the source, and what they are here.
        networks: BTreeMap<String, String>,
    },
    /// Gives a machine's definition, without its secrets.
    Definition {
        /// Which.
        machine: MachineId,
    },
    /// Writes a machine's disks as they are at one instant into a directory, to be carried
    /// to the target; what changes from then on is sent over the network.
    ExportMedium {
        /// Which machine.
        machine: MachineId,
        /// The directory.
        to: String,
    },
    /// Takes disks that were carried over, or are here already, as the base of a replica.
    Adopt {
        /// Whose.
        machine: MachineId,
        /// The disks and where their copies are.
        disks: Vec<(DiskKey, String)>,
    },
    /// Lists recovery points of a replica, the newest first.
    Points {
        /// Whose.
        machine: MachineId,
        /// Only older ones than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<PointId>,
        /// Only those for which the guest's file systems were frozen.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        application: bool,
        /// Most of them, 1 to [`POINTS_MAX`].
        limit: u32,
    },
    /// Deletes a replica with all its points.
    DeleteReplica {
        /// Whose.
        machine: MachineId,
        /// Only while the replica is of this epoch.
        epoch: Epoch,
    },
}

impl Action {
    /// Whether it stops a guest or deletes something: such a request expires, and a site
    /// server never serves it from what it kept.
    #[must_use]
    pub fn is_drastic(&self) -> bool {
        matches!(self, Action::DeleteReplica { .. })
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which request.
    pub id: RequestId,
    /// By which host.
    pub host: HostId,
    /// What came of it.
    pub result: Ending,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ended")]
pub enum Ending {
    /// It is under way; told so that people see progress, and replaced by what follows.
    Running {
        /// Bytes done.
        done: u64,
        /// Bytes in all; 0 where that is not known.
        total: u64,
    },
    /// It was done.
    Done {
        /// What there is to say.
        answer: Answer,
    },
    /// It failed; nothing was changed, unless the text says so.
    Failed {
        /// What and where.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// Its time had passed before it could begin.
    Expired,
}

/// What an action found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// Nothing besides that it was done.
    Done,
    /// To `CheckPeer`.
    Peer {
        /// Milliseconds to set a session up.
        setup_ms: u64,
        /// What the peer's clock is ahead of this one's, in milliseconds, as far as the
        /// round trip lets that be known.
        skew_ms: i64,
        /// The peer's agent.
        agent: String,
        /// Bytes free for replicas there.
        free: u64,
    },
    /// To `CheckStartable`: what stands against it; empty: nothing known.
    Startable {
        /// What is missing, and what to do about it.
        problems: Vec<(String, String)>,
    },
    /// To `Points`.
    Points {
        /// The newest first.
        points: Vec<PointFacts>,
        /// Whether there are older ones.
        more: bool,
    },
    /// To `Definition`.
    Definition {
        /// The hypervisor's text.
        text: String,
    },
}

/// Most recovery points that are listed at once: what a report carries of them stays small.
pub const POINTS_MAX: u32 = 1000;

/// A recovery point, as the host tells it that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointFacts {
    /// Which.
    pub id: PointId,
    /// Milliseconds from its instant to the answer.
    pub age_ms: u64,
    /// Crash- or application-consistent.
    pub consistency: Consistency,
    /// Bytes of the clusters that changed since the point before.
    pub changed: u64,
    /// Bytes received for it.
    pub received: u64,
    /// Who keeps it from being pruned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned_by: Vec<String>,
}

impl Request {
    /// Whether it is too late to begin it.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        !bug::is(Bug::NeverExpires) && self.expires_ms.is_some_and(|at| now_ms > at)
    }
}
