//! Whether a machine could be started on the other side, found out before it is shut down here.

use farshore_protection::bug::{Bug, plant};

use super::*;

fn nowhere_to_start() -> Facts {
    let well = Facts::well();
    let why = Some("there is no network 'lan'; make it".to_owned());
    Facts { target: Seen { could_not_start: why, ..well.target.clone() }, ..well }
}

/// Operations that are carried out though the machine cannot be started there.
fn carried_out() -> Vec<Operation> {
    let facts = nowhere_to_start();
    let steady = all_lives().find(|life| life.judge(&Facts::well(), Operation::PlannedFailover).is_allowed());
    let steady = steady.expect("a life that can be moved");
    Operation::ALL.into_iter().filter(|op| steady.judge(&facts, *op).is_allowed()).collect()
}

#[test]
fn nothing_is_moved_by_plan_to_where_it_could_not_start_and_after_a_disaster_it_is_tried() {
    let carried_out = carried_out();
    assert!(!carried_out.contains(&Operation::PlannedFailover), "{carried_out:?}");
    assert!(carried_out.contains(&Operation::UnplannedFailover), "{carried_out:?}");
    assert!(carried_out.contains(&Operation::TestFailover), "{carried_out:?}");
}

#[test]
fn a_machine_that_is_moved_blindly_is_caught() {
    let _planted = plant(Bug::MovesBlindly);
    assert!(carried_out().contains(&Operation::PlannedFailover));
}
