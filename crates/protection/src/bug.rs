//! Deliberate bugs, switched on by tests to see that the tests catch them. Without the feature
//! `deliberate-bugs` nothing can be switched on, and the questions compile away.

#[cfg(feature = "deliberate-bugs")]
use std::cell::Cell;

/// What goes wrong on purpose.
#[cfg_attr(not(feature = "deliberate-bugs"), expect(unreachable_pub, reason = "seen by tests alone"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An order is carried out though its protection changed since it was looked at.
    IgnoresVersion,
    /// Cancelling lets the old side run before the new one is known to have stopped (R3).
    CancelsUnsealed,
    /// A planned failover starts the machine at the target when the source says that it was
    /// stopped, without a seal (R3).
    StartsUnsealed,
    /// A sealed machine whose target is lost has no way out.
    TrapsSealed,
    /// An unplanned failover waits for a resync.
    WaitsForResync,
    /// An unplanned failover issues no epoch (R1).
    IssuesNone,
    /// What is reported by an epoch of before counts.
    HearsTheDead,
    /// An operation is refused without saying what to do instead.
    SaysNothing,
    /// What a host took over by itself is adopted though the machine runs on the other one.
    AdoptsBlindly,
    /// An answer of the own site, or of before, lets a machine start (R8).
    BelievesAnybody,
    /// A guest is stopped on a peer's word.
    StopsOnRumour,
    /// A guest is stopped on a host that is neither source nor target: one that was migrated.
    FencesBystanders,
    /// A document of before stops a guest (R7).
    StopsFromCache,
    /// A machine is sealed before the other side has everything.
    SealsEarly,
    /// Of two epochs of one number, whoever asks is answered by its own (R4, R8).
    AnswersTwins,
    /// A machine is shut down to be moved to where it cannot be started.
    MovesBlindly,
    /// A guest that goes down late, for a move that was given up, stays off.
    ForgetsItAsked,
    /// What somebody starts behind its seal runs on.
    RunsBehindItsSeal,
    /// After a boot a machine that is to run is started unless it ran here before (R8).
    StartsUnasked,
    /// A machine is brought up without asking whether it runs on the other side.
    ProbesNobody,
    /// An unplanned failover leaves a test failover open, for the owner of before.
    KeepsDrill,
    /// The copy of a test failover that no vault knows of any more stays for ever.
    LosesDrills,
    /// A test failover issues an epoch, as if it were a failover.
    DrillOwns,
    /// Cycles run while disks are flattened.
    FlattensBeside,
    /// Cycles run though replication is paused.
    SendsPaused,
}

#[cfg(feature = "deliberate-bugs")]
thread_local! {
    static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether the bug is switched on in this thread.
#[cfg(feature = "deliberate-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    ACTIVE.get() == Some(bug)
}

/// No bug can be switched on in a program.
#[cfg(not(feature = "deliberate-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// Switches a bug on in this thread until the guard is dropped.
#[cfg(feature = "deliberate-bugs")]
#[must_use]
pub fn plant(bug: Bug) -> Planted {
    ACTIVE.set(Some(bug));
    Planted
}

/// Takes the bug away when dropped, also by a panic.
#[cfg(feature = "deliberate-bugs")]
#[derive(Debug)]
pub struct Planted;

#[cfg(feature = "deliberate-bugs")]
impl Drop for Planted {
    fn drop(&mut self) {
        ACTIVE.set(None);
    }
}
