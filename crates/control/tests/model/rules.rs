//! The exploration itself.

use farshore_protection::{
    Operation, State,
    bug::{Bug, plant},
};

use crate::{
    acts::Act,
    attacks::Story,
    explore::{Found, explore},
    settle::Settler,
    world::World,
};

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
    let stopped = protected().with(order(Operation::PlannedFailover)).both_told().with(Act::Next(0));
    let sealed = stopped.clone().run_until_sealed();
    let failed_over = protected().with(order(Operation::UnplannedFailover));
    let alone = protected().with(Act::Cut).with(Act::Alone { at: 1, force: true });
    let backed_up = protected().with(Act::Backup(0)).with(order(Operation::PlannedFailover)).converged();
    let moved_over = || protected().with(order(Operation::PlannedFailover)).converged();
    let flattening = moved_over().with(order(Operation::Commit)).with(order(Operation::Flatten)).both_told();
    let committed = || failed_over.clone().converged().with(order(Operation::Commit)).converged();
    vec![
        ("protected", World::protected()),
        ("planned failover ordered", ordered(Operation::PlannedFailover)),
        ("last cycle", stopped.clone().heard_by(0).refill().world),
        ("sealed", sealed.refill().world),
        ("moved over", moved_over().refill().world),
        ("failed over", failed_over.clone().converged().refill().world),
        ("taken over alone", alone.clone().refill().world),
        ("restored", backed_up.with(Act::Restore(0)).refill().world),
        ("drill ordered", ordered(Operation::TestFailover)),
        ("drill open", protected().with(order(Operation::TestFailover)).converged().refill().world),
        ("flattening", flattening.refill().world),
        ("committed", committed().refill().world),
        ("contested", alone.clone().with(Act::Mend).converged().refill().world),
        ("promoted", protected().with(Act::Cut).with(Act::Promote(1)).refill().world),
    ]
}

/// What is found from all beginnings, up to the first fault.
fn search(states: usize) -> Found {
    let beginnings = beginnings();
    let each = states / beginnings.len();
    let (mut all, mut settler) = (Found::default(), Settler::default());
    for (name, world) in &beginnings {
        let found = explore(world, each, &mut settler);
        all.states += found.states;
        all.tried += found.tried;
        all.ordered.extend(found.ordered);
        all.lives.extend(found.lives);
        if let Some(fault) = found.fault {
            return Found { fault: Some(format!("from '{name}': {fault}")), ..all };
        }
    }
    all
}

#[test]
fn nothing_that_must_never_be_is_in_any_order_of_what_can_happen() {
    let found = search(states());
    assert!(found.fault.is_none(), "{}", found.fault.unwrap_or_default());
    println!("{} worlds, of {} a way out was looked for", found.states, found.tried);
    assert!(found.states >= states() * 3 / 4, "only {} worlds", found.states);
    assert!(found.tried * 9 >= found.states, "only {} worlds were tried for a way out", found.tried);
    // The whole of a life is gone through: everything that can be ordered was carried out.
    let left = |operation: &Operation| !found.ordered.contains(operation);
    let never: Vec<Operation> = Operation::ALL.into_iter().filter(left).collect();
    assert_eq!(never, [], "never ordered");
    let never: Vec<State> = State::ALL.into_iter().filter(|state| !found.lives.contains(state)).collect();
    assert_eq!(never, [], "no life was ever in these states");
}

/// That the exploration can find anything. What takes more steps than the usual run goes is
/// planted one by one in the stories of `attacks` and in the tests of the life.
#[test]
fn a_machine_that_is_brought_up_beside_one_that_runs_is_found() {
    let _planted = plant(Bug::ProbesNobody);
    let fault = search(STATES).fault.unwrap_or_default();
    assert!(fault.contains("runs on both sides"), "{fault}");
}

#[test]
fn a_machine_that_is_started_after_a_boot_because_it_never_ran_there_is_found() {
    let _planted = plant(Bug::StartsUnasked);
    let fault = search(STATES).fault.unwrap_or_default();
    assert!(fault.contains("without a witness"), "{fault}");
}
