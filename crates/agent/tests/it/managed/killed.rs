//! A change of hands that is cut between two of its steps: by an agent that is killed, a host
//! that loses power, a call that fails though it took effect. Simulated hypervisors.

use std::time::Duration;

use farshore_agent::control::Request;
use farshore_control::{HostReport, ownership::Lineage};
use farshore_hypervisor::{GuestState, Hypervisor, Kind, PowerState, Start, simulated::Operation as Call};
use farshore_protection::{
    Choice, Confirm, Event, Facts, Input, Life, Operation, Order, Report, fence::Fence,
};
use farshore_types::PointId;
use tokio::time::timeout;

use super::{
    handing::{lineage, ordered, standing},
    world::Pair,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for an agent of a test to do what it must not.
pub(super) const A_WHILE: Duration = Duration::from_millis(900);

pub(super) fn hears(life: &Life, event: Event) -> Life {
    life.step(&Input::Report(Report { epoch: life.epoch, event }), &Facts::well()).unwrap().life
}

/// As the vault writes the document of a life whose owner has changed.
pub(super) fn tell(pair: &Pair, life: &Life) {
    pair.change(|protection| {
        if protection.source.host != life.source {
            std::mem::swap(&mut protection.source, &mut protection.target);
        }
        (protection.epoch, protection.life) = (life.epoch, Some(life.clone()));
    });
}

/// Failed over by force, up at the newest point.
pub(super) async fn failed_over(pair: &Pair) -> (Life, PointId) {
    let life = pair.living().await;
    let newest = pair.newest_above(pair.newest().await).await;
    let life = ordered(&life, Operation::UnplannedFailover, false);
    tell(pair, &life);
    let machine = pair.machine;
    let up = |report: &HostReport| standing(report, machine).is_some_and(|s| s.brought_up.is_some());
    let report = pair.vault.until(pair.target_id, "it to run there", up).await;
    let at = standing(&report, machine).unwrap().brought_up.unwrap().at.unwrap();
    assert!(at.number >= newest);
    (hears(&life, Event::Runs { at: Some(at) }), at)
}

fn changed(life: &Life, point: PointId) -> Life {
    let order = Order {
        confirmed: [Confirm::DataLoss, Confirm::MayStillRun].into(),
        seen: Some(life.version),
        point: Choice::At(point),
        ..Order::new(Operation::ChangePoint, 33)
    };
    life.step(&Input::Order(Box::new(order)), &Facts::well()).unwrap().life
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_point_that_was_cut_after_the_guest_ran_is_not_done_again() {
    let pair = Pair::new().await;
    let machine = pair.machine;
    let (life, at) = failed_over(&pair).await;
    let other = PointId { number: at.number - 1, ..at };
    let order = changed(&life, other);
    let stops = pair.target_host().calls(Call::Destroy);
    // It runs, and whoever let it run never hears of that.
    pair.target_host().fail_after_effect(Call::Resume, 1, Kind::Timeout);
    tell(&pair, &order);
    let there = |report: &HostReport| {
        let up = standing(report, machine).and_then(|s| s.brought_up);
        up.is_some_and(|up| up.order == order.ups && up.at == Some(other))
    };
    pair.vault.until(pair.target_id, "it to be known to run there", there).await;
    assert_eq!(pair.power_of(pair.target_id).await, Some(PowerState::Running));
    tokio::time::sleep(A_WHILE).await;
    let again = pair.target_host().calls(Call::Destroy) - stops;
    assert_eq!(again, 1, "only what ran at the other point was stopped");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_off_before_the_vault_has_heard_that_it_ran_keeps_what_it_wrote() {
    let pair = Pair::new().await;
    let machine = pair.machine;
    let (life, at) = failed_over(&pair).await;
    let other = PointId { number: at.number - 1, ..at };
    let order = changed(&life, other);
    tell(&pair, &order);
    let there = |report: &HostReport| {
        standing(report, machine).and_then(|s| s.brought_up).is_some_and(|up| up.order == order.ups)
    };
    pair.vault.until(pair.target_id, "it to run there", there).await;
    let defined = pair.target_host().calls(Call::Undefine);
    // The vault still wants what it ordered.
    pair.target_host().destroy(machine).await.unwrap();
    let runs = |report: &HostReport| standing(report, machine).is_some_and(|s| s.runs == Some(true));
    let off = |report: &HostReport| standing(report, machine).is_some_and(|s| s.runs == Some(false));
    pair.vault.until(pair.target_id, "it to run again", |report| runs(report) || off(report)).await;
    pair.vault.until(pair.target_id, "it to run again", runs).await;
    assert_eq!(pair.target_host().calls(Call::Undefine), defined, "nothing was put aside");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_an_agent_left_paused_before_it_ran_is_not_said_to_run_and_is_let_run() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    let gate = pair.target_host().hold(Call::Resume);
    pair.tell(&ordered(&life, Operation::PlannedFailover, false));
    let paused = || async { pair.power_of(pair.target_id).await.is_some_and(|power| power.is_paused()) };
    while !paused().await || pair.target_host().calls(Call::Resume) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = pair.vault.report_of(pair.target_id).await;
    assert_ne!(standing(&told, machine).unwrap().runs, Some(true), "nobody can use it");
    // Killed there; the one that comes finds it paused.
    pair.stop_target().await;
    assert!(paused().await);
    drop(gate);
    pair.start_target();
    let runs = |report: &HostReport| {
        standing(report, machine).is_some_and(|s| s.runs == Some(true) && s.brought_up.is_some())
    };
    pair.vault.until(pair.target_id, "it to run", runs).await;
    assert_eq!(pair.power_of(pair.target_id).await, Some(PowerState::Running));
    assert_eq!(pair.target_host().calls(Call::Destroy), 0);
    pair.end().await;
}

/// Held for want of a witness, and off, until a person says otherwise.
async fn held_at(pair: &Pair, at_source: bool) {
    let (host, machine) = (if at_source { pair.source_id } else { pair.target_id }, pair.machine);
    let held = |report: &HostReport| standing(report, machine).is_some_and(|s| s.held_without_witness);
    pair.vault.until(host, "it to be held", held).await;
    tokio::time::sleep(A_WHILE).await;
    let power = pair.power_of(host).await;
    assert_ne!(power, Some(PowerState::Running), "nobody said that it may start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_boots_with_a_machine_which_it_has_accepted_and_never_run_asks_for_a_witness() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    let gate = pair.target_host().hold(Call::Start);
    pair.tell(&ordered(&life, Operation::PlannedFailover, false));
    let owns = |held: &Lineage| held.owner == pair.target_id;
    let accepted = |report: &HostReport| lineage(report, machine).is_some_and(owns);
    pair.vault.until(pair.target_id, "it to be accepted", accepted).await;
    while pair.target_host().calls(Call::Start) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pair.stop_source().await;
    pair.boot_target("second").await;
    drop(gate);
    held_at(&pair, false).await;
    // The other side answers that it has not taken over.
    pair.start_source();
    let runs = |report: &HostReport| {
        standing(report, machine).is_some_and(|s| s.runs == Some(true) && s.brought_up.is_some())
    };
    pair.vault.until(pair.target_id, "it to run by the witness", runs).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_boots_with_a_machine_which_a_hand_over_has_shut_down_asks_for_a_witness() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    pair.stop_target().await;
    // Without the other side there is no last cycle, and so no seal.
    pair.tell(&ordered(&life, Operation::PlannedFailover, false));
    let waits = |report: &HostReport| standing(report, machine).is_some_and(|s| s.cannot.is_some());
    pair.vault.until(pair.source_id, "the last cycle to wait", waits).await;
    assert_ne!(pair.power_of(pair.source_id).await, Some(PowerState::Running));
    // By now an operator may have given the machine to the other side, and nobody tells this one.
    pair.vault.set_clock(None);
    pair.boot_source("second").await;
    held_at(&pair, true).await;
    pair.ask_source(Request::StartHeld { machine: "web1".to_owned() }).await.unwrap();
    let runs = |report: &HostReport| standing(report, machine).is_some_and(|s| s.runs == Some(true));
    pair.vault.until(pair.source_id, "it to run by a person's word", runs).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_isolated_stays_so_when_somebody_starts_it_anew() {
    let isolate = |config: &mut farshore_agent::Config| config.fence = Fence::Isolate;
    let pair = Pair::configured(&["vda"], isolate).await;
    let machine = pair.machine;
    failed_over(&pair).await;
    let unplugged = async || {
        while !pair.source_host.is_unplugged(machine).unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, unplugged()).await.expect("the old copy loses its cables");
    assert_eq!(pair.power_of(pair.source_id).await, Some(PowerState::Running), "nobody stops it");
    pair.source_host.destroy(machine).await.unwrap();
    pair.source_host.start(machine, Start::Running).await.unwrap();
    assert!(!pair.source_host.is_unplugged(machine).unwrap());
    timeout(PATIENCE, unplugged()).await.expect("a start gives them back for moments only");
    assert_eq!(pair.power_of(pair.source_id).await, Some(PowerState::Running));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_somebody_undefines_while_it_is_moved_is_said_to_be_gone() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    let gate = pair.source_host.hold(Call::ShutDown);
    pair.tell(&ordered(&life, Operation::PlannedFailover, false));
    tokio::time::sleep(A_WHILE).await;
    pair.source_host.destroy(machine).await.unwrap();
    pair.source_host.undefine(machine, GuestState::Keep).await.unwrap();
    drop(gate);
    let gone = |report: &HostReport| {
        let cannot = standing(report, machine).and_then(|s| s.cannot.clone());
        cannot.is_some_and(|problem| problem.what.contains("not defined here any more"))
    };
    pair.vault.until(pair.source_id, "that it is gone", gone).await;
    pair.end().await;
}
