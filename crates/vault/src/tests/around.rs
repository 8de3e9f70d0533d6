//! What is around failovers: recovery points that are listed, addresses of guests, whether a
//! machine could start there, notes of test failovers.

use std::net::IpAddr;

use farshore_control::{
    Body, CardAddress, Key,
    report::Problem,
    request::{Action, Answer, Ending, Outcome, PointFacts},
    standing::CouldStart,
};
use farshore_protection::{Choice, Confirm, Operation, State};
use farshore_types::{Consistency, PointId, RequestId};

use super::{
    courses::ordered,
    failover::protected,
    world::{World, id},
};
use crate::{Command, ProblemKind};

fn ask(limit: u32) -> Command {
    Command::AskPoints { machine: id(1), by: None, before: None, application: false, limit }
}

fn facts(number: u64) -> PointFacts {
    let id = PointId { epoch: 1, number };
    let consistency = Consistency::Crash;
    PointFacts { id, age_ms: 9, consistency, changed: 1, received: 1, pinned_by: Vec::new() }
}

#[test]
fn recovery_points_are_asked_of_the_host_that_has_them_and_kept_until_that_knows() {
    let mut world = protected();
    let at = world.target();
    world.agent(at).obeys = false;
    let request = RequestId(world.run(&ask(10)).id.unwrap());
    assert_eq!(world.core.request(request).unwrap().host, world.hosts[at]);
    world.deliver_all();
    let held = world.agent(at).holder.get(&Key::Request(request)).unwrap().body.clone();
    let Body::Request(asked) = held else { panic!("{held:?}") };
    assert!(matches!(asked.action, Action::Points { limit: 10, .. }), "{asked:?}");
    let host = world.hosts[at];
    let answer = Answer::Points { points: vec![facts(7)], more: true };
    let outcome = Outcome { id: request, host, result: Ending::Done { answer: answer.clone() } };
    world.agent(at).outcomes.push(outcome);
    world.report(host);
    assert_eq!(world.core.request(request).unwrap().ending, Some(Ending::Done { answer }));
    world.deliver_all();
    assert!(world.agent(at).holder.forget_removed(&Key::Request(request)));
    world.report(host);
    assert!(world.core.request(request).is_none(), "nothing is left of it");
}

#[test]
fn after_a_failover_they_are_where_the_machine_runs() {
    let mut world = protected();
    let away = world.target();
    world.order(Operation::UnplannedFailover);
    world.rounds(4);
    assert_eq!(world.state(), State::FailedOver);
    let request = RequestId(world.run(&ask(10)).id.unwrap());
    assert_eq!(world.core.request(request).unwrap().host, world.hosts[away]);
}

#[test]
fn what_nobody_answered_is_dropped_and_what_cannot_be_answered_is_said() {
    let mut world = protected();
    let at = world.target();
    world.agent(at).obeys = false;
    assert_eq!(world.try_run(&ask(0)).unwrap_err().code, "limit");
    assert_eq!(world.try_run(&ask(1001)).unwrap_err().code, "limit");
    let nobody = Command::AskPoints { machine: id(99), by: None, before: None, application: false, limit: 1 };
    assert_eq!(world.try_run(&nobody).unwrap_err().kind, ProblemKind::NotFound);
    let request = RequestId(world.run(&ask(10)).id.unwrap());
    world.wait(121_000);
    world.rounds(1);
    assert!(world.core.request(request).is_none(), "nobody waits for it any more");
    (0..20).for_each(|_| {
        world.wait(10_000);
        world.round_without(&[at]);
    });
    assert_eq!(world.try_run(&ask(10)).unwrap_err().code, "target-away");
}

