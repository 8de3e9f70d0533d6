//! Deliberate bugs, switched on by tests to see that the tests catch them: each breaks one of
//! the rules of ownership. Without the feature `deliberate-bugs` nothing can be switched on,
//! and the questions compile away.

/// What goes wrong on purpose.
#[cfg_attr(not(feature = "deliberate-bugs"), expect(unreachable_pub, reason = "seen by tests alone"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// R1: the epoch of before is issued again.
    IssuesAgain,
    /// R3: a machine that was handed over is started again.
    StartsSealed,
    /// R8: a host that has booted starts its machines, whatever the other side says.
    AsksNobody,
}

farshore_bugs::switch!(thread, Bug);
