//! Deliberate bugs, switched on by tests to see that the tests catch them. Without the
//! feature `deliberate-bugs` nothing can be switched on, and the questions compile away.

#[cfg(feature = "deliberate-bugs")]
use std::cell::Cell;

/// What goes wrong on purpose.
#[cfg_attr(not(feature = "deliberate-bugs"), expect(unreachable_pub, reason = "seen by tests alone"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A seal is acknowledged without its data being durable.
    SkipImageSync,
    /// A delta file's name is not made durable.
    SkipDirSync,
    /// A sync that failed is asked for again, and its success believed.
    RetryFailedSync,
    /// Places are punched before the delta that makes them free is durable.
    FreeBeforeDurable,
    /// Freed places are used again while other programs read.
    NoQuarantine,
    /// A header is written before the tables that it names are durable.
    HeaderBeforeTables,
    /// What a patch makes is not compared with its digest.
    SkipPatchCheck,
    /// A seal's root digest is not compared.
    SkipRootCheck,
    /// Points that were pruned stay.
    KeepPruned,
    /// Opening overlooks what the oldest element uses.
    ReuseInUse,
    /// Opening overlooks what elements refer to that were set aside.
    ReuseSetAside,
    /// Points age by the wall clock, however it jumps.
    AgeByWallClock,
    /// Cycles fill the disk to its last byte.
    NoReserve,
    /// A cycle that was given up keeps its space.
    KeepGivenUp,
    /// Opening does not finish a bring-up that was cut.
    SkipRedo,
    /// An image's tables are believed whatever they say.
    TrustTables,
    /// Building tables anew forgets points that only they know.
    ForgetRescued,
    /// A scrub reads the newest element and no other.
    ScrubNewestOnly,
    /// A disk that went away keeps its points published and its places.
    KeepGoneDisks,
    /// What an adopted disk holds beyond a disk that was smaller is shown again.
    ShowAdopted,
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
