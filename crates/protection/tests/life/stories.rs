//! Whole ways, as people go them.

use farshore_ownership::Lineage;
use farshore_types::{Epoch, MachineId};

use crate::{HERE, THERE, Ways, point};
use farshore_protection::{
    Begin, BroughtUp, Choice, Copying, Event, Facts, Flat, Life, Operation, Order, Overlay, Said, Seen,
    Stage, State, Supersedes, Want,
    bug::{Bug, plant},
};

fn protected() -> Life {
    Life::example(State::Protected)
}

fn well() -> Facts {
    Facts::well()
}

fn without_source() -> Facts {
    Facts { source: Seen::lost(), ..well() }
}

/// By planned failover to the other side, running there.
fn moved(life: &Life) -> Life {
    let life = life.does(Operation::PlannedFailover, &well()).unwrap();
    assert_eq!(life.state(), State::Stopping);
    let life = life.hears(Event::Stopped, &well());
    assert_eq!(life.state(), State::LastCycle);
    let next = life.issued;
    let life = life.hears(Event::Sealed { next, last: point(9) }, &well());
    assert_eq!(life.state(), State::Sealed);
    let life = life.hears(Event::Accepted { next }, &well());
    assert_eq!((life.state(), life.epoch), (State::Starting, next));
    life.hears(Event::Runs { at: Some(point(9)) }, &well())
}

fn failed_over(life: &Life) -> Life {
    let life = life.does(Operation::UnplannedFailover, &without_source()).unwrap();
    assert_eq!(life.state(), State::BringingUp);
    life.hears(Event::Runs { at: Some(point(7)) }, &well())
}

#[test]
fn a_planned_failover_is_protected_in_reverse_at_once_and_leads_home_again() {
    let mut life = protected();
    for round in 1..=3 {
        life = moved(&life);
        assert_eq!((life.state(), life.source, life.target), (State::MovedOver, THERE, HERE));
        assert!(life.wanted().copies && !life.points_age());
        let reverse = life.does(Operation::Reverse, &well()).unwrap_err();
        assert_eq!(reverse.code, "reverse-runs");
        life = life.does(Operation::Commit, &well()).unwrap();
        assert_eq!(life.state(), State::Protected);
        assert_eq!(life.does(Operation::Reverse, &well()).unwrap_err().code, "reverse-runs");
        let home = life.does(Operation::Failback, &well()).unwrap();
        let next = home.issued;
        let home = home.hears(Event::Sealed { next, last: point(20) }, &well());
        let home = home.hears(Event::Accepted { next }, &well()).hears(Event::Runs { at: None }, &well());
        life = home.does(Operation::Commit, &well()).unwrap();
        assert_eq!((life.source, life.state(), life.epoch.number), (HERE, State::Protected, 1 + 2 * round));
        assert_eq!(life.does(Operation::Failback, &well()).unwrap_err().code, "at-home");
    }
}

#[test]
fn levels_that_were_not_heard_are_skipped() {
    let life = protected().does(Operation::PlannedFailover, &well()).unwrap();
    let (next, owner) = (life.issued, life.target);
    let life = life.hears(Event::Owned { epoch: next, owner, alone: false, twice: false }, &well());
    assert_eq!((life.state(), life.source), (State::Starting, THERE));
}

#[test]
fn a_planned_failover_that_is_aborted_before_its_seal_runs_again_and_after_it_needs_the_refusal() {
    let life = protected().does(Operation::PlannedFailover, &well()).unwrap().hears(Event::Stopped, &well());
    let aborted = life.does(Operation::Abort, &well()).unwrap();
    let next = life.issued;
    assert_eq!(aborted.wanted().source, Want::Run);
    assert_eq!(aborted.wanted().target, Want::Refuse { next });
    assert_eq!(aborted.hears(Event::RunsAgain, &well()).state(), State::Protected);
    // Its seal was on its way, and the target was faster than the abort.
    let sealed = aborted.hears(Event::Sealed { next, last: point(9) }, &well());
    assert_eq!(sealed.state(), State::Aborting);
    assert_eq!(sealed.hears(Event::Accepted { next }, &well()).source, THERE);
    // The number that was issued is not issued again.
    let again = aborted.hears(Event::RunsAgain, &well()).does(Operation::PlannedFailover, &well()).unwrap();
    assert_eq!(again.issued.number, next.number + 1);
}

