//! The tests are tested: each deliberate bug is caught by the check that is there for it.

use super::{flips::flip_everything, model::play, order::a_miscounted_seal};
use crate::bug::{Bug, plant};

fn caught_by_the_model(bug: Bug) -> Vec<String> {
    let _planted = plant(bug);
    (0..30).filter_map(|seed| play(seed, 1000).err()).collect()
}

#[test]
fn frames_not_sent_again_are_caught() {
    let caught = caught_by_the_model(Bug::ForgetResend);
    let noticed = |why: &String| why.contains("was due") || why.contains("arrived");
    assert!(caught.len() > 5 && caught.iter().all(noticed), "{caught:?}");
}

#[test]
fn an_early_acknowledgement_is_caught() {
    let caught = caught_by_the_model(Bug::AckEarly);
    assert!(caught.iter().any(|why| why.contains("acknowledged, the replica holds")), "{caught:?}");
}

#[test]
fn an_ignored_window_is_caught() {
    let caught = caught_by_the_model(Bug::IgnoreWindow);
    assert!(caught.iter().any(|why| why.contains("window")), "{caught:?}");
}

#[test]
fn checksums_not_compared_are_caught() {
    let _planted = plant(Bug::SkipCrc);
    assert!(std::panic::catch_unwind(flip_everything).is_err());
}

#[test]
fn records_not_counted_are_caught() {
    assert!(a_miscounted_seal().is_ok());
    let _planted = plant(Bug::SkipCount);
    assert!(a_miscounted_seal().is_err());
}
