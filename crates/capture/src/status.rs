//! What a replication shows of itself. Everything is measured; nothing is assumed.

use farshore_types::{Consistency, PointId, PointRef};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What is going on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Activity {
    /// Nothing yet.
    #[default]
    Starting,
    /// Opening a session with the target.
    Connecting,
    /// The first copy is being made.
    InitialReplication {
        /// Bytes of disk looked at.
        done: u64,
        /// Bytes of disk in all.
        total: u64,
    },
    /// The source is read once and compared, because the record of changes was lost.
    Resynchronizing {
        /// Why.
        why: String,
        /// Bytes of disk looked at.
        done: u64,
        /// Bytes of disk in all.
        total: u64,
    },
    /// The record of changes was lost, and comparing everything waits for its time.
    ResyncNeeded {
        /// Why it is needed.
        why: String,
    },
    /// Cycles run.
    Replicating,
    /// The machine is off and its last state is at the target.
    Off,
    /// Something is in the way that passes by itself.
    Waiting {
        /// What.
        why: String,
    },
    /// The last try failed; the next one comes.
    Retrying {
        /// Why it failed, with advice.
        why: String,
        /// Seconds from then to the next try.
        after_secs: u64,
    },
    /// It cannot go on without a person.
    Failed {
        /// Why, with advice.
        why: String,
    },
    /// It was stopped in good order.
    Stopped,
}

/// One cycle that was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleReport {
    /// The element that it made.
    pub id: PointId,
    /// Whether that is a recovery point.
    pub point: bool,
    /// Bytes that the record of changes named.
    pub dirty: u64,
    /// Bytes read.
    pub read: u64,
    /// Clusters that had changed indeed.
    pub changed: u64,
    /// Bytes of data sent.
    pub sent: u64,
    /// Milliseconds from the tick to the durable acknowledgement.
    pub took_ms: u64,
    /// Milliseconds of these spent in calls to the hypervisor.
    pub hypervisor_ms: u64,
    /// What the point is, where it is one.
    pub consistency: Consistency,
    /// Milliseconds from asking the guest to freeze until it was thawed, where it was frozen.
    pub frozen_ms: Option<u64>,
}

/// What is known of application-consistent points since the replication was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPoints {
    /// Whether they are wanted.
    pub wanted: bool,
    /// Points that were made so.
    pub made: u64,
    /// Tries that came to none.
    pub failed: u64,
    /// Why the last of these did, with advice; none where the last try came to one.
    pub fault: Option<String>,
    /// Milliseconds that the guest stood frozen at most, the last time.
    pub frozen_ms: Option<u64>,
    /// Why the guest may still stand frozen, with advice, where that lasts.
    pub unthawed: Option<String>,
}

/// Sums since the replication was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Cycles sealed, stages included.
    pub cycles: u64,
    /// Ticks at which no cycle could begin, because the one before was not over.
    pub missed: u64,
    /// Cycles that failed.
    pub failed: u64,
    /// Resyncs begun.
    pub resyncs: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes of data sent.
    pub sent: u64,
    /// Times the guest was found paused by a full scratch file and set going again.
    pub rescued: u64,
}

/// A replication as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What is going on.
    pub activity: Activity,
    /// The last recovery point that the target holds for certain.
    pub last_point: Option<PointRef>,
    /// The instant that it shows, milliseconds since the Unix epoch by this host's clock.
    pub captured_ms: Option<u64>,
    /// The last cycle sealed.
    pub last_cycle: Option<CycleReport>,
    /// Sums.
    pub totals: Totals,
    /// Number of the last resync asked for that is done.
    pub resynced: u64,
    /// Disks that are not replicated by bitmap, and why.
    pub notes: Vec<String>,
    /// Application-consistent points.
    #[serde(default)]
    pub apps: AppPoints,
}

impl Status {
    /// How far the reading of disks is, where that is what goes on.
    pub(crate) fn advance(status: &watch::Sender<Status>, at: u64, of: u64) {
        status.send_if_modified(|s| match &mut s.activity {
            Activity::InitialReplication { done, total } | Activity::Resynchronizing { done, total, .. } => {
                (*done, *total) = (at, of);
                true
            }
            _ => false,
        });
    }

    /// Milliseconds from the instant of the last point to `now_ms`: what would be lost if
    /// the host were lost now.
    #[must_use]
    pub fn rpo_ms(&self, now_ms: u64) -> Option<u64> {
        self.captured_ms.map(|at| now_ms.saturating_sub(at))
    }
}