#[test]
fn an_unplanned_failover_needs_nothing_of_the_source_and_is_not_protected_until_reversed() {
    let life = failed_over(&protected());
    assert_eq!((life.state(), life.source, life.epoch.number), (State::FailedOver, THERE, 2));
    assert_eq!((life.wanted().target, life.wanted().copies), (Want::Fence, false));
    assert_eq!(life.does(Operation::Reverse, &well()).unwrap_err().code, "not-committed");
    let life = life.does(Operation::Commit, &well()).unwrap();
    assert_eq!(life.state(), State::Committed);
    assert_eq!(life.does(Operation::Cancel, &well()).unwrap_err().code, "committed");
    let life = life.does(Operation::Reverse, &well()).unwrap();
    assert_eq!(life.wanted().target, Want::Adopt);
    let life = life.hears(Event::OwnKept, &well()).hears(Event::Adopted { had_disks: true }, &well());
    assert_eq!((life.state(), life.keeps_history()), (State::Resynchronizing, true));
    let life = life.hears(Event::Resynced, &well());
    assert_eq!((life.state(), life.keeps_history(), life.epoch.number), (State::Protected, false, 2));
}

#[test]
fn it_supersedes_a_drill_a_resync_and_a_hand_over() {
    let drill = protected().does(Operation::TestFailover, &well()).unwrap().hears(Event::DrillRuns, &well());
    assert_eq!(drill.does(Operation::PlannedFailover, &well()).unwrap_err().code, "drill-open");
    let order = drill.example_order(Operation::UnplannedFailover, 3);
    let step = drill.order_now(order, &without_source()).unwrap();
    assert_eq!(step.supersedes, Supersedes::All);
    assert_eq!(step.life.drill.unwrap().phase, farshore_protection::DrillPhase::CleaningUp);
    let sealed = Life::example(State::Sealed);
    let life = sealed.does(Operation::UnplannedFailover, &without_source()).unwrap();
    assert_eq!((life.state(), life.epoch.number), (State::BringingUp, sealed.issued.number + 1));
}

#[test]
fn a_source_that_is_there_is_tried_first_where_that_is_wanted() {
    let life = protected();
    let order = Order { try_to_stop: true, ..life.example_order(Operation::UnplannedFailover, 3) };
    let tried = life.order_now(order.clone(), &well()).unwrap();
    assert_eq!((tried.life.state(), tried.begins), (State::Stopping, Some(Begin::TryHandOver)));
    let late = tried.life.does(Operation::UnplannedFailover, &without_source()).unwrap();
    assert_eq!((late.state(), late.source, late.epoch.number), (State::BringingUp, THERE, 3));
    let lost = life.order_now(order, &without_source()).unwrap();
    assert_eq!((lost.life.state(), lost.begins), (State::BringingUp, Some(Begin::BringUp)));
}

#[test]
fn the_point_can_be_changed_back_and_forth_until_commit() {
    let first = failed_over(&protected());
    let change = |life: &Life, number, overlay| {
        let mut order = life.example_order(Operation::ChangePoint, 1);
        (order.point, order.overlay) = (Choice::At(point(number)), overlay);
        life.order_now(order, &well())
    };
    assert_eq!(change(&first, 7, Overlay::Fresh).unwrap_err().code, "same-point");
    assert_eq!(change(&first, 5, Overlay::AsLeft).unwrap_err().code, "never-there");
    let life = change(&first, 5, Overlay::Fresh).unwrap().life;
    assert_eq!((life.state(), life.epoch), (State::ChangingPoint, first.epoch));
    let life = life.hears(Event::Runs { at: Some(point(5)) }, &well());
    let Stage::FailedOver { at, kept, .. } = &life.stage else { panic!("{life:?}") };
    assert_eq!((*at, kept.contains(&point(7))), (Some(point(5)), true));
    let back =
        change(&life, 7, Overlay::AsLeft).unwrap().life.hears(Event::Runs { at: Some(point(7)) }, &well());
    let Stage::FailedOver { kept, .. } = &back.stage else { panic!("{back:?}") };
    assert_eq!(kept.iter().copied().collect::<Vec<_>>(), [point(5)]);
    let mut planned = moved(&protected()).example_order(Operation::ChangePoint, 1);
    planned.point = Choice::At(point(5));
    assert_eq!(moved(&protected()).order_now(planned, &well()).unwrap_err().code, "planned");
}

