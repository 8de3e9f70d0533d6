//! Whole stories: there and back, planned and after a disaster, by orders, reports and documents
//! alone, with agents that do what documents want.

use farshore_protection::{Choice, Confirm, DrillNetwork, Operation, Order, Overlay, Stage, State};
use farshore_types::PointId;

use super::{
    courses::{self, failed_over, ordered},
    kills::copied,
    world::{World, id},
};
use crate::{Answer, Command, Problem, Start, rows::ProtectionRow};

impl World {
    pub(super) fn row(&self) -> &ProtectionRow {
        self.core.protection(id(1)).unwrap()
    }

    pub(super) fn state(&self) -> State {
        self.row().life.state()
    }

    /// An order as somebody gives it who has just looked, and confirms everything.
    pub(super) fn operate(&self, operation: Operation) -> Command {
        let mut order = Order::confirmed_at(operation, self.row().life.version, 0);
        if operation == Operation::ChangePoint {
            order.point = Choice::At(self.older_point());
        }
        Command::Operate { machine: id(1), order: Box::new(order) }
    }

    /// A point where the machine runs at which it was not brought up.
    fn older_point(&self) -> PointId {
        let at = self.row().life.brought_up_at();
        let hand = &self.agents[&self.row().source()].hands[&id(1)];
        *hand.points.keys().find(|point| Some(**point) != at).unwrap()
    }

    pub(super) fn order(&mut self, operation: Operation) -> Answer {
        let command = self.operate(operation);
        self.run(&command)
    }

    pub(super) fn refused(&mut self, operation: Operation) -> Problem {
        let command = self.operate(operation);
        self.try_run(&command).unwrap_err()
    }

    pub(super) fn order_with(
        &mut self,
        change: impl FnOnce(&mut Order),
        operation: Operation,
    ) -> Result<Answer, Problem> {
        let Command::Operate { machine, mut order } = self.operate(operation) else { unreachable!() };
        change(&mut order);
        self.try_run(&Command::Operate { machine, order })
    }

    pub(super) fn rounds(&mut self, rounds: usize) {
        (0..rounds).for_each(|_| self.round());
    }

    /// Where a host is among the hosts.
    fn place(&self, host: farshore_types::HostId) -> usize {
        self.hosts.iter().position(|one| *one == host).unwrap()
    }

    pub(super) fn source(&self) -> usize {
        self.place(self.row().source())
    }

    pub(super) fn target(&self) -> usize {
        self.place(self.row().target())
    }

    pub(super) fn disk(&self, at: usize) -> String {
        let hand = self.agents[&self.hosts[at]].hands.get(&id(1));
        hand.and_then(|hand| hand.disk.clone()).unwrap_or_default()
    }
}

/// Protected, with a first point, and something written since that is sent too.
pub(super) fn protected() -> World {
    let mut world = World::new();
    world.live();
    world.round();
    copied(&mut world);
    world.write(id(1), "a");
    world.rounds(2);
    assert_eq!(world.state(), State::Protected);
    world
}

#[test]
fn planned_there_and_back_three_times_loses_nothing_and_is_protected_in_reverse_at_once() {
    let mut world = protected();
    let (home, away) = (world.source(), world.target());
    let mut written = "a".to_owned();
    for way in 0..3 {
        world.write(id(1), "x");
        written.push('x');
        let made = world.order(Operation::PlannedFailover).jobs;
        assert_eq!(made.len(), 1);
        world.rounds(8);
        assert_eq!(world.state(), State::MovedOver, "way {way}: {:?}", world.core.job(made[0]));
        assert_eq!((world.running(id(1)), world.disk(away)), (vec![away], written.clone()));
        let again = world.order(Operation::Reverse);
        assert!(!again.changed && again.warnings[0].code == "reverse-runs", "{again:?}");
        ordered(&mut world, Operation::Commit);
        world.write(id(1), "y");
        written.push('y');
        world.rounds(2);
        world.order(Operation::Failback);
        world.rounds(8);
        assert_eq!((world.state(), world.source()), (State::MovedOver, home));
        assert_eq!((world.running(id(1)), world.disk(home)), (vec![home], written.clone()));
        ordered(&mut world, Operation::Commit);
        assert_eq!(world.state(), State::Protected);
    }
    let document = world.protection(home, 1);
    assert_eq!((document.source.host, document.epoch.number), (world.hosts[home], 7));
}

