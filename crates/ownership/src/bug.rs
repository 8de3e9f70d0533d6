//! Deliberate bugs, switched on by tests to see that the tests catch them: each breaks one of
//! the rules of ownership. Without the feature `deliberate-bugs` nothing can be switched on,
//! and the questions compile away.

/// What goes wrong on purpose.
#[cfg_attr(not(feature = "deliberate-bugs"), expect(unreachable_pub, reason = "seen by tests alone"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// R1: the epoch of before is issued again.
    IssuesAgain,
    /// R1: an epoch is issued by who decided by another one than the highest known.
    IssuesFromAny,
    /// R2: an epoch of before takes the place of a higher one.
    TakesLower,
    /// R3: a machine that was handed over is started again.
    StartsSealed,
    /// R3: a seal is accepted though it was refused for good.
    AcceptsRefused,
    /// R3: a seal is accepted that is of another lineage than the one held.
    AcceptsAnySeal,
    /// R4: another token for an epoch's number that is known is no conflict.
    TakesTwins,
    /// R4: an epoch of before writes.
    LetsLowerWrite,
    /// R8: a host that has booted starts its machines, whatever the other side says.
    AsksNobody,
}

farshore_bugs::switch!(thread, Bug);