#[test]
fn what_runs_at_the_point_of_before_is_not_taken_for_the_one_that_was_ordered_since() {
    let first = failed_over(&protected());
    let mut order = first.example_order(Operation::ChangePoint, 1);
    order.point = Choice::At(point(5));
    let life = first.order_now(order, &well()).unwrap().life;
    let said = |order, number| Said {
        host: life.source,
        lineage: Lineage::new(MachineId(uuid::Uuid::nil()), life.epoch, life.source),
        runs: true,
        brought_up: Some(BroughtUp { epoch: life.epoch, order, at: Some(point(number)) }),
        current: true,
        cannot_run: None,
        adopted: None,
    };
    let runs = |said: &Said| life.news_of(said, None).contains(&Event::Runs { at: Some(point(5)) });
    let any = |said: &Said| life.news_of(said, None).iter().any(|event| matches!(event, Event::Runs { .. }));
    assert!(!any(&said(life.ups - 1, 7)), "the host has not come to it yet");
    assert!(runs(&said(life.ups, 5)));
    let mut again = life.example_order(Operation::ChangePoint, 1);
    again.point = Choice::At(point(7));
    assert!(life.order_now(again, &well()).unwrap().life.version > life.version, "another order was given");
}

#[test]
fn a_cancel_hands_back_by_seal_and_without_a_receipt_there_is_the_other_way() {
    let life = failed_over(&protected());
    assert_eq!(life.does(Operation::Cancel, &without_source()).unwrap_err().code, "no-receipt");
    let back = life.does(Operation::UnplannedFailover, &without_source()).unwrap();
    assert_eq!((back.source, back.epoch.number), (HERE, 3));
    let life = life.does(Operation::Cancel, &well()).unwrap();
    assert_eq!(life.state(), State::Cancelling);
    assert!(life.may_run().is_empty());
    let next = life.issued;
    let aborted = life.does(Operation::Abort, &well()).unwrap().hears(Event::RunsAgain, &well());
    assert_eq!((aborted.state(), aborted.source), (State::FailedOver, THERE));
    let life =
        life.hears(Event::Sealed { next, last: point(7) }, &well()).hears(Event::Accepted { next }, &well());
    let life = life.hears(Event::Runs { at: None }, &well());
    assert_eq!((life.state(), life.source, life.flat), (State::Resynchronizing, HERE, Flat::Own));
    assert_eq!(life.hears(Event::Resynced, &well()).state(), State::Protected);
}

#[test]
fn a_cancel_of_a_failover_back_to_the_old_side_is_not_protected_before_it_is_reversed() {
    let there = failed_over(&protected());
    let back = there.does(Operation::UnplannedFailover, &without_source()).unwrap();
    let back = back.hears(Event::Runs { at: None }, &well());
    assert_eq!((back.source, back.epoch.number), (HERE, 3));
    let life = back.does(Operation::Cancel, &well()).unwrap();
    let next = life.issued;
    let life =
        life.hears(Event::Sealed { next, last: point(7) }, &well()).hears(Event::Accepted { next }, &well());
    let life = life.hears(Event::Runs { at: None }, &well());
    assert_eq!((life.state(), life.source), (State::Committed, THERE));
}

#[test]
fn points_stand_still_until_commit_and_stay_until_the_other_way_has_one() {
    let life = failed_over(&protected());
    assert!(!life.points_age() && life.keeps_history());
    let life = life.does(Operation::Commit, &well()).unwrap();
    assert!(!life.points_age() && life.keeps_history());
    let life = life.does(Operation::Reverse, &well()).unwrap();
    let life = life.hears(Event::Adopted { had_disks: false }, &well());
    assert_eq!((life.state(), life.points_age(), life.keeps_history()), (State::Seeding, true, true));
    let [source, target] = life.hosts();
    assert!(life.keeps_history_on(source) && life.keeps_history_on(target));
    let life = life.hears(Event::FirstPoint, &well());
    assert!(!life.keeps_history() && !life.keeps_history_on(source) && !life.keeps_history_on(target));
}

#[test]
fn a_sealed_machine_whose_target_is_lost_is_taken_back() {
    let life = Life::example(State::Sealed);
    let lost = Facts { target: Seen::lost(), ..life.example_facts() };
    assert_eq!(life.does(Operation::Abort, &lost).unwrap_err().code, "target-away");
    let order = Order {
        confirmed: [farshore_protection::Confirm::DataLoss].into(),
        ..life.example_order(Operation::TakeBack, 4)
    };
    assert_eq!(life.order_now(order, &lost).unwrap_err().code, "confirm-may-still-run");
    let taken = life.does(Operation::TakeBack, &lost).unwrap();
    assert_eq!((taken.source, taken.epoch.number), (HERE, life.issued.number + 1));
    assert_eq!(taken.hears(Event::Runs { at: None }, &lost).state(), State::Committed);
}

