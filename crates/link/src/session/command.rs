//! What a session's owner asks its runner, and what the runner still owes an answer for.

use std::time::Duration;

use bytes::Bytes;
use farshore_types::{PointRef, RootDigest};
use farshore_wire::{DigestPage, OpenCycle, Outcome, Record, WantDigests};
use tokio::{sync::oneshot, time::Instant};

use crate::LinkError;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, LinkError>>;

pub(super) enum Command {
    Open(OpenCycle, Reply<()>),
    Send {
        disk: u16,
        records: Vec<Record>,
        reply: Reply<()>,
    },
    Seal {
        outcome: Outcome,
        captured: std::time::Instant,
        root: RootDigest,
        definition: Bytes,
        reply: Reply<PointRef>,
    },
    Abort {
        reason: String,
        reply: Reply<()>,
    },
    Digests(WantDigests, Reply<DigestPage>),
    Ping(Reply<Duration>),
    Bye(Reply<()>),
}

/// The one command that is not answered yet.
pub(super) enum Pending {
    /// Waits for the cycle before to be over.
    Open(OpenCycle, Reply<()>),
    /// Waits for credit.
    Send {
        disk: u16,
        records: Vec<Record>,
        reply: Reply<()>,
    },
    /// Waits for Sealed or Failed.
    Seal {
        captured: std::time::Instant,
        reply: Reply<PointRef>,
    },
    /// Waits for Failed.
    Abort(Reply<()>),
    Digests(Reply<DigestPage>),
    Ping {
        nonce: u64,
        since: Instant,
        reply: Reply<Duration>,
    },
}

impl Pending {
    /// Whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Pending::Open(_, reply) | Pending::Send { reply, .. } | Pending::Abort(reply) => {
                reply.is_closed()
            }
            Pending::Seal { reply, .. } => reply.is_closed(),
            Pending::Digests(reply) => reply.is_closed(),
            Pending::Ping { reply, .. } => reply.is_closed(),
        }
    }

    /// Answers with an error.
    pub(super) fn refuse(self, error: LinkError) {
        // Whoever stopped waiting does not need the answer.
        match self {
            Pending::Open(_, reply) | Pending::Send { reply, .. } | Pending::Abort(reply) => {
                drop(reply.send(Err(error)));
            }
            Pending::Seal { reply, .. } => drop(reply.send(Err(error))),
            Pending::Digests(reply) => drop(reply.send(Err(error))),
            Pending::Ping { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}
