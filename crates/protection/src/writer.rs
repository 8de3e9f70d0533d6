//! Who may write a replica, of several that come (rule R4). This module must never know how a
//! session comes about.

use farshore_ownership::Lineage;
use farshore_types::{Epoch, EpochOrder, HostId};
use serde::{Deserialize, Serialize};

use crate::{
    Reason,
    bug::{self, Bug},
    fence::reason_of,
};

/// One writer of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Writer {
    /// By which epoch.
    pub epoch: Epoch,
    /// From which host.
    pub host: HostId,
    /// Its connection, counted by the replica and kept by it.
    pub session: u64,
    /// Random, of that connection: tells two of one number apart.
    pub token: u128,
}

/// What becomes of a writer that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the one that writes already.
    Same,
    /// It takes over: what is left of the one before is closed and says nothing any more.
    TakesOver,
    /// It is of before.
    Stale,
    /// It may not.
    Refused(Reason),
    /// Two writers of one number: neither writes, and a person is told.
    Conflict,
}

/// Judges a writer by what is held of the lineage and by the one that wrote last. A restarted
/// agent comes with a new session and takes over from its own half-open connection; so does
/// the host to which a machine was moved, once the vault has assigned it.
#[must_use]
pub fn admit(lineage: &Lineage, held: Option<&Writer>, coming: &Writer) -> Admission {
    if let Err(denied) = lineage.may_write(coming.host, &coming.epoch) {
        return Admission::Refused(reason_of(&denied));
    }
    let Some(held) = held else { return Admission::TakesOver };
    match held.epoch.order_of(&coming.epoch) {
        EpochOrder::Older => return Admission::Stale,
        EpochOrder::Conflict => return Admission::Conflict,
        EpochOrder::Newer => return Admission::TakesOver,
        EpochOrder::Same => {}
    }
    match coming.session.cmp(&held.session) {
        std::cmp::Ordering::Less => Admission::Stale,
        std::cmp::Ordering::Greater => Admission::TakesOver,
        std::cmp::Ordering::Equal if coming.token == held.token => Admission::Same,
        std::cmp::Ordering::Equal if bug::is(Bug::AdmitsTwins) => Admission::TakesOver,
        std::cmp::Ordering::Equal => Admission::Conflict,
    }
}