#[test]
fn a_machine_that_is_not_there_to_be_taken_back_is_brought_up_at_a_point() {
    let life = failed_over(&protected()).does(Operation::Cancel, &well()).unwrap();
    let life = life.hears(Event::Sealed { next: life.issued, last: point(7) }, &well());
    let lost = Facts { target: Seen::lost(), ..well() };
    let taken = life.does(Operation::TakeBack, &lost).unwrap();
    assert_eq!(taken.does(Operation::ChangePoint, &lost).unwrap_err().code, "not-failed-over", "it is begun");
    let failed = taken.hears(Event::CannotRun { why: "it is not defined here".to_owned() }, &lost);
    let mut order = failed.example_order(Operation::ChangePoint, 5);
    order.point = Choice::At(point(7));
    let life = failed.order_now(order, &lost).unwrap().life;
    assert_eq!((life.state(), life.source, life.epoch), (State::ChangingPoint, THERE, taken.epoch));
    let life = life.hears(Event::Runs { at: Some(point(7)) }, &lost);
    assert_eq!((life.state(), life.source), (State::FailedOver, THERE));
}

#[test]
fn a_seal_that_another_vault_had_ordered_is_the_truth_all_the_same() {
    let next = Epoch { number: 2, token: 4711 };
    let life = protected().hears(Event::Sealed { next, last: point(9) }, &well());
    assert_eq!((life.state(), life.issued), (State::Sealed, next));
    // Of two vaults that ordered it, the one counts whose order the host has sealed.
    let other = protected().does(Operation::PlannedFailover, &well()).unwrap();
    let other = other.hears(Event::Sealed { next, last: point(9) }, &well());
    assert_eq!((other.state(), other.wanted().target), (State::Sealed, Want::Accept { next }));
    let other = other.hears(Event::Accepted { next }, &well());
    assert_eq!((other.source, other.epoch, other.issued), (THERE, next, next));
}

/// A host took the machine over by itself while the vault was away. `alone`: the other one has
/// heard of it, and does not run the machine.
fn taken_over(alone: bool) -> Life {
    let owned = Event::Owned { epoch: Epoch { number: 2, token: 77 }, owner: THERE, alone, twice: false };
    protected().hears(owned, &well())
}

#[test]
fn what_a_host_took_over_is_adopted_only_where_the_other_one_cannot_run_it_any_more() {
    assert_eq!((taken_over(true).state(), taken_over(true).source), (State::FailedOver, THERE));
    let life = taken_over(false);
    assert_eq!((life.state(), life.wanted().source), (State::Contested, Want::Hold));
    for facts in [well(), without_source()] {
        let mut order = life.example_order(Operation::DeclareWinner, 6);
        order.winner = Some(THERE);
        let won = life.order_now(order, &facts).unwrap().life;
        assert_eq!((won.source, won.epoch.number, won.wanted().target), (THERE, 3, Want::Fence));
        assert_eq!(won.hears(Event::Runs { at: None }, &facts).state(), State::Committed);
    }
}

#[test]
fn a_takeover_by_hand_that_is_cancelled_is_replicated_as_before() {
    let life = taken_over(true).does(Operation::Cancel, &well()).unwrap();
    let next = life.issued;
    let life =
        life.hears(Event::Sealed { next, last: point(7) }, &well()).hears(Event::Accepted { next }, &well());
    let life = life.hears(Event::Runs { at: None }, &well());
    assert_eq!((life.state(), life.source), (State::Resynchronizing, HERE));
}

#[test]
fn an_adoption_that_stops_production_is_caught() {
    let _planted = plant(Bug::AdoptsBlindly);
    assert_ne!(taken_over(false).wanted().target, Want::Hold);
}

#[test]
fn one_number_of_two_owners_stops_both_until_a_winner_is_declared() {
    let life = protected().does(Operation::PlannedFailover, &well()).unwrap();
    let twin = Epoch { token: 4711, ..life.issued };
    let life = life.hears(Event::Owned { epoch: twin, owner: THERE, alone: true, twice: false }, &well());
    assert_eq!(life.state(), State::Contested);
    assert_eq!(life.does(Operation::UnplannedFailover, &well()).unwrap_err().code, "contested");
    let won = life.does(Operation::DeclareWinner, &well()).unwrap();
    assert_eq!((won.source, won.epoch.number), (HERE, 3));
}

