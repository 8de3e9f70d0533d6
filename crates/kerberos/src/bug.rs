//! Deliberate bugs, switched on by tests to see that the tests catch them. Without the
//! feature `deliberate-bugs` nothing can be switched on, and the questions compile away.

#[cfg(feature = "deliberate-bugs")]
use std::sync::{Mutex, PoisonError};

/// What goes wrong on purpose.
#[cfg_attr(not(feature = "deliberate-bugs"), expect(unreachable_pub, reason = "seen by tests alone"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Whatever channel the peer names is taken for this one.
    BindingNotChecked,
    /// A peer that names no channel at all gets in.
    BindingLeftOut,
    /// Whoever has a ticket gets in.
    AssignmentNotChecked,
}

#[cfg(feature = "deliberate-bugs")]
static ACTIVE: Mutex<Option<Bug>> = Mutex::new(None);

/// Whether the bug is switched on in this process.
#[cfg(feature = "deliberate-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    *ACTIVE.lock().unwrap_or_else(PoisonError::into_inner) == Some(bug)
}

/// No bug can be switched on in a program.
#[cfg(not(feature = "deliberate-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// Switches a bug on in this process until the guard is dropped.
#[cfg(feature = "deliberate-bugs")]
#[must_use]
pub fn plant(bug: Bug) -> Planted {
    *ACTIVE.lock().unwrap_or_else(PoisonError::into_inner) = Some(bug);
    Planted
}

/// Takes the bug away when dropped, also by a panic.
#[cfg(feature = "deliberate-bugs")]
#[derive(Debug)]
pub struct Planted;

#[cfg(feature = "deliberate-bugs")]
impl Drop for Planted {
    fn drop(&mut self) {
        *ACTIVE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