#[test]
fn the_loss_of_a_chosen_point_is_told_exactly_where_its_age_is_known() {
    let mut world = protected();
    let point = PointId { epoch: 1, number: 1 };
    let told = |world: &mut World, age: Option<u64>| {
        let choose = |order: &mut farshore_protection::Order| {
            order.confirmed = [Confirm::MayStillRun].into();
            order.point = Choice::LatestApplication;
            order.point_age = age.map(|age| (point, age));
        };
        world.order_with(choose, Operation::UnplannedFailover).unwrap_err().what
    };
    let exact = told(&mut world, Some(61_500));
    assert!(exact.contains("the last 62 s would be lost: point 1-1 is so old"), "{exact}");
    assert!(!told(&mut world, None).contains("62 s"));
}

#[test]
fn nothing_is_fenced_for_a_point_that_is_not_there() {
    let mut world = protected();
    let at = world.target();
    let point = |number| PointId { epoch: 1, number };
    for write in ["b", "c", "d"] {
        world.write(id(1), write);
        world.rounds(2);
    }
    // The third one was thinned out, between those that are reported.
    let there: Vec<PointId> = world.hand(at, id(1)).points.keys().copied().collect();
    let (oldest, thinned, newest) = (there[0], there[2], *there.last().unwrap());
    assert!(oldest < thinned && thinned < newest, "{there:?}");
    world.hand(at, id(1)).points.remove(&thinned);
    let before = world.row().clone();
    let mut refused = |choice, told: Option<PointId>, operation| {
        let order = world.order_with(
            |order| (order.point, order.point_age) = (choice, told.map(|point| (point, 9))),
            operation,
        );
        assert_eq!(*world.row(), before, "nothing was changed");
        order.unwrap_err()
    };
    for operation in [Operation::UnplannedFailover, Operation::TestFailover] {
        // Nobody answered; it was answered with an older one; there cannot be any such.
        assert_eq!(refused(Choice::At(thinned), None, operation).code, "point-not-told");
        let other = refused(Choice::At(thinned), Some(there[1]), operation);
        assert!(other.code == "point-unknown" && other.what.contains(&there[1].to_string()), "{other:?}");
        assert_eq!(refused(Choice::At(point(9_999)), Some(newest), operation).code, "point-unknown");
        assert_eq!(refused(Choice::At(point(9_999)), None, operation).code, "point-unknown");
        assert_eq!(refused(Choice::LatestApplication, None, operation).code, "no-application-point");
    }
    // What is reported is there; and so is what its host has told.
    world.order_with(|order| order.point = Choice::At(oldest), Operation::UnplannedFailover).unwrap();
    world.rounds(4);
    assert_eq!(world.state(), State::FailedOver);
    let gone = world.order_with(|order| order.point = Choice::At(thinned), Operation::ChangePoint);
    assert_eq!(gone.unwrap_err().code, "point-not-told");
    assert_eq!(world.state(), State::FailedOver);
    let told = |order: &mut farshore_protection::Order| {
        (order.point, order.point_age) = (Choice::At(there[1]), Some((there[1], 9)));
    };
    world.order_with(told, Operation::ChangePoint).unwrap();
    world.rounds(4);
    assert_eq!((world.state(), world.row().life.brought_up_at()), (State::FailedOver, Some(there[1])));
}

#[test]
fn a_machine_is_not_stopped_for_a_choice_that_comes_to_the_point_at_which_it_runs() {
    let mut world = protected();
    world.write(id(1), "b");
    world.rounds(2);
    world.order(Operation::UnplannedFailover);
    world.rounds(4);
    let at = world.row().life.brought_up_at().unwrap();
    let before = world.row().clone();
    let mut same = |choice, told: Option<PointId>| {
        let refused = world.order_with(
            |order| (order.point, order.point_age) = (choice, told.map(|point| (point, 9))),
            Operation::ChangePoint,
        );
        assert_eq!(*world.row(), before, "nothing was changed");
        refused.unwrap_err()
    };
    let named = same(Choice::At(at), Some(at));
    assert!(named.code == "same-point" && named.what.contains(&at.to_string()), "{named:?}");
    assert_eq!(same(Choice::Latest, None), named);
    assert_eq!(same(Choice::LatestApplication, Some(at)), named);
    // Another one is meant.
    let older = world.hand(world.source(), id(1)).points.keys().copied().next().unwrap();
    assert!(older < at);
    let choose = |order: &mut farshore_protection::Order| {
        (order.point, order.point_age) = (Choice::LatestApplication, Some((older, 9)));
    };
    world.order_with(choose, Operation::ChangePoint).unwrap();
}

