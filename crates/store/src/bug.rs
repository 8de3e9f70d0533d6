//! Deliberate bugs, switched on by tests through [`Options`](crate::Options) to see that the
//! tests catch them. Without the feature `deliberate-bugs` nothing can be switched on, and
//! the questions compile away.

/// What goes wrong on purpose.
#[cfg_attr(not(feature = "deliberate-bugs"), expect(unreachable_pub, reason = "seen by tests alone"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A transaction is acknowledged before it is committed.
    AckBeforeCommit,
    /// Transactions do not ask whether somebody else took the store over.
    NoFence,
    /// After a commit broke off, the first look at the database is believed, though the
    /// commit may still be on its way.
    BelieveFirstLook,
    /// The disk is full at a few hundred KB. No bug of ours, but nothing else makes a disk
    /// full without being root.
    SmallDisk,
    /// One failing precondition fails everybody of its group.
    FailTogether,
}
