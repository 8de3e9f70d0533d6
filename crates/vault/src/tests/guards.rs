//! What an order must not do to a machine that runs: nothing is shut down for a move that cannot
//! end, nothing goes back by an order that was given twice, nothing is protected from where it does
//! not run.

use farshore_control::standing::DrillStanding;
use farshore_protection::{
    Choice, Confirm, Copying, DrillNetwork, DrillPhase, Event, Flat, Life, Operation, Phase, Report, Stage,
    State, Why,
};
use farshore_types::PointId;

use super::{
    courses::ordered,
    failover::protected,
    world::{World, id, machine},
};
use crate::{Command, Enable, MapTo};

fn codes(world: &mut World) -> Vec<String> {
    let at = world.moment();
    let health = world.core.judge(world.core.protection(id(1)).unwrap(), &at).health;
    health.reasons.into_iter().map(|reason| reason.code).collect()
}

/// The machine runs on the other side; home is back, with its old copy switched off.
fn away() -> World {
    let mut world = protected();
    world.order(Operation::UnplannedFailover);
    world.rounds(4);
    let at = world.source();
    let mut facts = machine(1);
    facts.brought_up_at = Some(PointId { epoch: 1, number: 1 });
    world.agent(at).machines.push(facts);
    world.agent(0).machines.iter_mut().for_each(|facts| facts.power = "off".to_owned());
    world.rounds(2);
    world
}

#[test]
fn nothing_is_shut_down_for_a_move_while_cycles_fail() {
    let mut world = protected();
    world.agent(0).retries = Some("the line is cut");
    world.rounds(1);
    let refused = world.refused(Operation::PlannedFailover);
    assert!(refused.code == "not-current" && refused.what.contains("the line is cut"), "{refused:?}");
    assert_eq!(world.running(id(1)), [0]);
    world.order(Operation::UnplannedFailover);
}

#[test]
fn a_machine_whose_last_cycle_stands_still_for_maintenance_runs_again_where_it_was() {
    let mut world = protected();
    let home = world.source();
    world.write(id(1), "x");
    world.order(Operation::PlannedFailover);
    // An agent of before sends nothing in maintenance.
    world.agent(home).rests = true;
    world.rounds(2);
    assert_eq!((world.state(), world.running(id(1))), (State::LastCycle, vec![]));
    // Both hosts are heard of all the time.
    let passes = |world: &mut World, rounds| {
        for _ in 0..rounds {
            world.wait(4_000);
            world.round();
        }
    };
    passes(&mut world, 4);
    assert_eq!(world.state(), State::LastCycle, "a moment is given to it");
    passes(&mut world, 40);
    assert_eq!((world.state(), world.running(id(1))), (State::Protected, vec![home]));
}

#[test]
fn a_failover_that_is_taken_back_is_not_given_up_because_nothing_is_sent() {
    let mut world = protected();
    let (home, away) = (world.source(), world.target());
    world.order(Operation::UnplannedFailover);
    world.rounds(5);
    world.agent(away).rests = true;
    world.rounds(1);
    world.order(Operation::Cancel);
    let Stage::HandingOver(over) = &world.row().life.stage else { panic!("{:?}", world.row().life) };
    assert_eq!(over.why, Why::Cancel);
    let (epoch, at) = (world.row().life.epoch, world.moment());
    world.core.happens(id(1), &Report { epoch, event: Event::Stopped }, &at);
    let off = |stage: &Stage| matches!(stage, Stage::HandingOver(over) if over.phase == Phase::Stopped);
    assert!(off(&world.row().life.stage), "{:?}", world.row().life);
    world.lost = vec![away];
    for _ in 0..40 {
        world.wait(4_000);
        world.round();
    }
    assert!(off(&world.row().life.stage), "{:?}", world.row().life);
    world.lost = Vec::new();
    world.rounds(16);
    assert_eq!((world.source(), world.running(id(1))), (home, vec![home]));
}

