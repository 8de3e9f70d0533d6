//! Deliberate bugs, switched on by tests to see that the tests catch them: by
//! [`plant`] in the test's own process, or by `FARSHORE_BUG` in an agent's. Without the
//! feature `deliberate-bugs` nothing can be switched on, and the questions compile away.

#[cfg(feature = "deliberate-bugs")]
use std::sync::{Mutex, OnceLock, PoisonError};

/// What goes wrong on purpose.
#[cfg_attr(not(feature = "deliberate-bugs"), expect(unreachable_pub, reason = "seen by tests alone"))]
#[cfg_attr(not(feature = "deliberate-bugs"), expect(dead_code, reason = "some are the agent's"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// After the record of changes was lost, nothing is taken to have changed.
    TrustTracking,
    /// A cycle does not look after the guest that it may stop.
    BlindWatch,
    /// Nothing is read beside what the bitmap says.
    NoWitness,
    /// The watchdog looks on.
    IdleWatchdog,
    /// What is known of a cluster's blocks is believed whatever the cluster has become.
    BelieveBlocks,
}

#[cfg(feature = "deliberate-bugs")]
fn active() -> &'static Mutex<Option<Bug>> {
    static ACTIVE: OnceLock<Mutex<Option<Bug>>> = OnceLock::new();
    ACTIVE.get_or_init(|| {
        let all =
            [Bug::TrustTracking, Bug::BlindWatch, Bug::NoWitness, Bug::IdleWatchdog, Bug::BelieveBlocks];
        let wanted = std::env::var("FARSHORE_BUG").unwrap_or_default();
        Mutex::new(all.into_iter().find(|bug| format!("{bug:?}") == wanted))
    })
}

/// Whether the bug is switched on in this process.
#[cfg(feature = "deliberate-bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    *active().lock().unwrap_or_else(PoisonError::into_inner) == Some(bug)
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
    *active().lock().unwrap_or_else(PoisonError::into_inner) = Some(bug);
    Planted
}

/// Takes the bug away when dropped, also by a panic.
#[cfg(feature = "deliberate-bugs")]
#[derive(Debug)]
pub struct Planted;

#[cfg(feature = "deliberate-bugs")]
impl Drop for Planted {
    fn drop(&mut self) {
        *active().lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
