//! What a target's owner provides: consent to sessions, and the work of their cycles.

use async_trait::async_trait;
use bytes::Bytes;
use farshore_types::{DiskKey, PointRef};
use farshore_wire::{
    Acceptance, DigestPage, Failure, Held, Hello, OpenCycle, Record, Refusal, RefusalCode, Seal,
};

use crate::Caller;

/// Decides on sessions.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Whether this peer, by this epoch, may replicate this machine to here. Must change
    /// nothing: if it consents, an older session of the machine is ended before
    /// [`Sink::hello`] is asked.
    ///
    /// # Errors
    /// The refusal that the peer is told.
    async fn authorise(&self, peer: &Caller, hello: &Hello) -> Result<(), Refusal>;

    /// Opens a session: counts it, makes its number and epoch durable, and says where the
    /// replica stands. No other session of the machine is live.
    ///
    /// # Errors
    /// The refusal that the peer is told.
    async fn hello(&self, peer: &Caller, hello: &Hello) -> Result<Welcomed, Refusal>;

    /// Answers a letter of this peer. What the answer promises is durable when it is given.
    ///
    /// # Errors
    /// The refusal that the peer is told.
    async fn letter(&self, _peer: &Caller, _letter: Bytes) -> Result<Bytes, Refusal> {
        let advice = "write to a host that runs a whole agent";
        Err(Refusal::new(RefusalCode::Other, "nobody here reads letters", advice))
    }
}

/// A session the owner consents to.
pub struct Welcomed {
    /// What the source is told. A held cycle goes on only if the source asks for it by the
    /// session that opened it; otherwise [`Receiver::abort`] is called for it.
    pub acceptance: Acceptance,
    /// Does the session's work.
    pub receiver: Box<dyn Receiver>,
}

/// Does the work of one session, one call at a time, in the order in which the source
/// sent it.
///
/// After a call for a cycle has returned a [`Failure`], the cycle must be gone: nothing
/// more is called for it.
#[async_trait]
pub trait Receiver: Send {
    /// A cycle begins.
    ///
    /// # Errors
    /// The source is told, and the cycle is gone.
    async fn open_cycle(&mut self, open: &OpenCycle) -> Result<(), Failure>;

    /// Stores records of a disk; it need not make them durable. The credit goes back to
    /// the source when this returns.
    ///
    /// # Errors
    /// The source is told, and the cycle is gone.
    async fn append(&mut self, disk: &DiskKey, records: Vec<Record>) -> Result<(), Failure>;

    /// Makes the cycle durable. The point must have the epoch's number, the cycle's number
    /// and the root digest of `seal`.
    ///
    /// # Errors
    /// The source is told, and the cycle is gone.
    async fn seal(&mut self, seal: Seal) -> Result<PointRef, Failure>;

    /// The open cycle is given up: forget what was appended.
    async fn abort(&mut self, cycle: u64, why: &Failure);

    /// Digests of a disk as of the last sealed element, from a cluster on.
    ///
    /// # Errors
    /// The session is ended with the failure's texts.
    async fn digests(&mut self, disk: &DiskKey, from: u64) -> Result<DigestPage, Failure>;

    /// The session is over; called exactly once, last. `held` is the cycle that is still
    /// open: the owner may keep it and offer it in the next [`Acceptance`].
    async fn lost(&mut self, held: Option<Held>);
}