/// In a disaster nobody waits until the target's host has told of what the source knows that it has.
#[test]
fn what_the_source_alone_has_told_of_is_accepted_before_the_target_s_next_report() {
    let mut world = protected();
    let (home, away) = (world.hosts[world.source()], world.hosts[world.target()]);
    world.write(id(1), "b");
    world.hands_work();
    world.report(home);
    let told = world.core.replica_on(away, id(1)).unwrap().newest.unwrap().id;
    let at = world.moment();
    let (shown, _) = world.core.judge(world.core.protection(id(1)).unwrap(), &at).newest.unwrap();
    assert!(shown > told, "{shown}, and the target has told of {told}");
    world.order_with(|order| order.point = Choice::NotBefore(shown), Operation::UnplannedFailover).unwrap();
}

#[test]
fn after_a_disaster_the_machine_runs_on_the_other_side_and_comes_home() {
    let mut world = protected();
    let (home, away) = (world.source(), world.target());
    world.write(id(1), "lost");
    world.lost = vec![home];
    world.wait(120_000);
    world.rounds(2);
    let shown = world.order_with(|order| order.confirmed.clear(), Operation::UnplannedFailover).unwrap_err();
    assert_eq!(shown.code, "confirm-data-loss");
    assert!(shown.what.contains(" s would be lost"), "{shown}");
    let only_loss = |order: &mut Order| order.confirmed = [Confirm::DataLoss].into();
    let may = world.order_with(only_loss, Operation::UnplannedFailover).unwrap_err();
    assert_eq!(may.code, "confirm-may-still-run");
    // Of what was shown there may be nothing any more: nothing older is started for it.
    let newest = world.core.replica_on(world.hosts[away], id(1)).unwrap().newest.unwrap().id;
    let later = PointId { number: newest.number + 1, ..newest };
    assert!(shown.advice.contains(&format!("--shown {newest}")), "{shown}");
    let gone = |order: &mut Order| order.point = Choice::NotBefore(later);
    assert_eq!(world.order_with(gone, Operation::UnplannedFailover).unwrap_err().code, "point-unknown");
    world.order_with(|order| order.point = Choice::NotBefore(newest), Operation::UnplannedFailover).unwrap();
    world.rounds(4);
    assert_eq!((world.state(), world.disk(away)), (State::FailedOver, "a".to_owned()));
    // Cut off, the old primary runs on; back, it is fenced, and what it wrote is kept.
    assert_eq!(world.running(id(1)), [home, away]);
    world.lost.clear();
    world.cursors.clear();
    world.rounds(3);
    assert_eq!(world.running(id(1)), [away]);
    ordered(&mut world, Operation::Commit);
    assert_eq!(world.state(), State::Committed);
    assert_eq!(world.refused(Operation::Failback).code, "not-replicating");
    world.write(id(1), "b");
    ordered(&mut world, Operation::Reverse);
    assert_eq!(world.state(), State::Protected);
    assert!(world.hand(home, id(1)).points.values().any(|content| content == "alost"), "its own writes");
    world.order(Operation::Failback);
    world.rounds(8);
    assert_eq!((world.source(), world.disk(home)), (home, "ab".to_owned()));
    assert_eq!(world.running(id(1)), [home]);
}

