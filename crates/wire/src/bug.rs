//! Deliberate bugs, switched on by tests to see that the tests catch them. Never part of
//! a program: the module exists only in tests and behind the feature `deliberate-bugs`.

use std::cell::Cell;

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Nothing.
    None,
    /// Checksums are not compared.
    SkipCrc,
    /// After a cut, the source forgets the frames it still owes.
    ForgetResend,
    /// The source takes its Seal for acknowledged when a resumed session still holds the cycle.
    AckEarly,
    /// The target forgets to count the records of a cycle.
    SkipCount,
    /// The source ignores the window.
    IgnoreWindow,
}

thread_local! {
    static ACTIVE: Cell<Bug> = const { Cell::new(Bug::None) };
}

/// Whether the bug is switched on in this thread.
#[must_use]
pub fn is(bug: Bug) -> bool {
    ACTIVE.get() == bug
}

/// Switches a bug on in this thread until the guard is dropped.
#[must_use]
pub fn plant(bug: Bug) -> Planted {
    ACTIVE.set(bug);
    Planted
}

/// Takes the bug away when dropped, also by a panic.
#[derive(Debug)]
pub struct Planted;

impl Drop for Planted {
    fn drop(&mut self) {
        ACTIVE.set(Bug::None);
    }
}
