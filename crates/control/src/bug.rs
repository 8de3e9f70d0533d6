//! Deliberate bugs, switched on by tests to see that the tests catch them: each breaks one of
//! the rules of ownership. Without the feature `deliberate-bugs` nothing can be switched on,
//! and the questions compile away.

#[cfg(feature = "deliberate-bugs")]
use std::cell::Cell;

/// What goes wrong on purpose.
#[cfg_attr(not(feature = "deliberate-bugs"), expect(unreachable_pub, reason = "seen by tests alone"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// R1: the epoch of before is issued again.
    IssuesAgain,
    /// R3: a machine that was handed over is started again.
    StartsSealed,
    /// R4: two vaults of one term are taken for one.
    FollowsBoth,
    /// R7: requests never expire.
    NeverExpires,
    /// R8: a host that has booted starts its machines, whatever the other side says.
    AsksNobody,
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