#[test]
fn a_machine_whose_last_cycle_does_not_come_runs_again_where_it_was() {
    let mut world = protected();
    let away = world.target();
    world.write(id(1), "x");
    let job = world.order(Operation::PlannedFailover).jobs[0];
    world.lost = vec![away];
    world.rounds(2);
    assert_eq!((world.state(), world.running(id(1))), (State::LastCycle, vec![]));
    world.wait(100_000);
    world.rounds(1);
    assert_eq!(world.state(), State::LastCycle, "a moment is given to it");
    world.wait(60_000);
    world.rounds(3);
    assert_eq!((world.state(), world.running(id(1))), (State::Protected, vec![0]));
    assert!(!world.core.job(job).unwrap().is_open(), "and its job says so");
}

#[test]
fn what_is_sealed_for_a_host_that_is_gone_is_critical() {
    let mut world = protected();
    let away = world.target();
    let last = PointId { epoch: 1, number: 9 };
    world.write(id(1), "x");
    world.order(Operation::PlannedFailover);
    world.lost = vec![away];
    world.rounds(2);
    let Stage::HandingOver(over) = world.row().life.stage.clone() else { panic!("{:?}", world.row()) };
    let (epoch, event) = (world.row().life.epoch, Event::Sealed { next: over.next, last });
    let at = world.moment();
    world.core.happens(id(1), &Report { epoch, event }, &at);
    world.commit();
    assert_eq!(world.state(), State::Sealed);
    assert!(!codes(&mut world).contains(&"runs-nowhere".to_owned()), "a moment is given to it");
    world.wait(130_000);
    world.rounds(1);
    assert!(codes(&mut world).contains(&"runs-nowhere".to_owned()), "{:?}", codes(&mut world));
}

#[test]
fn a_point_and_a_try_to_stop_are_not_both_ordered() {
    let mut world = protected();
    let point = Choice::At(PointId { epoch: 1, number: 1 });
    let both = world
        .order_with(|order| (order.point, order.try_to_stop) = (point, true), Operation::UnplannedFailover);
    assert_eq!(both.unwrap_err().code, "point-and-try-to-stop");
    assert_eq!((world.state(), world.running(id(1))), (State::Protected, vec![0]));
}

#[test]
fn a_failover_that_is_ordered_twice_does_not_take_the_machine_back() {
    let mut world = protected();
    let [home, away] = [world.hosts[0], world.hosts[world.target()]];
    world.order(Operation::UnplannedFailover);
    let again = world.refused(Operation::UnplannedFailover);
    assert_eq!(again.code, "failed-over", "on its way there");
    world.rounds(4);
    let again = world.refused(Operation::UnplannedFailover);
    assert!(again.code == "failed-over" && again.advice.contains("--to n1"), "{again:?}");
    let there = world.order_with(|order| order.to = Some(away), Operation::UnplannedFailover);
    assert_eq!(there.unwrap_err().code, "goes-elsewhere");
    assert_eq!(world.row().source(), away);
    world.order_with(|order| order.to = Some(home), Operation::UnplannedFailover).unwrap();
    world.rounds(4);
    assert_eq!(world.row().source(), home, "said, it is done");
}

#[test]
fn a_failed_over_machine_whose_new_host_is_lost_goes_back_without_more_words() {
    let mut world = protected();
    world.order(Operation::UnplannedFailover);
    world.rounds(4);
    world.lost = vec![world.source()];
    world.wait(130_000);
    world.rounds(1);
    world.order(Operation::UnplannedFailover);
    world.rounds(4);
    assert_eq!(world.running(id(1)).first(), Some(&0));
}

#[test]
fn a_home_without_the_machine_is_nothing_to_fail_over_to() {
    let mut world = away();
    ordered(&mut world, Operation::Commit);
    world.hand(0, id(1)).points.clear();
    world.agent(0).replicas.clear();
    world.agent(0).machines.retain(|facts| facts.id != id(1));
    world.rounds(2);
    assert_eq!(world.refused(Operation::UnplannedFailover).code, "no-point");
}

