//! What a protection's operator may want, from the beginning to an end at which the machine is
//! protected where it began: courses of a life. This module must never know who dies.

use farshore_hypervisor::simulated::Operation as Call;
use farshore_protection::{Choice, DrillPhase, Operation, Stage, State};

use super::{
    desk::Desk,
    world::{Bytes, Pair},
};

/// There, home, and a test failover.
pub(super) async fn there_and_back(pair: &Pair) {
    let mut desk = Desk::protected(pair).await;
    desk.moves(Operation::PlannedFailover).await;
    desk.commits().await;
    desk.writes_and_is_heard().await;
    desk.moves(Operation::Failback).await;
    desk.commits().await;
    desk.orders(Operation::TestFailover, Choice::Latest).await;
    let open =
        |desk: &Desk<'_>| desk.life.drill.as_ref().is_some_and(|drill| drill.phase == DrillPhase::Open);
    desk.until("the copy to run", async |desk| open(desk)).await;
    desk.orders(Operation::CleanUp, Choice::Latest).await;
    desk.until("nothing of it", async |desk| desk.life.drill.is_none()).await;
    desk.ends().await;
}

/// A move that is given up, one that is taken back, and a failover that is.
pub(super) async fn taken_back(pair: &Pair) {
    let mut desk = Desk::protected(pair).await;
    let (home, away) = (pair.source_id, pair.target_id);
    pair.host(home).set_heeds_shutdown(pair.machine, false).unwrap();
    let asked = pair.host(home).calls(Call::ShutDown);
    desk.orders(Operation::PlannedFailover, Choice::Latest).await;
    desk.until("it to be asked", async |_| pair.host(home).calls(Call::ShutDown) > asked).await;
    desk.orders(Operation::Abort, Choice::Latest).await;
    desk.comes_to(State::Protected).await;
    pair.host(home).set_heeds_shutdown(pair.machine, true).unwrap();

    let left = desk.moves(Operation::PlannedFailover).await;
    let there = desk.writes(away).await;
    desk.stops_on(home);
    desk.orders(Operation::Cancel, Choice::Latest).await;
    desk.comes_to(State::Protected).await;
    assert_eq!(desk.life.source, home);
    desk.stands_at(home, &left).await;
    desk.is_somewhere(&there).await;

    let left = leaves(&mut desk).await;
    let there = desk.writes(away).await;
    desk.stops_on(home);
    desk.orders(Operation::Cancel, Choice::Latest).await;
    desk.comes_to(State::Protected).await;
    assert_eq!((desk.life.source, pair.disks_at(home).as_ref()), (home, Some(&left)));
    desk.keeps(away, &there).await;
    desk.ends().await;
}

/// It is failed over from a home that is well, at what that has written last; what that is.
pub(super) async fn leaves(desk: &mut Desk<'_>) -> Bytes {
    desk.writes_and_is_heard().await;
    let known = desk.pair.disks_at(desk.life.source).unwrap();
    desk.twice = true;
    desk.orders(Operation::UnplannedFailover, Choice::Latest).await;
    fails_over(desk, &known).await;
    known
}

/// It comes up at what is known there, and does not run on the other host any more.
pub(super) async fn fails_over(desk: &mut Desk<'_>, known: &Bytes) {
    desk.comes_to(State::FailedOver).await;
    desk.stands_at(desk.life.source, known).await;
    desk.until("the other copy to be fenced", async |desk| !desk.runs_on(desk.life.target).await).await;
    desk.twice = false;
}

/// The machine's home is gone, where it goes on writing; it comes up on the other side at what was
/// acknowledged. What the lost host alone has.
pub(super) async fn is_lost(desk: &mut Desk<'_>) -> Bytes {
    let pair = desk.pair;
    desk.writes_and_is_heard().await;
    let known = pair.disks_at(pair.source_id).unwrap();
    pair.stop_source().await;
    let own = desk.writes(pair.source_id).await;
    desk.twice = true;
    desk.orders(Operation::UnplannedFailover, Choice::Latest).await;
    desk.comes_to(State::FailedOver).await;
    pair.start_source();
    fails_over(desk, &known).await;
    own
}

/// A disaster, after which the old primary comes back; another point; the way home.
pub(super) async fn disaster(pair: &Pair) {
    let mut desk = Desk::protected(pair).await;
    let own = is_lost(&mut desk).await;
    let earlier = desk.earlier().await;
    desk.points_changed = 1;
    desk.orders(Operation::ChangePoint, Choice::At(earlier)).await;
    desk.comes_to(State::FailedOver).await;
    let Stage::FailedOver { at, .. } = desk.life.stage else { panic!("{:?}", desk.life) };
    assert_eq!(at, Some(earlier));
    desk.orders(Operation::Commit, Choice::Latest).await;
    desk.comes_to(State::Committed).await;
    desk.orders(Operation::Reverse, Choice::Latest).await;
    desk.comes_to(State::Protected).await;
    desk.keeps(pair.source_id, &own).await;
    desk.writes_and_is_heard().await;
    desk.moves(Operation::Failback).await;
    desk.commits().await;
    desk.keeps(pair.source_id, &own).await;
    desk.ends().await;
}

/// A disaster, and another one while the old primary makes what it has the replica.
pub(super) async fn two_disasters(pair: &Pair) {
    let mut desk = Desk::protected(pair).await;
    let (home, away) = (pair.source_id, pair.target_id);
    let own = is_lost(&mut desk).await;
    let theirs = desk.writes(away).await;
    desk.orders(Operation::Commit, Choice::Latest).await;
    desk.comes_to(State::Committed).await;
    desk.orders(Operation::Reverse, Choice::Latest).await;
    desk.until_a_death_or(|life| life.state() != State::Reversing).await;
    desk.twice = true;
    desk.stops_on(home);
    desk.orders(Operation::UnplannedFailover, Choice::Latest).await;
    desk.comes_to(State::FailedOver).await;
    let here = pair.files_at(home).await;
    fails_over(&mut desk, &here).await;
    if here != own {
        desk.keeps(home, &own).await;
    }
    desk.orders(Operation::Commit, Choice::Latest).await;
    desk.comes_to(State::Committed).await;
    desk.orders(Operation::Reverse, Choice::Latest).await;
    desk.comes_to(State::Protected).await;
    desk.is_somewhere(&theirs).await;
    desk.ends().await;
}
