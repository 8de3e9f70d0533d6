//! Deliberate bugs, switched on by tests to see that the tests catch them. Without the
//! feature `deliberate-bugs` nothing can be switched on, and the questions compile away.

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

farshore_bugs::switch!(process, Bug, None);