#[test]
fn the_host_that_would_bring_a_point_up_is_asked_for_it() {
    let mut world = protected();
    let away = world.target();
    world.agent(away).obeys = false;
    world.agent(0).obeys = false;
    let asked = |world: &mut World, by| {
        let command = Command::AskPoints { machine: id(1), by, before: None, application: false, limit: 1 };
        let request = world.try_run(&command).ok()?.id.map(RequestId)?;
        Some(world.core.request(request).unwrap().host)
    };
    let host = world.hosts[away];
    for by in [None, Some(Operation::UnplannedFailover), Some(Operation::TestFailover)] {
        assert_eq!(asked(&mut world, by), Some(host), "{by:?}");
    }
    world.order(Operation::UnplannedFailover);
    world.rounds(4);
    assert_eq!(world.state(), State::FailedOver);
    assert_eq!(asked(&mut world, Some(Operation::ChangePoint)), Some(host));
    assert_eq!(asked(&mut world, Some(Operation::UnplannedFailover)), None, "home has no replica");
}

#[test]
fn a_machine_is_not_moved_to_where_it_could_not_start() {
    let mut world = protected();
    let at = world.target();
    let (code, what, advice) = ("definition", "there is no network 'lan'", "make it");
    let problem = Problem { code: code.to_owned(), what: what.to_owned(), advice: advice.to_owned() };
    let point = PointId { epoch: 1, number: 1 };
    let could = |against| Some(CouldStart { at: point, against });
    world.hand(at, id(1)).could_start = could(vec![problem]);
    world.rounds(1);
    let refused = world.refused(Operation::PlannedFailover);
    assert_eq!(refused.code, "cannot-start-there");
    assert!(refused.what.contains("there is no network 'lan'; make it"), "{refused:?}");
    assert_eq!(world.state(), State::Protected, "nothing was changed");
    world.hand(at, id(1)).could_start = could(Vec::new());
    world.rounds(1);
    assert_eq!(world.order(Operation::PlannedFailover).jobs.len(), 1);
}

#[test]
fn after_a_disaster_it_is_tried_and_told_that_it_may_not_start() {
    let mut world = protected();
    let at = world.target();
    let problem = Problem {
        code: "no-memory".to_owned(),
        what: "it wants 64 GiB, of which 8 are free".to_owned(),
        advice: "stop something".to_owned(),
    };
    world.hand(at, id(1)).could_start =
        Some(CouldStart { at: PointId { epoch: 1, number: 1 }, against: vec![problem] });
    world.rounds(1);
    let answer = world.order(Operation::UnplannedFailover);
    assert!(answer.warnings.iter().any(|w| w.code == "may-not-start" && w.what.contains("64 GiB")));
    world.rounds(4);
    assert_eq!(world.state(), State::FailedOver);
}

#[test]
fn notes_of_a_test_failover_are_kept_when_nothing_else_of_it_is() {
    let mut world = protected();
    world.order(Operation::TestFailover);
    world.rounds(3);
    let long = world.order_with(|o| o.notes = Some("x".repeat(20_000)), Operation::CleanUp).unwrap_err();
    assert_eq!(long.code, "notes");
    let notes = "the database came up in 40 s";
    world.order_with(|order| order.notes = Some(notes.to_owned()), Operation::CleanUp).unwrap();
    world.rounds(3);
    assert!(world.row().life.drill.is_none());
    let record = world.row().drills[0].clone();
    assert_eq!((record.notes.as_deref(), record.ran, record.overdue), (Some(notes), true, false));
    for _ in 0..12 {
        world.order(Operation::TestFailover);
        world.rounds(3);
        world.order(Operation::CleanUp);
        world.rounds(3);
    }
    assert_eq!(world.row().drills.len(), crate::rows::DRILLS_KEPT);
    assert!(world.row().drills.last().unwrap().order > record.order, "the newest are kept");
}