#[test]
fn a_failover_is_taken_back_by_a_seal_and_replication_goes_on_from_where_it_was() {
    let mut world = protected();
    let (home, away) = (world.source(), world.target());
    world.order(Operation::UnplannedFailover);
    world.rounds(5);
    world.write(id(1), "there");
    world.order(Operation::Cancel);
    world.rounds(16);
    assert_eq!((world.state(), world.source()), (State::Protected, home));
    assert_eq!((world.running(id(1)), world.disk(home)), (vec![home], "a".to_owned()));
    assert!(world.agent(away).lineages[&id(1)].seal.is_none(), "it knows the owner of now");
}

#[test]
fn the_point_is_changed_back_and_forth_and_the_later_of_two_orders_is_told() {
    let mut world = World::new();
    world.live();
    world.round();
    failed_over(&mut world);
    let (at, first) = (world.source(), world.row().life.brought_up_at().unwrap());
    world.write(id(1), "!");
    let seen = world.row().life.version;
    world.order(Operation::ChangePoint);
    world.rounds(4);
    assert_eq!((world.state(), world.disk(at)), (State::FailedOver, String::new()));
    let stale = world.order_with(|order| order.seen = Some(seen), Operation::Commit).unwrap_err();
    assert_eq!(stale.code, "changed-meanwhile");
    let back = |order: &mut Order| (order.point, order.overlay) = (Choice::At(first), Overlay::AsLeft);
    world.order_with(back, Operation::ChangePoint).unwrap();
    world.rounds(4);
    assert_eq!((world.row().life.brought_up_at(), world.disk(at)), (Some(first), "af!".to_owned()));
    let none = |order: &mut Order| order.point = Choice::At(PointId { epoch: 1, number: 999 });
    let unknown = world.order_with(none, Operation::ChangePoint).unwrap_err();
    assert_eq!(unknown.code, "point-unknown");
}

#[test]
fn a_point_that_was_pruned_meanwhile_is_said_and_another_one_can_be_chosen() {
    let mut world = protected();
    let at = world.target();
    let oldest = *world.hand(at, id(1)).points.keys().next().unwrap();
    world.write(id(1), "b");
    world.rounds(2);
    let middle = *world.hand(at, id(1)).points.keys().nth(1).unwrap();
    world.hand(at, id(1)).points.remove(&middle);
    // Its host had told of it just before.
    let told = |order: &mut Order| (order.point, order.point_age) = (Choice::At(middle), Some((middle, 9)));
    let job = world.order_with(told, Operation::UnplannedFailover).unwrap().jobs[0];
    world.rounds(4);
    let moment = world.moment();
    let now = world.core.job_now(job, &moment).unwrap();
    assert!(now.waits["run"].contains("pruned"), "{:?}", now.waits);
    world.order_with(|order| order.point = Choice::At(oldest), Operation::ChangePoint).unwrap();
    world.rounds(4);
    assert_eq!(world.state(), State::FailedOver);
    let ended = world.core.job(job).unwrap().job.end.clone().unwrap();
    assert!(format!("{ended:?}").contains("superseded"), "{ended:?}");
}

#[test]
fn a_machine_that_does_not_shut_down_runs_on_and_by_a_try_it_is_brought_up_all_the_same() {
    let mut world = protected();
    let home = world.source();
    world.hand(home, id(1)).stubborn = true;
    let job = world.order(Operation::PlannedFailover).jobs[0];
    world.rounds(3);
    assert_eq!(world.state(), State::Stopping);
    world.wait(601_000);
    world.rounds(5);
    let ended = world.core.job(job).unwrap().job.end.clone().unwrap();
    assert_eq!(ended.ending, farshore_job::Ending::Failed, "{ended:?}");
    assert_eq!((world.state(), world.running(id(1))), (State::Protected, vec![home]));
    world.agent(home).lives = false;
    let tries = world.order_with(|order| order.try_to_stop = true, Operation::UnplannedFailover).unwrap();
    world.rounds(2);
    assert_eq!(world.state(), State::Stopping);
    world.wait(121_000);
    world.rounds(5);
    assert_eq!(world.state(), State::FailedOver);
    let ended = world.core.job(tries.jobs[0]).unwrap().job.end.clone().unwrap();
    assert_eq!(ended.ending, farshore_job::Ending::Succeeded, "{ended:?}");
}

