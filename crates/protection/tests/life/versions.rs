//! Orders name the version that they saw; the later one of two learns of the first.

use crate::{Ways, all_lives};
use farshore_protection::{
    Event, Life, Operation, Order, State,
    bug::{Bug, plant},
};

/// Two people look at the same failover, and one orders after the other.
fn both_orders_count() -> Vec<String> {
    let mut found = Vec::new();
    let choices = [Operation::Commit, Operation::Cancel, Operation::ChangePoint];
    let life = Life::example(State::FailedOver);
    let facts = life.example_facts();
    for first in choices {
        let after = life.does(first, &facts).unwrap();
        for second in choices {
            let late =
                after.order_now(Order { seen: Some(life.version), ..life.example_order(second, 8) }, &facts);
            match late {
                Err(reason) if reason.code == "changed-meanwhile" => {
                    assert!(reason.what.contains(after.state().name()), "{reason}");
                }
                _ => found.push(format!("{} after {}", second.name(), first.name())),
            }
        }
    }
    found
}

#[test]
fn the_later_of_two_orders_is_told_of_the_first() {
    assert_eq!(both_orders_count(), Vec::<String>::new());
}

#[test]
fn an_order_that_is_carried_out_on_what_nobody_saw_is_caught() {
    let _planted = plant(Bug::IgnoresVersion);
    assert!(!both_orders_count().is_empty());
}

#[test]
fn the_three_choices_after_a_failover_must_say_what_they_saw() {
    for life in all_lives() {
        for operation in Operation::ALL.into_iter().filter(|operation| operation.names_its_version()) {
            let order = Order { seen: None, ..life.example_order(operation, 8) };
            assert_eq!(life.order_now(order, &life.example_facts()).unwrap_err().code, "changed-meanwhile");
        }
    }
}

#[test]
fn cycles_and_drills_make_nobodys_order_stale() {
    for state in [State::Protected, State::MovedOver] {
        let life = Life::example(state);
        let facts = life.example_facts();
        let lost = life.hears(Event::TrackerLost, &facts);
        assert_ne!(lost, life);
        assert_eq!(lost.version, life.version);
        assert_eq!(life.does(Operation::Pause, &facts).unwrap().version, life.version);
    }
}

#[test]
fn a_step_that_changes_nothing_gives_the_same_life() {
    for life in all_lives() {
        let again = life.hears(
            Event::Owned { epoch: life.epoch, owner: life.source, alone: false, twice: false },
            &life.example_facts(),
        );
        assert_eq!(again, life);
    }
}

/// Reports by the epoch of an owner before.
fn dead_are_heard() -> bool {
    all_lives().any(|life| {
        let epoch = farshore_types::Epoch { number: life.epoch.number, token: 4242 };
        life.example_reports().into_iter().any(|(_, event)| {
            let owned = matches!(event, Event::Owned { .. });
            let report = farshore_protection::Report { epoch, event };
            let step = life.step(&farshore_protection::Input::Report(report), &life.example_facts()).unwrap();
            !owned && step.life != life
        })
    })
}

#[test]
fn what_is_reported_by_an_owner_of_before_says_nothing_about_now() {
    assert!(!dead_are_heard());
}

#[test]
fn a_life_that_hears_the_dead_is_caught() {
    let _planted = plant(Bug::HearsTheDead);
    assert!(dead_are_heard());
}