#[test]
fn flattening_is_a_step_of_its_own_that_costs_replication() {
    let life = moved(&protected());
    assert_eq!(life.does(Operation::Flatten, &well()).unwrap_err().code, "not-committed");
    let life = life.does(Operation::Commit, &well()).unwrap();
    let flat = life.does(Operation::Flatten, &well()).unwrap();
    assert!(!flat.wanted().copies && life.wanted().copies);
    assert_eq!(flat.does(Operation::PlannedFailover, &well()).unwrap_err().code, "flattening");
    assert!(flat.does(Operation::StopFlatten, &well()).unwrap().wanted().copies);
    assert_eq!(flat.hears(Event::Flattened, &well()).flat, Flat::Own);
    let mut order = life.example_order(Operation::Flatten, 1);
    order.at_ms = Some(7);
    let later = life.order_now(order, &well()).unwrap().life;
    assert!(later.wanted().copies && !later.hears(Event::FlattenBegun, &well()).wanted().copies);
}

#[test]
fn a_row_of_before_there_were_lives_is_one() {
    let epoch = Epoch { number: 4, token: 9 };
    let of = |paused, ended, point, conflict| {
        Life::of_before([HERE, THERE], epoch, paused, ended, point, conflict)
    };
    assert_eq!(of(false, false, false, None).state(), State::Seeding);
    assert_eq!(of(false, false, true, None).state(), State::Protected);
    assert!(of(true, false, true, None).paused && !of(true, false, true, None).wanted().copies);
    assert_eq!(of(false, true, true, None).state(), State::Disabled);
    assert_eq!(of(false, false, true, Some(Epoch { token: 1, ..epoch })).state(), State::Contested);
    assert_eq!(of(false, true, true, None).copying, Copying::Off);
}

/// Committed on the other side, with a time at which it is flattened.
fn to_be_flattened() -> Life {
    let life = moved(&protected()).does(Operation::Commit, &well()).unwrap();
    let mut order = life.example_order(Operation::Flatten, 1);
    order.at_ms = Some(7);
    life.order_now(order, &well()).unwrap().life
}

#[test]
fn who_stops_a_flattening_gives_nothing_else_up() {
    let life = to_be_flattened().does(Operation::Failback, &well()).unwrap();
    let step = life.order_now(life.example_order(Operation::StopFlatten, 2), &well()).unwrap();
    assert_eq!((step.supersedes, step.life.flat), (Supersedes::Flattening, Flat::Layered));
    assert_eq!(step.life.stage, life.stage, "the move goes on");
}

#[test]
fn what_the_disks_are_is_told_by_the_host_that_runs_the_machine() {
    let told = |life: &Life, layered| life.hears(Event::Disks { layered }, &well());
    let taken = Life::example(State::Sealed);
    let taken = taken.does(Operation::TakeBack, &taken.example_facts()).unwrap();
    assert_eq!(told(&taken, true).flat, Flat::Own, "not while it is on its way");
    let runs = taken.hears(Event::Runs { at: None }, &well());
    assert_eq!(runs.does(Operation::Flatten, &well()).unwrap_err().code, "flat");
    let layered = told(&runs, true);
    assert_eq!(layered.does(Operation::Flatten, &well()).unwrap().flat, Flat::Flattening);
    assert_eq!((layered.version, told(&layered, false).flat), (runs.version, Flat::Own));
    let scheduled = to_be_flattened();
    assert_eq!(told(&scheduled, true), scheduled);
    assert_eq!(told(&scheduled, false).flat, Flat::Own);
    let flattening = layered.does(Operation::Flatten, &well()).unwrap();
    assert_eq!(told(&flattening, false), flattening, "its host says when all is done");
}

#[test]
fn a_paused_machine_that_is_stopped_first_sends_its_last_cycle() {
    let paused = protected().does(Operation::Pause, &well()).unwrap();
    let order = Order { try_to_stop: true, ..paused.example_order(Operation::UnplannedFailover, 3) };
    let tried = paused.order_now(order, &well()).unwrap().life;
    assert!(matches!(tried.wanted().source, Want::HandOver { last_cycle: true, .. }));
    assert!(!tried.paused, "nothing would be sent");
}

#[test]
fn a_copy_that_is_made_anew_is_not_called_a_protection() {
    let life = moved(&protected());
    assert!(life.what().contains("is protected in reverse"));
    let life = life.hears(Event::CopiesAnew, &well());
    assert_eq!((life.state(), life.copying), (State::MovedOver, Copying::Seeding));
    assert!(!life.what().contains("is protected in reverse"), "{}", life.what());
    let life = life.does(Operation::Commit, &well()).unwrap();
    assert_eq!(life.state(), State::Seeding);
    assert_eq!(life.does(Operation::Failback, &well()).unwrap_err().code, "not-complete");
    assert_eq!(life.hears(Event::FirstPoint, &well()).state(), State::Protected);
}