#[test]
fn a_machine_that_was_sealed_and_not_accepted_has_its_ways_out() {
    let sealed = || {
        let world = courses::where_is(courses::sealed);
        let away = world.target();
        (world, away)
    };
    let (mut world, away) = sealed();
    let jobs = world.order(Operation::Complete).jobs;
    assert_eq!(jobs.len(), 1, "the one that was begun");
    world.rounds(4);
    assert_eq!((world.state(), world.running(id(1))), (State::MovedOver, vec![away]));
    let (mut world, _) = sealed();
    world.order(Operation::Abort);
    world.rounds(5);
    assert_eq!((world.state(), world.running(id(1))), (State::Protected, vec![0]));
    let (mut world, away) = sealed();
    world.lost = vec![away];
    world.wait(120_000);
    world.rounds(1);
    assert_eq!(world.refused(Operation::Abort).code, "target-away");
    world.order(Operation::TakeBack);
    world.rounds(4);
    assert_eq!((world.state(), world.running(id(1))), (State::Committed, vec![0]));
}

#[test]
fn a_failover_goes_to_the_host_that_has_the_whole_replica_while_it_is_moved() {
    let mut world = protected();
    let whole = world.target();
    world.run(&Command::MoveReplica { machine: id(1), to: None, delete_old: true });
    world.rounds(1);
    assert_ne!(world.target(), whole);
    assert_eq!(world.refused(Operation::PlannedFailover).code, "moving");
    let done = world.order(Operation::UnplannedFailover);
    assert_eq!(done.warnings[0].code, "move-given-up");
    world.rounds(5);
    assert_eq!((world.state(), world.source()), (State::FailedOver, whole));
    assert_eq!(world.disk(whole), "a");
}

#[test]
fn a_vault_restored_from_before_a_failover_learns_it_and_rolls_nothing_back() {
    let mut world = protected();
    let backup = world.stored.clone();
    let away = world.target();
    world.order(Operation::UnplannedFailover);
    world.rounds(1);
    let epoch = world.row().life.epoch;
    world.start(backup.clone(), Start::Restored);
    world.cursors.clear();
    assert_eq!(world.state(), State::Protected, "so it was");
    world.rounds(5);
    assert_eq!((world.state(), world.row().life.epoch), (State::FailedOver, epoch));
    assert_eq!(world.running(id(1)), [away]);
    ordered(&mut world, Operation::Commit);
    // And once more from then, when that is over as well.
    world.start(backup, Start::Restored);
    world.cursors.clear();
    world.rounds(5);
    assert_eq!(world.state(), State::Committed);
    assert_eq!(world.running(id(1)), [away]);
}

#[test]
fn of_two_owners_a_person_declares_the_winner() {
    let mut world = courses::where_is(courses::contested);
    let away = world.target();
    let winner = world.hosts[away];
    assert_eq!(world.refused(Operation::PlannedFailover).code, "contested");
    // A vault that was restored meanwhile does not take one of the two for the owner.
    world.start(world.stored.clone(), Start::Restored);
    world.cursors.clear();
    world.rounds(3);
    assert_eq!(world.state(), State::Contested);
    let nobody = world.order_with(|order| order.winner = None, Operation::DeclareWinner).unwrap_err();
    assert_eq!(nobody.code, "no-winner");
    world.order_with(|order| order.winner = Some(winner), Operation::DeclareWinner).unwrap();
    world.rounds(6);
    assert_eq!((world.state(), world.running(id(1))), (State::Committed, vec![away]));
    assert_eq!(world.disk(away), "ab");
}

