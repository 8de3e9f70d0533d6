//! What people are told of a job that waits for a protection's life: why it waits, that it goes on
//! though somebody cancels it, and what of a test failover is kept.

use farshore_control::{report::Problem, standing::DrillStanding};
use farshore_job::Ending;
use farshore_protection::{Operation, Order, Stage, State};
use farshore_types::JobId;

use super::{
    courses,
    failover::protected,
    world::{World, id},
};
use crate::{Command, JobNow, Start};

fn now(world: &mut World, job: JobId) -> JobNow {
    let at = world.moment();
    world.core.job_now(job, &at).unwrap()
}

#[test]
fn why_a_copy_does_not_run_is_told_by_its_job_and_kept_with_its_record() {
    let mut world = protected();
    let at = world.target();
    world.hand(at, id(1)).broken = Some("it cannot be");
    let job = world.order(Operation::TestFailover).jobs[0];
    let order = world.row().life.drill.as_ref().unwrap().order;
    let (code, what) = ("drill".to_owned(), "no such network".to_owned());
    let failed = Some(Problem { code, what, advice: String::new() });
    let standing = DrillStanding { order, runs: false, name: "copy".to_owned(), at: None, failed };
    world.hand(at, id(1)).drill = Some(standing);
    world.rounds(2);
    let why = now(&mut world, job).waits["open"].clone();
    assert!(why.ends_with(": no such network; it is tried again"), "{why}");
    assert_eq!(world.core.drill_fails(world.row()).as_deref(), Some("no such network"));

    let gone = world.order(Operation::CleanUp).jobs[0];
    let why = now(&mut world, gone).waits["gone"].clone();
    assert!(!why.contains("no such network"), "that was about the opposite: {why}");
    world.rounds(3);
    assert_eq!(world.row().drills[0].failed.as_deref(), Some("no such network"));
    let cause = now(&mut world, job).job.end.unwrap().cause.unwrap();
    assert!(cause.what.ends_with(": it was cleaned up before its copy ran: no such network"), "{cause:?}");
}

#[test]
fn who_cancels_the_job_of_a_move_is_told_that_the_move_goes_on_and_what_gives_it_up() {
    let mut world = protected();
    let at = world.source();
    world.hand(at, id(1)).stubborn = true;
    let job = world.order(Operation::PlannedFailover).jobs[0];
    world.rounds(2);
    let seen = now(&mut world, job);
    let by = seen.given_up_by.unwrap();
    assert!(seen.goes_on && by.starts_with("protection abort "), "{by}");
    let told = world.run(&Command::CancelJob { job, by: None });
    assert_eq!(told.warnings[0].code, "goes-on");
    assert_eq!(told.warnings[0].advice, format!("`farshore {by}` gives it up"));
    world.rounds(2);
    assert!(matches!(world.row().life.stage, Stage::HandingOver(_)), "it goes on");
    let cause = now(&mut world, job).job.end.unwrap().cause.unwrap();
    assert!(cause.what.contains("only the waiting ends") && cause.advice.contains(&by), "{cause:?}");
}

#[test]
fn a_job_that_a_later_order_ends_says_so() {
    let mut world = protected();
    let at = world.source();
    world.hand(at, id(1)).stubborn = true;
    let job = world.order(Operation::PlannedFailover).jobs[0];
    world.rounds(2);
    world.order(Operation::UnplannedFailover);
    world.rounds(2);
    let cause = now(&mut world, job).job.end.unwrap().cause.unwrap();
    assert!(cause.what.contains(": it was superseded by a later order"), "{cause:?}");
    assert!(!cause.advice.contains("gives it up"), "{cause:?}");
}

/// The job of a kind that is open.
fn open(world: &World, kind: &str) -> Option<JobId> {
    let mut jobs = world.core.jobs().filter(|row| row.is_open() && row.job.kind == kind);
    jobs.next().map(|row| row.job.id)
}

fn waits(world: &mut World, ms: u64, rounds: usize) {
    for _ in 0..rounds {
        world.wait(ms);
        world.round();
    }
}

#[test]
fn a_try_to_stop_whose_job_was_cancelled_is_brought_up_without_all_the_same() {
    let mut world = protected();
    let (from, to) = (world.source(), world.target());
    world.lost = vec![from];
    let job = world.order_with(|order| order.try_to_stop = true, Operation::UnplannedFailover);
    let job = job.unwrap().jobs[0];
    let told = world.run(&Command::CancelJob { job, by: None });
    assert!(told.warnings[0].advice.contains("protection abort "), "{:?}", told.warnings);
    world.rounds(2);
    assert_eq!(world.state(), State::Stopping, "what was ordered goes on");
    let again = open(&world, "unplanned-failover").unwrap();
    assert!(again != job && now(&mut world, job).job.end.is_some());
    waits(&mut world, 20_000, 10);
    world.rounds(3);
    assert_eq!((world.state(), world.source()), (State::FailedOver, to));
    assert_eq!(now(&mut world, again).job.end.unwrap().ending, Ending::Succeeded);
    assert!(world.core.jobs().all(|row| !row.is_open()), "and no other job is begun");
}

#[test]
fn a_move_whose_job_was_cancelled_or_lost_is_given_up_in_time_as_any_other() {
    for lost in [false, true] {
        let mut world = protected();
        let backup = world.stored.clone();
        let at = world.source();
        world.hand(at, id(1)).stubborn = true;
        let job = world.order(Operation::PlannedFailover).jobs[0];
        world.rounds(2);
        if lost {
            world.start(backup, Start::Restored);
            world.cursors.clear();
        } else {
            world.run(&Command::CancelJob { job, by: None });
        }
        world.rounds(3);
        assert_eq!(world.state(), State::Stopping);
        assert!(open(&world, "planned-failover").is_some_and(|again| again != job));
        waits(&mut world, 60_000, 12);
        assert_eq!((world.state(), world.running(id(1))), (State::Protected, vec![at]));
        assert!(world.core.jobs().all(|row| !row.is_open()));
    }
}

#[test]
fn what_gives_a_job_up_is_what_the_life_allows() {
    let mut world = protected();
    let from = world.source();
    world.lost = vec![from];
    let order = |order: &mut Order| order.try_to_stop = true;
    let tries = world.order_with(order, Operation::UnplannedFailover).unwrap().jobs[0];
    let by = now(&mut world, tries).given_up_by.unwrap();
    assert!(by.starts_with("protection abort "), "{by}");
    let mut world = courses::where_is(courses::contested);
    let winner = Some(world.hosts[world.target()]);
    let at = world.target();
    world.hand(at, id(1)).broken = Some("it cannot be");
    let declared = world.order_with(|order| order.winner = winner, Operation::DeclareWinner).unwrap();
    assert_eq!(now(&mut world, declared.jobs[0]).given_up_by, None, "nothing takes that back");
    assert_eq!(world.refused(Operation::Cancel).code, "not-failed-over");
}