#[test]
fn what_runs_on_the_other_side_is_not_protected_from_its_old_copy() {
    let mut world = away();
    ordered(&mut world, Operation::Commit);
    world.run(&Command::Disable { machine: id(1), replica: None, force: false });
    world.rounds(2);
    world.run(&Command::Enable(Enable { machines: vec![id(1)], ..Enable::default() }));
    world.rounds(4);
    let running = world.running(id(1));
    assert!(running.len() == 1 && running != [0], "it runs on: {running:?}");
    assert_eq!(world.row().source(), world.hosts[running[0]], "and is protected from there");
}

#[test]
fn a_flatten_whose_time_comes_leaves_a_test_failover_open_and_waits_for_a_move() {
    let mut world = protected();
    world.order(Operation::PlannedFailover);
    world.rounds(8);
    ordered(&mut world, Operation::Commit);
    world.order(Operation::TestFailover);
    world.rounds(2);
    let due = world.moment().wall_ms + 5_000;
    world.order_with(|order| order.at_ms = Some(due), Operation::Flatten).unwrap();
    world.wait(20_000);
    let life = &world.row().life;
    assert_eq!(life.flat, Flat::Flattening);
    assert!(life.drill.as_ref().is_some_and(|drill| !drill.overdue), "{life:?}");

    let mut world = protected();
    world.order(Operation::PlannedFailover);
    world.rounds(8);
    ordered(&mut world, Operation::Commit);
    let due = world.moment().wall_ms + 60_000;
    world.order_with(|order| order.at_ms = Some(due), Operation::Flatten).unwrap();
    let at = world.source();
    world.hand(at, id(1)).stubborn = true;
    world.order(Operation::Failback);
    world.wait(70_000);
    assert!(matches!(world.row().life.stage, Stage::HandingOver(_)));
    assert!(matches!(world.row().life.flat, Flat::Scheduled { .. }), "not beneath the move");
}

#[test]
fn stopping_to_flatten_leaves_a_move_its_job_which_gives_it_up_in_time() {
    let mut world = protected();
    world.order(Operation::PlannedFailover);
    world.rounds(8);
    ordered(&mut world, Operation::Commit);
    let due = world.moment().wall_ms + 3_600_000;
    world.order_with(|order| order.at_ms = Some(due), Operation::Flatten).unwrap();
    let at = world.source();
    world.hand(at, id(1)).stubborn = true;
    let job = world.order(Operation::Failback).jobs[0];
    world.rounds(2);
    world.order(Operation::StopFlatten);
    assert_eq!(world.row().life.flat, Flat::Layered);
    assert!(world.core.job(job).unwrap().is_open(), "{:?}", world.core.job(job).unwrap().job.end);
    (0..80).for_each(|_| world.wait(10_000));
    world.rounds(4);
    assert_eq!((world.state(), world.running(id(1))), (State::Protected, vec![at]), "it was given up");
}

#[test]
fn what_disks_a_machine_runs_on_is_its_hosts_to_say() {
    let mut world = protected();
    world.order(Operation::PlannedFailover);
    world.rounds(8);
    ordered(&mut world, Operation::Commit);
    assert_eq!(world.row().life.flat, Flat::Layered);
    let at = world.source();
    world.hand(at, id(1)).layered = Some(false);
    world.rounds(2);
    assert_eq!(world.row().life.flat, Flat::Own, "and nothing is left to flatten");
    world.hand(at, id(1)).layered = Some(true);
    world.rounds(2);
    assert_eq!(world.row().life.flat, Flat::Layered);
    // Its own disks at the other side say nothing of that.
    let other = world.target();
    world.hand(other, id(1)).layered = Some(false);
    world.rounds(2);
    assert_eq!(world.row().life.flat, Flat::Layered);
    ordered(&mut world, Operation::Flatten);
}

