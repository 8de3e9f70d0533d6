//! The matrix passes over the sample jobs, and catches every mistake made on purpose.

use serde_json::json;

use super::sample::registry;
use crate::{Bug, matrix};

#[test]
fn every_story_of_the_sample_jobs_ends_well() {
    let registry = registry();
    let kinds: Vec<_> = registry.kinds().collect();
    assert_eq!(kinds, ["no-return", "sample"]);
    for kind in kinds {
        let tried = matrix::run(&registry, kind, &json!({ "machines": 2 })).unwrap_or_else(|e| panic!("{e}"));
        assert!(tried.stories > 200 && tried.effects > tried.stories, "{kind}: {tried:?}");
    }
}

#[test]
fn each_deliberate_mistake_is_caught() {
    for (bug, word) in [
        (Bug::NewIdAfterCrash, "attempt"),
        (Bug::SilentAfterCrash, "nothing but time"),
        (Bug::RetryLost, "id"),
        (Bug::LostIsNotUndone, "said to be"),
        (Bug::OutcomeTwice, ""),
    ] {
        let registry = registry().with_bug(bug);
        let found = ["sample", "no-return"]
            .into_iter()
            .find_map(|kind| matrix::run(&registry, kind, &json!({ "machines": 2 })).err());
        let broken = found.unwrap_or_else(|| panic!("{bug:?} was not caught"));
        assert!(broken.what.contains(word), "{bug:?}: {broken}");
    }
}
