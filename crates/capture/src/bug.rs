//! Deliberate bugs, switched on by tests to see that the tests catch them: by
//! [`plant`] in the test's own process, or by `FARSHORE_BUG` in an agent's. Without the
//! feature `deliberate-bugs` nothing can be switched on, and the questions compile away.

/// What goes wrong on purpose.
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
    /// A point is called application-consistent because a freeze was tried.
    LabelsAnyFreeze,
    /// The guest is thawed before the instant.
    ThawsEarly,
    /// A thaw whose answer was lost is taken for done.
    TrustsLostThaw,
    /// A guest that was left frozen is not looked at.
    ForgetsFrozen,
    /// A freeze that nobody waits for any more is taken for one that never comes.
    ForgetsLateFreeze,
    /// Disks are made a machine's own whatever room there is.
    FillsStorage,
}

#[cfg(feature = "deliberate-bugs")]
fn wanted() -> Option<Bug> {
    let all = [
        Bug::TrustTracking,
        Bug::BlindWatch,
        Bug::NoWitness,
        Bug::IdleWatchdog,
        Bug::BelieveBlocks,
        Bug::LabelsAnyFreeze,
        Bug::ThawsEarly,
        Bug::TrustsLostThaw,
        Bug::ForgetsFrozen,
        Bug::ForgetsLateFreeze,
        Bug::FillsStorage,
    ];
    let wanted = std::env::var("FARSHORE_BUG").unwrap_or_default();
    all.into_iter().find(|bug| format!("{bug:?}") == wanted)
}

farshore_bugs::switch!(process, Bug, wanted());
