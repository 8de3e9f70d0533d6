//! The kill matrix of transactions: in whatever state an order is given, whoever dies at
//! whichever of the transactions that follow, before it is stored or after, the story ends where
//! the order leads. What is in the matrices is what there is to be ordered.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use farshore_protection::{Input, Life, Operation};

use super::{
    courses::{Course, WITH_JOBS, WITHOUT},
    failover::protected,
    kills::{Story, set},
    strikes::{Instant, Kill, Place, Process},
    world::World,
};
use crate::{Bug, jobs};

/// Most rounds of one story.
const ROUNDS: usize = 40;

/// Who dies when. What an agent keeps is not the vault's transaction: there is no before.
const DEATHS: [(Process, Instant); 5] = [
    (Process::Vault, Instant::BeforeEffect),
    (Process::Vault, Instant::AfterRecord),
    (Process::Site, Instant::AfterEffect),
    (Process::Site, Instant::AfterRecord),
    (Process::Agent, Instant::AfterRecord),
];

fn play(course: &'static Course, set: &World, kill: Kill) -> World {
    let mut world = set.clone();
    world.kill = Some(kill);
    let order = course.command(&world);
    world.insist(&order);
    (course.then)(&mut world);
    for round in 0..ROUNDS {
        world.round();
        world.pass(course.pace_ms);
        if round > 2 && world.core.jobs().all(|row| !row.is_open()) {
            break;
        }
    }
    // What is left to be said is said.
    world.rounds(3);
    world
}

/// Transactions of an undisturbed story.
fn commits(course: &'static Course, set: &World) -> usize {
    let at = Place::Commit { after: usize::MAX };
    let (process, instant) = DEATHS[0];
    let world = play(course, set, Kill { at, process, instant, fired: false });
    course.is_where_it_was_to_come(&world);
    let Some(Kill { at: Place::Commit { after }, .. }) = world.kill else { unreachable!() };
    usize::MAX - after
}

#[test]
fn whoever_dies_at_whichever_transaction_every_order_leads_where_it_leads() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for course in WITH_JOBS.iter().chain(WITHOUT) {
        let set = set(Story::Life(course));
        for after in 0..commits(course, &set) {
            for (process, instant) in DEATHS {
                let at = Place::Commit { after };
                let case = format!("{:?}: {after} {process:?} {instant:?}", Story::Life(course));
                let ends = || {
                    let world = play(course, &set, Kill { at, process, instant, fired: false });
                    assert!(world.kill.as_ref().is_some_and(|kill| kill.fired), "nobody died");
                    course.is_where_it_was_to_come(&world);
                    assert!(world.core.jobs().all(|row| !row.is_open()), "a job waits");
                };
                let well = catch_unwind(AssertUnwindSafe(ends)).is_ok();
                wrong.extend((!well).then_some(case));
                cases += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases}: {wrong:#?}", wrong.len());
    assert!(cases > 400, "{cases}");
}

#[test]
fn a_vault_that_leaves_its_jobs_after_a_death_is_caught_at_a_transaction() {
    let course = &WITH_JOBS[0];
    let mut set = set(Story::Life(course));
    set.bug = Some(Bug::LeavesJobs);
    let (process, instant) = DEATHS[1];
    let world = play(course, &set, Kill { at: Place::Commit { after: 0 }, process, instant, fired: false });
    assert!(world.core.jobs().any(crate::rows::JobRow::is_open));
}

/// The orders of a life that begin a job of whichever kind, as the shipped code has it.
fn begun() -> BTreeSet<(Operation, &'static str)> {
    let mut begun = BTreeSet::new();
    let row = protected().row().clone();
    let orders = |life: &Life, operation| {
        let order = life.example_order(operation, 5);
        life.step(&Input::Order(Box::new(order)), &life.example_facts()).ok().map(|step| step.life)
    };
    let examples = Life::examples();
    // With a test failover, too.
    let drilled = examples.iter().filter_map(|life| orders(life, Operation::TestFailover));
    for life in drilled.chain(examples.iter().cloned()) {
        for operation in Operation::ALL {
            for tries in [false, true] {
                let mut order = life.example_order(operation, 5);
                order.try_to_stop = tries && operation == Operation::UnplannedFailover;
                let Ok(step) = life.step(&Input::Order(Box::new(order.clone())), &life.example_facts())
                else {
                    continue;
                };
                let row = crate::rows::ProtectionRow { life: step.life, ..row.clone() };
                let course = step.begins.and_then(|begin| jobs::Course::of(&row, begin, &order, ["a", "b"]));
                begun.extend(course.map(|(kind, _)| (operation, kind.name())));
            }
        }
    }
    begun
}

#[test]
fn every_order_is_in_the_matrix_and_every_one_that_begins_a_job_by_its_kind() {
    let played = |courses: &[Course]| -> BTreeSet<(Operation, &'static str)> {
        courses.iter().map(|course| (course.operation, course.kind.name())).collect()
    };
    assert_eq!(played(WITH_JOBS), begun());
    // Their jobs are no courses: they are made by commands of their own.
    let own = [Operation::Enable, Operation::Disable, Operation::Resync];
    let all = WITH_JOBS.iter().chain(WITHOUT).map(|course| course.operation).chain(own);
    assert_eq!(all.collect::<BTreeSet<_>>(), Operation::ALL.into());
}
