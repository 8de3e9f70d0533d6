//! No orderly step lets both sides run: who may run the machine changes only through an instant
//! at which nobody may, or by an order that a person has confirmed.

use farshore_ownership::Denied;
use farshore_types::Epoch;

use crate::{Ways, all_facts, all_lives};
use farshore_protection::{
    Event, Facts, Input, Life, Operation, Report, Speaks, Stage, Want,
    bug::{Bug, plant},
};

/// Every step from every life, and whether a person has confirmed it, or somebody else did it.
fn steps() -> Vec<(Life, String, bool, Life)> {
    let mut steps = Vec::new();
    for life in all_lives() {
        for facts in all_facts(&life).into_iter().filter(|facts| facts.speaks == Speaks::Yes) {
            for operation in Operation::ALL {
                if let Ok(next) = life.does(operation, &facts) {
                    steps.push((life.clone(), operation.name().to_owned(), operation.is_orderly(), next));
                }
            }
        }
        // What is reported counts whatever else is seen.
        for (_, event) in life.example_reports() {
            let orderly = !matches!(event, Event::Owned { .. });
            let label = format!("{event:?}");
            let input = Input::Report(Report { epoch: life.epoch, event });
            let next = life.step(&input, &life.example_facts()).unwrap().life;
            steps.push((life.clone(), label, orderly, next));
        }
    }
    steps
}

/// Steps after which both may run, or that hand the machine over with nothing in between.
fn doubles() -> Vec<String> {
    let wrong = |(from, by, orderly, to): (Life, String, bool, Life)| {
        let (before, after) = (from.may_run(), to.may_run());
        let both = after.len() > 1 && to.rival.is_none();
        let handed = orderly
            && !before.is_empty()
            && from.rival.is_none()
            && to.stage != Stage::Disabled
            && after.iter().any(|host| !before.contains(host));
        (both || handed).then(|| format!("{} by {by} to {}", from.state().name(), to.state().name()))
    };
    steps().into_iter().filter_map(wrong).collect()
}

/// A seal stands between the two sides: without one nothing of the hand-over's is accepted.
fn unsealed() -> Vec<String> {
    let accepted = |(from, by, _, to): (Life, String, bool, Life)| {
        let Stage::HandingOver(over) = &from.stage else { return None };
        let begun = matches!(to.stage, Stage::Starting { .. });
        (begun && over.last.is_none()).then(|| format!("{} by {by}", from.state().name()))
    };
    steps().into_iter().filter_map(accepted).collect()
}

#[test]
fn no_orderly_step_lets_both_sides_run() {
    assert_eq!(doubles(), Vec::<String>::new());
    assert_eq!(unsealed(), Vec::<String>::new());
}

#[test]
fn a_cancel_without_a_receipt_is_caught() {
    let _planted = plant(Bug::CancelsUnsealed);
    let found = doubles();
    assert!(!found.is_empty() && found.iter().all(|step| step.contains("by cancel")), "{found:?}");
}

#[test]
fn a_start_without_a_seal_is_caught() {
    let _planted = plant(Bug::StartsUnsealed);
    assert!(!unsealed().is_empty());
}

/// Every change of owner issues an epoch above all that is known, and nothing else does (R1).
fn epochs() -> Vec<String> {
    let wrong = |(from, by, _, to): (Life, String, bool, Life)| {
        let owner_changes = from.source != to.source || (to.stage != from.stage && is_taken(&to));
        let rose = to.epoch.number > from.epoch.number;
        let fell = to.epoch.number < from.epoch.number || to.issued.number < from.issued.number;
        let bad = fell || to.issued.number < to.epoch.number || (owner_changes && !rose);
        bad.then(|| format!("{} by {by} to {}", from.state().name(), to.state().name()))
    };
    steps().into_iter().filter_map(wrong).collect()
}

fn is_taken(life: &Life) -> bool {
    let Stage::BringingUp(up) = &life.stage else { return false };
    up.failed.is_none() && up.then != farshore_protection::Contest::OtherPoint
}

#[test]
fn every_change_of_owner_raises_the_epoch_and_none_falls() {
    assert_eq!(epochs(), Vec::<String>::new());
}

#[test]
fn an_unplanned_failover_that_issues_no_epoch_is_caught() {
    let _planted = plant(Bug::IssuesNone);
    assert!(epochs().iter().any(|step| step.contains("by unplanned-failover")));
}

#[test]
fn no_epoch_is_issued_below_one_that_a_host_holds() {
    let life = Life::example(farshore_protection::State::Protected);
    let epoch = Epoch { number: 8, token: 1 };
    let facts = Facts { known: vec![epoch], ..life.example_facts() };
    for operation in [Operation::PlannedFailover, Operation::UnplannedFailover] {
        let reason = life.does(operation, &facts).unwrap_err();
        assert_eq!(reason.code, "owner-changed");
        assert!(reason.what.contains(&Denied::Moved { held: 8, expected: 1 }.to_string()));
    }
}

#[test]
fn while_two_own_a_machine_nothing_is_started_stopped_or_sent() {
    for life in all_lives().filter(|life| life.rival.is_some()) {
        let wanted = life.wanted();
        assert_eq!((wanted.source, wanted.target, wanted.copies), (Want::Hold, Want::Hold, false));
    }
}