#[test]
fn a_pause_of_before_a_disaster_does_not_outlast_the_order_to_reverse() {
    let mut world = protected();
    world.run(&Command::SetPaused { machine: id(1), paused: true });
    world.rounds(1);
    world.order(Operation::UnplannedFailover);
    world.rounds(4);
    world.order(Operation::Commit);
    world.order(Operation::Reverse);
    world.rounds(6);
    assert!(!world.row().life.paused && world.row().life.wanted().copies, "{:?}", world.row().life);
}

#[test]
fn a_machine_that_runs_on_both_hosts_and_a_forgotten_test_failover_are_told() {
    let mut world = protected();
    let codes = |world: &mut World| {
        let at = world.moment();
        let health = world.core.judge(world.core.protection(id(1)).unwrap(), &at).health;
        health.reasons.into_iter().map(|reason| reason.code).collect::<Vec<_>>()
    };
    assert!(!codes(&mut world).iter().any(|code| code == "runs-twice" || code == "drill-overdue"));
    let until = world.moment().wall_ms + 60_000;
    world.order_with(|order| order.until_ms = Some(until), Operation::TestFailover).unwrap();
    world.rounds(3);
    // Its host cannot be told to clean it up.
    let at = world.target();
    world.wait(61_000);
    world.round_without(&[at]);
    assert!(codes(&mut world).contains(&"drill-overdue".to_owned()), "{:?}", codes(&mut world));
    world.hand(at, id(1)).runs = true;
    let host = world.hosts[at];
    world.report(host);
    assert!(codes(&mut world).contains(&"runs-twice".to_owned()), "{:?}", codes(&mut world));
}

