//! What becomes of a failover that gets stuck: the machine that was stopped for it runs again, and who
//! orders once more is told what helps.

use farshore_protection::{Event, Operation, Report, Stage, State};

use super::{failover::protected, world::id};
use crate::Start;

#[test]
fn a_machine_that_was_stopped_for_a_failover_runs_again_where_the_other_side_is_lost_meanwhile() {
    let mut world = protected();
    let away = world.target();
    world.write(id(1), "x");
    let tries = |order: &mut farshore_protection::Order| order.try_to_stop = true;
    let job = world.order_with(tries, Operation::UnplannedFailover).unwrap().jobs[0];
    world.lost = vec![away];
    world.rounds(2);
    assert_eq!((world.state(), world.running(id(1))), (State::LastCycle, vec![]));
    world.wait(245_000);
    world.rounds(3);
    assert_eq!((world.state(), world.running(id(1))), (State::Protected, vec![0]));
    let ended = world.core.job(job).unwrap().job.end.clone().unwrap();
    assert_eq!(ended.ending, farshore_job::Ending::Failed, "{ended:?}");
    let cause = ended.cause.unwrap();
    assert!(cause.what.contains("runs on where it was"), "{cause:?}");
}

#[test]
fn a_failover_that_could_not_be_started_is_not_turned_round_by_ordering_it_again() {
    let mut world = protected();
    let away = world.hosts[world.target()];
    world.order(Operation::UnplannedFailover);
    let (epoch, why) = (world.row().life.epoch, "point 1-9, which was shown, is gone".to_owned());
    let at = world.moment();
    let event = Event::CannotRun { why };
    world.core.happens(id(1), &Report { epoch, event }, &at);
    assert!(matches!(&world.row().life.stage, Stage::BringingUp(up) if up.failed.is_some()));
    let again = world.refused(Operation::UnplannedFailover);
    assert!(again.code == "failed-over" && again.what.contains("is gone"), "{again:?}");
    assert!(again.advice.contains("`change-point`") && again.advice.contains("--to n1"), "{again:?}");
    assert_eq!(world.row().source(), away);
}

#[test]
fn of_a_machine_that_is_taken_back_and_cannot_start_nothing_is_advised_that_would_be_refused() {
    let mut world = protected();
    let home = world.hosts[0];
    world.order(Operation::UnplannedFailover);
    world.rounds(4);
    world.order(Operation::Cancel);
    let Stage::HandingOver(over) = &world.row().life.stage else { panic!("{:?}", world.row().life) };
    let (epoch, next, at) = (world.row().life.epoch, over.next, world.moment());
    world.core.happens(id(1), &Report { epoch, event: Event::Accepted { next } }, &at);
    let event = Event::CannotRun { why: "its disk is gone".to_owned() };
    world.core.happens(id(1), &Report { epoch: next, event }, &at);
    assert!(matches!(&world.row().life.stage, Stage::Starting { failed: Some(_), .. }));
    assert_eq!(world.row().source(), home);
    let again = world.refused(Operation::UnplannedFailover);
    assert!(again.code == "failed-over" && again.what.contains("is gone"), "{again:?}");
    assert!(!again.advice.contains("`cancel`") && again.advice.contains("--to f1"), "{again:?}");
    assert_eq!(world.refused(Operation::Cancel).code, "not-failed-over");
}

#[test]
fn a_vault_that_is_started_again_holds_nobody_for_gone_before_they_could_report() {
    let tries = |order: &mut farshore_protection::Order| order.try_to_stop = true;
    let mut world = protected();
    let (from, to) = (world.source(), world.target());
    world.write(id(1), "x");
    world.order_with(tries, Operation::UnplannedFailover).unwrap();
    world.start(world.stored.clone(), Start::Continued);
    world.tick();
    // The side that is to take over happens to be heard first.
    world.report(world.hosts[to]);
    world.tick();
    assert_eq!((world.state(), world.running(id(1))), (State::Stopping, vec![from]), "it is tried still");
    world.rounds(4);
    assert_eq!((world.state(), world.disk(to)), (State::MovedOver, "ax".to_owned()), "nothing was lost");

    let mut world = protected();
    let from = world.source();
    world.lost = vec![from];
    world.order_with(tries, Operation::UnplannedFailover).unwrap();
    world.start(world.stored.clone(), Start::Continued);
    world.rounds(2);
    assert_eq!(world.state(), State::Stopping);
    world.wait(61_000);
    world.rounds(2);
    assert_eq!(world.state(), State::FailedOver, "who could have reported and has not is gone");
}

#[test]
fn a_last_cycle_that_takes_long_is_not_given_up_because_the_vault_is_started_again() {
    let mut world = protected();
    let (from, away) = (world.source(), world.target());
    world.write(id(1), "x");
    world.order(Operation::PlannedFailover);
    world.lost = vec![away];
    world.rounds(2);
    assert_eq!(world.state(), State::LastCycle);
    world.clock += 130;
    world.start(world.stored.clone(), Start::Continued);
    world.tick();
    world.report(world.hosts[from]);
    world.tick();
    assert_eq!(world.state(), State::LastCycle);
    world.lost.clear();
    world.rounds(4);
    assert_eq!((world.state(), world.disk(away)), (State::MovedOver, "ax".to_owned()));
}