#[test]
fn a_test_failover_is_open_beside_replication_and_a_forgotten_one_is_cleaned_up() {
    let mut world = protected();
    let until = world.moment().wall_ms + 60_000;
    let opened = world.order_with(
        |order| (order.network, order.until_ms) = (DrillNetwork::Own, Some(until)),
        Operation::TestFailover,
    );
    assert_eq!(opened.unwrap().jobs.len(), 1);
    world.rounds(3);
    assert_eq!(world.refused(Operation::TestFailover).code, "drill-open");
    assert_eq!(world.refused(Operation::PlannedFailover).code, "drill-open");
    let at = world.target();
    assert!(world.hand(at, id(1)).drill.is_some() && world.row().life.wanted().copies);
    world.wait(61_000);
    world.rounds(3);
    assert!(world.row().life.drill.is_none() && world.hand(at, id(1)).drill.is_none());
}

#[test]
fn what_is_not_allowed_is_answered_and_changes_nothing() {
    let mut worlds = vec![protected()];
    let mut moved = protected();
    moved.order(Operation::PlannedFailover);
    worlds.push(moved.clone());
    moved.rounds(8);
    worlds.push(moved);
    let mut over = protected();
    over.order(Operation::UnplannedFailover);
    worlds.push(over.clone());
    over.rounds(5);
    worlds.push(over.clone());
    ordered(&mut over, Operation::Commit);
    worlds.push(over);
    let mut refused = 0;
    for world in worlds {
        for operation in Operation::ALL {
            let mut tried = world.clone();
            let command = tried.operate_blindly(operation);
            let before = tried.core.clone();
            match tried.try_run(&command) {
                Err(problem) => {
                    assert!(!problem.what.is_empty() && !problem.advice.is_empty(), "{problem:?}");
                    assert_eq!(tried.core, before, "{operation:?} in {:?}", world.state());
                    refused += 1;
                }
                Ok(answer) if !answer.changed => assert_eq!(answer.warnings.len(), 1, "{operation:?}"),
                Ok(_) => assert!(world.allows(operation), "{operation:?} in {:?}", world.state()),
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

impl World {
    fn operate_blindly(&self, operation: Operation) -> Command {
        let mut order = Order::confirmed_at(operation, self.row().life.version, 0);
        order.point = if operation == Operation::ChangePoint { Choice::LatestWhole } else { Choice::Latest };
        Command::Operate { machine: id(1), order: Box::new(order) }
    }

    fn allows(&self, operation: Operation) -> bool {
        let mut world = self.clone();
        let at = world.moment();
        let row = world.row();
        row.life.judge(&world.core.facts_of(row, &at), operation).is_allowed()
    }
}

#[test]
fn a_row_of_before_there_were_lives_is_read_and_goes_on() {
    let mut world = protected();
    let life = world.row().life.clone();
    let key = world.stored.keys().find(|(kind, _)| kind == "protection").unwrap().clone();
    let mut row: serde_json::Value = serde_json::from_slice(&world.stored[&key]).unwrap();
    let fields = row.as_object_mut().unwrap();
    fields.remove("life");
    fields.insert("source".to_owned(), serde_json::to_value(life.source).unwrap());
    fields.insert("target".to_owned(), serde_json::to_value(life.target).unwrap());
    fields.insert("intent".to_owned(), "pause".into());
    world.stored.insert(key, serde_json::to_vec(&row).unwrap());
    world.start(world.stored.clone(), Start::Continued);
    let now = &world.row().life;
    assert_eq!((now.hosts(), now.epoch, now.paused), (life.hosts(), life.epoch, true));
    assert_eq!((&now.stage, world.state()), (&Stage::Replicating, State::Protected));
    world.run(&Command::SetPaused { machine: id(1), paused: false });
    world.rounds(2);
    world.order(Operation::PlannedFailover);
    world.rounds(8);
    assert_eq!(world.state(), State::MovedOver);
}
