//! Deliberate bugs, switched on by tests to see that the tests catch them: each breaks one of
//! the rules of ownership; those of a host alone are in `ownership`. Without the feature `deliberate-bugs` nothing can be switched on,
//! and the questions compile away.

/// What goes wrong on purpose.
#[cfg_attr(not(feature = "deliberate-bugs"), expect(unreachable_pub, reason = "seen by tests alone"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// R4: two vaults of one term are taken for one.
    FollowsBoth,
    /// R7: requests never expire.
    NeverExpires,
}

farshore_bugs::switch!(thread, Bug);