#[test]
fn the_last_word_of_a_host_that_is_silent_makes_no_twin() {
    let mut world = protected();
    let home = world.source();
    world.lost = vec![home];
    world.wait(180_000);
    world.rounds(1);
    let confirmed = [Confirm::DataLoss, Confirm::MayStillRun];
    world.order_with(|order| order.confirmed.extend(confirmed), Operation::UnplannedFailover).unwrap();
    world.rounds(4);
    assert_eq!(world.running(id(1)).len(), 2, "its old host runs it all the time, and says nothing");
    let codes = |world: &mut World| {
        let at = world.moment();
        let health = world.core.judge(world.core.protection(id(1)).unwrap(), &at).health;
        health.reasons.into_iter().map(|reason| reason.code).collect::<Vec<_>>()
    };
    assert!(!codes(&mut world).contains(&"runs-twice".to_owned()), "{:?}", codes(&mut world));
    let host = world.hosts[home];
    world.report(host);
    assert!(codes(&mut world).contains(&"runs-twice".to_owned()), "{:?}", codes(&mut world));
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn set(card: &str, home: &str, away: &str) -> Command {
    let (home, away) = (address(home), address(away));
    Command::SetAddress { machine: id(1), card: card.to_owned(), home, away }
}

#[test]
fn addresses_travel_with_the_document_and_survive_a_restored_vault() {
    let mut world = protected();
    let card = "52:54:00:00:00:01";
    let backup = world.stored.clone();
    assert!(world.run(&set("52-54-00-00-00-01", "10.0.0.5", "10.1.0.5")).changed);
    assert!(!world.run(&set(card, "10.0.0.5", "10.1.0.5")).changed, "it is so already");
    world.rounds(2);
    let at = world.target();
    let said = CardAddress { card: card.to_owned(), home: address("10.0.0.5"), away: address("10.1.0.5") };
    assert_eq!(world.protection(at, 1).addresses, std::slice::from_ref(&said));
    // A backup of before knows nothing of them.
    world.start(backup, crate::Start::Restored);
    world.rounds(4);
    assert_eq!(world.row().addresses, [said]);
    assert!(world.run(&set(card, "", "")).changed);
    world.rounds(2);
    assert!(world.protection(at, 1).addresses.is_empty());
}

#[test]
fn addresses_that_make_no_sense_are_refused() {
    let mut world = protected();
    for (card, home, code) in [
        ("eth0", "10.0.0.5", "card"),
        ("52:54:00:00:00:01", "224.0.0.1", "address"),
        ("52:54:00:00:00:01", "127.0.0.1", "address"),
    ] {
        assert_eq!(world.try_run(&set(card, home, "")).unwrap_err().code, code);
    }
    world.run(&set("52:54:00:00:00:01", "10.0.0.5", ""));
    let twice = world.try_run(&set("52:54:00:00:00:02", "", "10.0.0.5")).unwrap_err();
    assert_eq!(twice.code, "address-taken");
    // Where its host says which cards the machine has, an address for another one is a slip.
    world.agent(0).machines[0].cards = vec!["52:54:00:00:00:01".to_owned()];
    world.report(world.hosts[0]);
    let slip = world.try_run(&set("52:54:00:00:00:02", "10.0.0.6", "")).unwrap_err();
    assert_eq!(slip.code, "card-unknown");
    assert!(slip.advice.contains("52:54:00:00:00:01"), "{slip:?}");
    assert!(world.run(&set("52:54:00:00:00:01", "10.0.0.6", "")).warnings.is_empty());
    // One that is shown without any may get it yet.
    (world.agent(0).machines[0].cards, world.agent(0).machines[0].networks) = (Vec::new(), Vec::new());
    world.report(world.hosts[0]);
    let warned = world.run(&set("52:54:00:00:00:03", "10.0.0.7", ""));
    assert!(warned.changed && warned.warnings[0].code == "card-unknown", "{warned:?}");
}

/// A test failover that is being cleaned up on a host whose replica was moved away meanwhile; that
/// host's place. Its agent has not heard of the clean-up.
fn left_with_its_drill(delete_old: bool) -> (World, usize) {
    let mut world = protected();
    ordered(&mut world, Operation::TestFailover);
    let old = world.target();
    world.order(Operation::CleanUp);
    world.lost = vec![old];
    world.run(&Command::MoveReplica { machine: id(1), to: None, delete_old });
    world.rounds(1);
    assert_ne!(world.target(), old);
    assert!(world.row().life.drill.is_some(), "it is not known to be gone");
    (world, old)
}

#[test]
fn a_test_failover_is_cleaned_up_on_a_host_that_its_replica_has_left() {
    let (mut world, old) = left_with_its_drill(false);
    world.rounds(12);
    assert!(world.row().life.drill.is_some() && world.row().leaving.is_none(), "the move is over");
    world.lost.clear();
    world.cursors.clear();
    world.rounds(3);
    assert!(world.hand(old, id(1)).drill.is_none(), "it has heard of it");
    assert_eq!(world.row().life.drill, None);
    ordered(&mut world, Operation::TestFailover);
    assert!(world.row().life.has_open_drill());
}

#[test]
fn a_test_failover_ends_with_the_host_that_has_it() {
    let (mut world, old) = left_with_its_drill(false);
    world.rounds(12);
    let host = world.hosts[old];
    world.run(&Command::ForgetHost { host, force: true });
    world.rounds(2);
    assert_eq!(world.row().life.drill, None);
    assert!(world.core.jobs().all(|row| !row.is_open()), "nobody waits for it");
    ordered(&mut world, Operation::TestFailover);
}
