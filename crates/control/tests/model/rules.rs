//! The exploration itself.

use farshore_protection::{
    Operation,
    bug::{Bug, plant},
};

use crate::{acts::Act, attacks::Story, explore::explore, world::World};

/// Worlds in a usual run, over all beginnings.
const STATES: usize = 100_000;

fn states() -> usize {
    std::env::var("FARSHORE_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(STATES)
}

/// Beginnings from which few steps lead to what is hard to reach.
fn beginnings() -> Vec<(&'static str, World)> {
    let order = |operation| Act::Order { vault: 0, operation, winner: 0 };
    let protected = || Story::begin(World::protected());
    let ordered = |operation| protected().with(order(operation)).refill().world;
    let sealed =
        protected().with(order(Operation::PlannedFailover)).both_told().with(Act::Next(0)).run_until_sealed();
    let failed_over = protected().with(order(Operation::UnplannedFailover));
    let alone = protected().with(Act::Cut).with(Act::Alone { at: 1, force: true });
    let backed_up = protected().with(Act::Backup(0)).with(order(Operation::PlannedFailover)).converged();
    vec![
        ("protected", World::protected()),
        ("planned failover ordered", ordered(Operation::PlannedFailover)),
        ("sealed", sealed.refill().world),
        ("moved over", protected().with(order(Operation::PlannedFailover)).converged().refill().world),
        ("failed over", failed_over.converged().refill().world),
        ("taken over alone", alone.refill().world),
        ("restored", backed_up.with(Act::Restore(0)).refill().world),
        ("promoted", protected().with(Act::Cut).with(Act::Promote(1)).refill().world),
    ]
}

/// What is found from all beginnings: how many worlds, and the first fault.
fn search(states: usize) -> (usize, Option<String>) {
    let beginnings = beginnings();
    let each = states / beginnings.len();
    let mut all = 0;
    for (name, world) in &beginnings {
        let found = explore(world, each);
        all += found.states;
        if let Some(fault) = found.fault {
            return (all, Some(format!("from '{name}': {fault}")));
        }
    }
    (all, None)
}

#[test]
fn nothing_that_must_never_be_is_in_any_order_of_what_can_happen() {
    let (states_seen, fault) = search(states());
    assert_eq!(fault, None, "{}", fault.as_deref().unwrap_or_default());
    println!("{states_seen} worlds");
    assert!(states_seen >= states() * 3 / 4, "only {states_seen} worlds");
}

/// That the exploration can find anything. What takes more steps than the usual run goes is
/// planted one by one in the stories of `attacks` and in the tests of the life.
#[test]
fn a_machine_that_is_brought_up_beside_one_that_runs_is_found() {
    let _planted = plant(Bug::ProbesNobody);
    let fault = search(STATES).1.unwrap_or_default();
    assert!(fault.contains("runs on both sides"), "{fault}");
}

#[test]
fn a_machine_that_is_started_after_a_boot_because_it_never_ran_there_is_found() {
    let _planted = plant(Bug::StartsUnasked);
    let fault = search(STATES).1.unwrap_or_default();
    assert!(fault.contains("without a witness"), "{fault}");
}