#[test]
fn after_a_move_back_to_where_nothing_could_be_adopted_it_is_being_copied() {
    let mut world = protected();
    world.order(Operation::PlannedFailover);
    world.rounds(8);
    assert_eq!((world.state(), world.row().life.copying), (State::MovedOver, Copying::Steady));
    let at = world.source();
    world.agent(at).copies_anew = true;
    world.rounds(2);
    assert_eq!((world.state(), world.row().life.copying), (State::MovedOver, Copying::Seeding));
    let moment = world.moment();
    assert!(world.core.facts_of(world.row(), &moment).whole_point, "it can go back to its own disks");
    world.rounds(8);
    assert_eq!(world.row().life.copying, Copying::Steady);
}

#[test]
fn a_test_failover_that_was_found_ends_by_itself_as_any_other() {
    let mut world = protected();
    let at = world.target();
    let point = world.hand(at, id(1)).points.keys().next().copied();
    let name = "copy".to_owned();
    world.hand(at, id(1)).drill = Some(DrillStanding { order: 7, runs: true, name, at: point, failed: None });
    world.rounds(2);
    let (until, now) = (world.row().life.drill.clone().unwrap().until_ms, world.moment().wall_ms);
    assert!(until.is_some_and(|until| until > now + 23 * 3_600_000), "{until:?}");
    (0..25).for_each(|_| world.wait(3_600_000));
    world.rounds(4);
    assert!(world.row().life.drill.is_none(), "{:?}", world.row().life.drill);
    assert!(world.row().drills.last().unwrap().overdue);
}

#[test]
fn a_copy_is_not_connected_to_the_network_of_production_nor_to_one_that_is_not_there() {
    let mut world = protected();
    let (from_site, to_site) = (world.sites[0], world.sites[1]);
    let (from, to) = ("lan".to_owned(), Some("far".to_owned()));
    world.run(&Command::MapNetwork(MapTo { from_site, to_site, from, to }));
    let mut with = |name: &str| {
        let network = DrillNetwork::Named(name.to_owned());
        world.order_with(|order| order.network = network, Operation::TestFailover)
    };
    assert_eq!(with("far").unwrap_err().code, "production-network");
    let unknown = with("lab").unwrap_err();
    assert_eq!(unknown.code, "network-unknown");
    assert!(unknown.advice.contains("there are: lan, far"), "{unknown:?}");
    with("lan").unwrap();
    // A host that has none at all has none of that name.
    let mut world = protected();
    let target = world.row().target();
    world.core.tables.hosts.change(&target, |row| row.networks = Vec::new());
    let network = DrillNetwork::Named("lab".to_owned());
    let none = world.order_with(|order| order.network = network, Operation::TestFailover).unwrap_err();
    assert!(none.code == "network-unknown" && none.advice.contains("it has none"), "{none:?}");
}

#[test]
fn a_drill_that_a_failover_ends_leaves_its_record() {
    let mut world = protected();
    world.order(Operation::TestFailover);
    world.rounds(2);
    let confirmed = [Confirm::DataLoss, Confirm::MayStillRun];
    world.order_with(|order| order.confirmed.extend(confirmed), Operation::UnplannedFailover).unwrap();
    world.rounds(3);
    assert_eq!(world.row().drills.len(), 1);
}

#[test]
fn the_copy_of_a_drill_that_no_vault_knows_of_any_more_is_shown_and_can_be_cleaned_up() {
    let mut world = protected();
    world.order(Operation::TestFailover);
    world.rounds(2);
    // As a vault has it that was promoted, and that heard of a later life without it.
    let life = Life { drill: None, ..world.row().life.clone() };
    assert!(world.core.put_life(id(1), life));
    world.rounds(3);
    let target = world.target();
    let drill = world.row().life.drill.clone().unwrap();
    assert_eq!((drill.phase, drill.host), (DrillPhase::Open, Some(world.hosts[target])));
    assert!(world.row().life.wanted().copies, "replication goes on beside it");
    world.order(Operation::CleanUp);
    world.rounds(3);
    assert!(world.row().life.drill.is_none() && world.hand(target, id(1)).drill.is_none());
}
