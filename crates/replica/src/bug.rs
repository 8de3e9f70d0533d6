//! Deliberate bugs, switched on by tests to see that the tests catch them. Without the
//! feature `deliberate-bugs` nothing can be switched on, and the questions compile away.

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
    /// Overlays of an older point are folded as if they stood on the newest one.
    FoldOnNewest,
    /// Disks that a machine got while it ran on overlays are forgotten.
    ForgetAdded,
    /// What a machine wrote itself is as old as the moment at which it was made a point.
    AgeOwnFromNow,
}

farshore_bugs::switch!(thread, Bug);
