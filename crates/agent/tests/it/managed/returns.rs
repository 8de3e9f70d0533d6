//! A machine that goes back to a host on which it was before: what was written and changed there
//! meanwhile counts, also where that host was hindered to keep it.

use std::sync::Arc;

use farshore_agent::control::{Reply, Request};
use farshore_control::HostReport;
use farshore_hypervisor::Hypervisor;
use farshore_protection::{BroughtUp, Choice, DrillPhase, Kind, Life, Operation, Stage, State};
use farshore_types::{HostId, PointId};

use super::{
    courses::{fails_over, is_lost, leaves},
    desk::Desk,
    handing::{ordered, standing},
    mortal::{Cut, Mortal},
    vault::PATIENCE,
    world::{Pair, SIZE},
};

async fn brought_up(pair: &Pair, life: &Life) -> BroughtUp {
    let up = |report: &HostReport| standing(report, pair.machine).and_then(|s| s.brought_up);
    let is = |report: &HostReport| {
        let runs = standing(report, pair.machine).is_some_and(|s| s.runs == Some(true));
        runs && up(report).is_some_and(|up| up.epoch == life.epoch)
    };
    up(&pair.vault.until(pair.target_id, "it to run there", is).await).unwrap()
}

/// It goes away, and home and away again while its target hears of nothing, and goes on writing: by
/// the life that the target is to hear of, and the point at which it came first.
async fn away_twice(pair: &Pair) -> (Life, PointId) {
    let life = pair.living().await;
    pair.target_host().add_image(&pair.overlay_at(pair.target_id), SIZE);
    let away = ordered(&life, Operation::UnplannedFailover, false);
    pair.tell(&away);
    let first = brought_up(pair, &away).await.at.unwrap();
    pair.stop_target().await;
    let ran = |life: Life| {
        let stage = Stage::FailedOver { kind: Kind::Unplanned, at: None, kept: Default::default() };
        Life { stage, ..life }
    };
    let home = ordered(&ran(away), Operation::UnplannedFailover, false);
    let again = ordered(&ran(home), Operation::UnplannedFailover, false);
    assert_eq!((again.source, again.epoch.number), (pair.target_id, 4));
    pair.change(|protection| {
        std::mem::swap(&mut protection.source, &mut protection.target);
        (protection.epoch, protection.life) = (again.epoch, Some(again.clone()));
    });
    (again, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_wrote_itself_is_the_newest_point_when_its_machine_is_brought_up_there_again() {
    let pair = Pair::new().await;
    let (again, first) = away_twice(&pair).await;
    pair.start_target();
    let second = brought_up(&pair, &again).await.at.unwrap();
    assert!(second > first, "what it wrote is the newest point: {second}, after {first}");
    assert_eq!(second.number, pair.newest().await);
    // It stays until a person has what they need of it.
    let release = async |point| {
        let asked = pair.ask_target(Request::Release { machine: pair.machine.to_string(), point }).await;
        let Ok(Reply::Released(told)) = asked else { panic!("{asked:?}") };
        (told.released, told.kept)
    };
    assert_eq!(release(first).await, (false, vec![second]), "kept by retention alone");
    assert_eq!(release(second).await, (true, Vec::new()));
    assert_eq!(release(second).await, (false, Vec::new()));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_has_and_has_not_made_a_point_yet_is_not_older_than_what_was_shown_of_it() {
    let pair = Pair::new().await;
    let (mut again, first) = away_twice(&pair).await;
    // The other host had got that far before it was lost.
    let shown = PointId { number: first.number + 1, ..first };
    let Stage::BringingUp(up) = &mut again.stage else { panic!("{again:?}") };
    up.point = Choice::NotBefore(shown);
    pair.change(|protection| protection.life = Some(again.clone()));
    pair.start_target();
    assert_eq!(brought_up(&pair, &again).await.at, Some(shown));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_wrote_itself_is_pinned_though_its_agent_dies_while_it_makes_that_a_point() {
    let pair = Pair::new().await;
    let (again, first) = away_twice(&pair).await;
    // The point is there, and the replica takes cycles again; that it is pinned comes next.
    let cut = Cut { what: "keep replica.json".to_owned(), nth: 1, after: true };
    let target = Mortal::until([cut]);
    pair.start_target_of(&target);
    let begun = std::time::Instant::now();
    while !target.is_dead() {
        assert!(begun.elapsed() < PATIENCE, "it never dies");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    pair.succeed_the_dead().await;
    let second = brought_up(&pair, &again).await.at.unwrap();
    assert!(second > first, "what it wrote is the newest point: {second}, after {first}");
    let record = std::fs::read_to_string(pair.replica_dir().join("replica.json")).unwrap();
    assert!(record.contains("own writes of before"), "retention may take it: {record}");
    // The vault is told, which is not to have it deleted unawares.
    let tells = |report: &farshore_control::HostReport| {
        report.replicas.iter().any(|replica| !replica.own_writes.is_empty())
    };
    pair.vault.until(pair.target_id, "it reports what it wrote itself", tells).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_at_home_between_two_leavings_is_not_taken_back_by_the_second_return() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    pair.target_host().add_image(&pair.overlay_at(pair.target_id), SIZE);
    pair.source_host.add_image(&pair.overlay_at(pair.source_id), SIZE);
    let away = pair.move_over(&life, Operation::PlannedFailover).await;
    let kept = async |what: &str, is: fn(&str) -> bool| {
        let begun = std::time::Instant::now();
        while !is(&pair.home_definition()) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {}", pair.home_definition());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let home = pair.move_over(&away, Operation::Failback).await;
    kept("what it had before", |text| text.contains("web1") && !text.contains("lan2")).await;
    let was = pair.source_host.machine(machine).await.unwrap().definition;
    let card = "<interface type='network'><source network='lan2'/></interface></devices>";
    pair.source_host.define(&was.replace("</devices>", card)).await.unwrap();
    pair.move_over(&home, Operation::PlannedFailover).await;
    kept("what it had when it left again", |text| text.contains("lan2")).await;
    pair.end().await;
}

/// What comes after the record of a disk's adoption.
const ITS_MAP: &str = "keep #.delta";

#[tokio::test(flavor = "multi_thread")]
async fn disks_whose_adoption_was_cut_before_their_map_was_kept_are_the_base_all_the_same() {
    let home = Mortal::until([]);
    let pair = Pair::of_mortals([Arc::clone(&home), Mortal::until([])]).await;
    let mut desk = Desk::protected(&pair).await;
    home.set_refused(Some(ITS_MAP));
    desk.moves(Operation::PlannedFailover).await;
    desk.until_it_cannot(pair.source_id).await;
    home.set_refused(None);
    desk.commits().await;
    // Only what changes is sent: the rest is what was there.
    desk.writes_and_is_heard().await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_wrote_itself_is_kept_though_the_next_failover_finds_it_halfway() {
    let home = Mortal::until([]);
    let pair = Pair::of_mortals([Arc::clone(&home), Mortal::until([])]).await;
    let mut desk = Desk::protected(&pair).await;
    let own = is_lost(&mut desk).await;
    desk.orders(Operation::Commit, Choice::Latest).await;
    desk.comes_to(State::Committed).await;
    home.set_refused(Some(ITS_MAP));
    desk.orders(Operation::Reverse, Choice::Latest).await;
    desk.until_it_cannot(pair.source_id).await;
    desk.twice = true;
    desk.orders(Operation::UnplannedFailover, Choice::Latest).await;
    desk.until_it_cannot(pair.source_id).await;
    home.set_refused(None);
    fails_over(&mut desk, &own).await;
    desk.keeps(pair.source_id, &own).await;
    pair.end().await;
}

/// The base of the replica is out of everybody's way: nobody who starts the machine by its name, or by a
/// definition that they kept, writes it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_starts_the_old_primary_finds_neither_its_definition_nor_its_disks() {
    let pair = Pair::of_mortals([Mortal::until([]), Mortal::until([])]).await;
    let mut desk = Desk::protected(&pair).await;
    let there = pair.source_host.machine(pair.machine).await.unwrap();
    let paths: Vec<_> = there.disks.iter().filter_map(|disk| disk.path.clone()).collect();
    assert!(paths.len() == 2 && paths.iter().all(|path| path.exists()));
    desk.moves(Operation::PlannedFailover).await;
    desk.commits().await;
    // They are the replica's base now, which goes on.
    desk.writes_and_is_heard().await;
    let gone = pair.source_host.machine(pair.machine).await.unwrap_err();
    assert_eq!(gone.kind, farshore_hypervisor::Kind::NoSuchMachine, "{gone}");
    assert!(paths.iter().all(|path| !path.exists()), "{paths:?}");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_taken_back_though_the_home_was_still_making_its_disks_the_replica() {
    let home = Mortal::until([]);
    let pair = Pair::of_mortals([Arc::clone(&home), Mortal::until([])]).await;
    let mut desk = Desk::protected(&pair).await;
    home.set_refused(Some(ITS_MAP));
    let left = desk.moves(Operation::PlannedFailover).await;
    desk.until_it_cannot(pair.source_id).await;
    desk.stops_on(pair.source_id);
    desk.orders(Operation::Cancel, Choice::Latest).await;
    desk.until_it_cannot(pair.source_id).await;
    home.set_refused(None);
    desk.comes_to(State::Protected).await;
    desk.stands_at(pair.source_id, &left).await;
    desk.ends().await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_discards_while_it_becomes_the_replica_is_not_waited_for() {
    let away = Mortal::until([]);
    let pair = Pair::of_mortals([Mortal::until([]), Arc::clone(&away)]).await;
    let mut desk = Desk::protected(&pair).await;
    desk.moves(Operation::PlannedFailover).await;
    desk.commits().await;
    away.set_refused(Some(ITS_MAP));
    desk.moves(Operation::Failback).await;
    desk.until_it_cannot(pair.target_id).await;
    pair.ask_target(Request::Discard { machine: pair.machine.to_string(), force: true }).await.unwrap();
    away.set_refused(None);
    desk.commits().await;
    desk.writes_and_is_heard().await;
    pair.end().await;
}

async fn is_taken_back(desk: &mut Desk<'_>, home: HostId) {
    desk.stops_on(home);
    desk.orders(Operation::Cancel, Choice::Latest).await;
    desk.comes_to(State::Protected).await;
    assert_eq!(desk.life.source, home);
}

/// It went from one point to another, where what it wrote is not what its users want: nobody has
/// committed, and all of it is a point when the failover is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_at_a_point_that_was_left_is_kept_when_the_failover_is_taken_back() {
    let pair = Pair::of_mortals([Mortal::until([]), Mortal::until([])]).await;
    let mut desk = Desk::protected(&pair).await;
    let (home, away) = (pair.source_id, pair.target_id);
    leaves(&mut desk).await;
    let first = desk.writes(away).await;
    let earlier = desk.earlier().await;
    desk.orders(Operation::ChangePoint, Choice::At(earlier)).await;
    let changed =
        |desk: &Desk<'_>| matches!(desk.life.stage, Stage::FailedOver { at, .. } if at == Some(earlier));
    desk.until("the other point", async |desk| changed(desk) && desk.runs_on(away).await).await;
    let second = desk.writes(away).await;
    is_taken_back(&mut desk, home).await;
    desk.keeps(away, &first).await;
    desk.keeps(away, &second).await;
    desk.writes_and_is_heard().await;
    pair.end().await;
}

/// What goes on elsewhere since then has nothing of it: started, it loses all of that.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_wrote_itself_counts_for_no_younger_than_what_the_other_one_has() {
    let pair = Pair::of_mortals([Mortal::until([]), Mortal::until([])]).await;
    let mut desk = Desk::protected(&pair).await;
    let own = is_lost(&mut desk).await;
    desk.orders(Operation::Commit, Choice::Latest).await;
    desk.comes_to(State::Committed).await;
    let away = std::time::Duration::from_millis(1500);
    tokio::time::sleep(away).await;
    desk.orders(Operation::Reverse, Choice::Latest).await;
    desk.keeps(pair.source_id, &own).await;
    let mut newest = None;
    desk.until("its age", async |desk| {
        let told = desk.pair.vault.last_of(desk.pair.source_id);
        newest = told.and_then(|told| told.replicas.iter().find_map(|replica| replica.newest));
        newest.is_some()
    })
    .await;
    assert!(u128::from(newest.unwrap().age_ms) >= away.as_millis(), "{newest:?}");
    desk.comes_to(State::Protected).await;
    pair.end().await;
}

/// Else it would wait for the test failover, and that for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_failover_that_may_have_what_the_machine_lacks_goes_though_that_cannot_start() {
    let target = Mortal::until([]);
    let pair = Pair::of_mortals([Mortal::until([]), Arc::clone(&target)]).await;
    let mut desk = Desk::protected(&pair).await;
    desk.orders(Operation::TestFailover, Choice::Latest).await;
    let open =
        |desk: &Desk<'_>| desk.life.drill.as_ref().is_some_and(|drill| drill.phase == DrillPhase::Open);
    desk.until("the copy to run", async |desk| open(desk)).await;
    target.set_refused(Some("call Start"));
    desk.twice = true;
    desk.orders(Operation::UnplannedFailover, Choice::Latest).await;
    desk.until("nothing of it", async |desk| desk.life.drill.is_none()).await;
    assert!(!desk.runs_on(pair.target_id).await);
    target.set_refused(None);
    desk.comes_to(State::FailedOver).await;
    pair.end().await;
}

/// The other point's overlays lie where the machine stood when it could not come up there.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_a_change_of_point_that_failed_is_kept_when_the_failover_is_taken_back() {
    let target = Mortal::until([]);
    let pair = Pair::of_mortals([Mortal::until([]), Arc::clone(&target)]).await;
    let mut desk = Desk::protected(&pair).await;
    let (home, away) = (pair.source_id, pair.target_id);
    leaves(&mut desk).await;
    let first = desk.writes(away).await;
    let earlier = desk.earlier().await;
    target.set_refused(Some("call Define"));
    desk.orders(Operation::ChangePoint, Choice::At(earlier)).await;
    desk.until_it_cannot(away).await;
    assert!(!desk.runs_on(away).await);
    is_taken_back(&mut desk, home).await;
    desk.keeps(away, &first).await;
    desk.writes_and_is_heard().await;
    pair.end().await;
}

/// What the guest had in memory is nowhere else, and whoever wants it can still have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_former_primary_whose_memory_is_saved_becomes_the_replica_once_that_is_given_up() {
    let pair = Pair::of_mortals([Mortal::until([]), Mortal::until([])]).await;
    let mut desk = Desk::protected(&pair).await;
    let (home, machine) = (pair.source_id, pair.machine);
    desk.writes_and_is_heard().await;
    let known = pair.disks_at(home).unwrap();
    pair.stop_source().await;
    let own = desk.writes(home).await;
    pair.source_host.save(machine).unwrap();
    desk.orders(Operation::UnplannedFailover, Choice::Latest).await;
    desk.comes_to(State::FailedOver).await;
    pair.start_source();
    fails_over(&mut desk, &known).await;
    desk.orders(Operation::Commit, Choice::Latest).await;
    desk.comes_to(State::Committed).await;
    desk.orders(Operation::Reverse, Choice::Latest).await;
    desk.until_it_cannot(home).await;
    let told = pair.vault.report_of(home).await;
    let cannot = standing(&told, machine).and_then(|standing| standing.cannot.clone()).unwrap();
    assert!(cannot.what.contains("memory is saved"), "{cannot:?}");
    assert!(pair.source_host.machine(machine).await.unwrap().saved);
    pair.source_host.give_saved_up(machine).unwrap();
    desk.comes_to(State::Protected).await;
    desk.keeps(home, &own).await;
    pair.end().await;
}
