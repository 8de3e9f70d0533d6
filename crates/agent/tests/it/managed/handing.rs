//! A machine that changes hands, by a life that the test plays: sealed and accepted, refused and
//! run again, held after a boot. Simulated hypervisors; what becomes of disks is shown with real
//! guests.

use std::time::Duration;

use farshore_agent::{
    config::Period,
    control::{Reply, Request},
};
use farshore_control::{HostReport, ownership::Lineage, standing::Standing};
use farshore_hypervisor::{Hypervisor, PowerState, Start, simulated::Operation as Call};
use farshore_protection::{
    Confirm, Copying, Event, Facts, Flat, Input, Life, Operation, Order, Phase, Report, Stage,
};
use farshore_types::{Epoch, HostId, MachineId};

use super::world::Pair;
use crate::world::key;

pub(super) fn lineage(report: &HostReport, machine: MachineId) -> Option<&Lineage> {
    report.lineages.iter().find(|lineage| lineage.machine == machine)
}

pub(super) fn standing(report: &HostReport, machine: MachineId) -> Option<&Standing> {
    report.standings.iter().find(|standing| standing.machine == machine)
}

/// A life whose target has points.
pub(super) fn replicating(pair: &Pair) -> Life {
    let begun = Life::begin(pair.source_id, pair.target_id, Epoch { number: 1, token: 11 });
    Life { copying: Copying::Steady, ..begun }
}

pub(super) fn ordered(life: &Life, operation: Operation, power_off: bool) -> Life {
    let confirmed = [Confirm::DataLoss, Confirm::MayStillRun].into();
    let order = Order { confirmed, seen: Some(life.version), power_off, ..Order::new(operation, 22) };
    let facts = Facts { known: vec![life.issued], ..Facts::well() };
    life.step(&Input::Order(Box::new(order)), &facts).unwrap().life
}

impl Pair {
    /// A protection with points, and its life.
    pub(super) async fn living(&self) -> Life {
        let life = replicating(self);
        self.enable_with(|protection| protection.life = Some(life.clone()));
        self.newest_above(0).await;
        life
    }

    pub(super) fn tell(&self, life: &Life) {
        self.change(|protection| protection.life = Some(life.clone()));
    }

    /// Orders a move without loss, and waits until it is done; the life from then on.
    pub(super) async fn move_over(&self, life: &Life, operation: Operation) -> Life {
        let over = ordered(life, operation, false);
        let Stage::HandingOver(handing) = &over.stage else { panic!("{over:?}") };
        let (machine, next) = (self.machine, handing.next);
        self.tell(&over);
        let runs = |report: &HostReport| {
            let held = lineage(report, machine).is_some_and(|held| held.epoch == next);
            held && standing(report, machine).is_some_and(|s| s.runs == Some(true) && s.brought_up.is_some())
        };
        self.vault.until(life.target, "it to run there", runs).await;
        let life = Life {
            epoch: next,
            source: life.target,
            target: life.source,
            stage: Stage::Replicating,
            flat: Flat::Layered,
            ..over
        };
        self.change(|protection| {
            std::mem::swap(&mut protection.source, &mut protection.target);
            (protection.epoch, protection.life) = (next, Some(life.clone()));
        });
        life
    }

    pub(super) async fn power_of(&self, host: HostId) -> Option<PowerState> {
        let host = if host == self.source_id { &self.source_host } else { self.target_host() };
        host.machine(self.machine).await.ok().map(|machine| machine.power)
    }

    pub(super) async fn source_runs(&self) -> bool {
        self.power_of(self.source_id).await == Some(PowerState::Running)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_sealed_with_all_that_it_wrote_and_started_there_at_exactly_that() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    pair.source_host.guest_write(machine, &key("vda"), 200_000, b"the last word").unwrap();
    pair.source_host.set_autostart(machine, true).await.unwrap();
    let over = ordered(&life, Operation::PlannedFailover, false);
    pair.tell(&over);
    let owns = |report: &HostReport| {
        let held = lineage(report, machine);
        held.is_some_and(|held| held.owner == pair.target_id && held.epoch.number == 2)
    };
    pair.vault.until(pair.target_id, "the target to own it", owns).await;
    let runs = |report: &HostReport| {
        standing(report, machine).is_some_and(|s| s.runs == Some(true) && s.brought_up.is_some())
    };
    let there = pair.vault.until(pair.target_id, "it to run there", runs).await;
    let here = pair.vault.report_of(pair.source_id).await;
    let seal = lineage(&here, machine).unwrap().seal.expect("the source has sealed it");
    assert_eq!(standing(&there, machine).unwrap().brought_up.unwrap().at, Some(seal.last.id));
    assert!(pair.replica_equals_model().await, "nothing is lost");
    assert_eq!(pair.newest().await, seal.last.id.number);
    assert!(pair.power_of(pair.source_id).await.unwrap().is_off());
    assert!(
        !pair.source_host.machine(machine).await.unwrap().autostart,
        "only its owner says when it starts"
    );
    // Whatever happens to the two, only one runs it.
    pair.restart_source().await;
    pair.restart_target().await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(pair.power_of(pair.source_id).await.unwrap().is_off());
    assert_eq!(pair.power_of(pair.target_id).await, Some(PowerState::Running));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_machine_runs_again_only_when_the_other_side_has_refused_it_for_good() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    pair.stop_target().await;
    // Without the other side there is no last cycle, and so no seal.
    let over = ordered(&life, Operation::PlannedFailover, false);
    pair.tell(&over);
    let waits = |report: &HostReport| standing(report, machine).is_some_and(|s| s.cannot.is_some());
    let report = pair.vault.until(pair.source_id, "the last cycle to wait", waits).await;
    assert_eq!(lineage(&report, machine).unwrap().seal, None, "zero loss, or no failover at all");
    let aborted = ordered(&over, Operation::Abort, false);
    pair.tell(&aborted);
    pair.vault
        .until(pair.source_id, "it to run again", |report| {
            standing(report, machine).is_some_and(|s| s.runs == Some(true))
        })
        .await;
    // Sealed at a target that then hears of nothing.
    let seal = |report: &HostReport| lineage(report, machine).and_then(|held| held.seal);
    pair.start_target();
    let life = Life { issued: over.issued, ..life };
    pair.tell(&life);
    pair.newest_above(pair.newest().await).await;
    let again = ordered(&life, Operation::PlannedFailover, false);
    let Stage::HandingOver(handing) = &again.stage else { panic!("{again:?}") };
    let next = handing.next;
    pair.change_at_source(|protection| protection.life = Some(again.clone()));
    let sealed = pair.vault.until(pair.source_id, "its seal", |report| seal(report).is_some()).await;
    assert_eq!(seal(&sealed).unwrap().next, next);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!pair.source_runs().await, "sealed, it is not this host's to start");
    let event = Event::Sealed { next, last: seal(&sealed).unwrap().last.id };
    let known =
        again.step(&Input::Report(Report { epoch: again.epoch, event }), &Facts::well()).unwrap().life;
    assert!(matches!(&known.stage, Stage::HandingOver(over) if over.phase == Phase::Sealed));
    let back = ordered(&known, Operation::Abort, false);
    pair.tell(&back);
    let refused =
        |report: &HostReport| lineage(report, machine).is_some_and(|held| held.refused.contains(&next));
    pair.vault.until(pair.target_id, "the refusal", refused).await;
    let report = pair
        .vault
        .until(pair.source_id, "it to run again", |report| {
            standing(report, machine).is_some_and(|s| s.runs == Some(true)) && seal(report).is_none()
        })
        .await;
    assert_eq!(lineage(&report, machine).unwrap().epoch.number, 1);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_paused_is_said_to_be_and_is_switched_off_where_that_was_ordered() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    pair.source_host.destroy(machine).await.unwrap();
    pair.source_host.start(machine, Start::Paused).await.unwrap();
    let over = ordered(&life, Operation::PlannedFailover, false);
    pair.tell(&over);
    let cannot = |report: &HostReport| {
        let told = standing(report, machine).and_then(|s| s.cannot.clone());
        told.is_some_and(|problem| problem.what.contains("is paused") && problem.advice.contains("resume"))
    };
    pair.vault.until(pair.source_id, "that it is paused", cannot).await;
    assert_eq!(pair.source_host.calls(Call::Destroy), 1, "only this test's");
    let aborted = ordered(&over, Operation::Abort, false);
    let life = Life { stage: Stage::Replicating, ..aborted };
    pair.tell(&ordered(&life, Operation::PlannedFailover, true));
    let runs = |report: &HostReport| standing(report, machine).is_some_and(|s| s.runs == Some(true));
    pair.vault.until(pair.target_id, "it to run there", runs).await;
    assert!(pair.replica_equals_model().await);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_stopped_only_by_a_word_of_now_and_switched_off_only_where_that_was_ordered() {
    let deadline = |config: &mut farshore_agent::Config| config.shutdown_deadline = Period::secs(1);
    let pair = Pair::configured(&["vda"], deadline).await;
    let (machine, life) = (pair.machine, pair.living().await);
    pair.source_host.set_heeds_shutdown(machine, false).unwrap();
    pair.vault.set_clock(None);
    // Until whoever hands documents down has the vault's clock again, no word is of now.
    pair.restart_source().await;
    let over = ordered(&life, Operation::PlannedFailover, false);
    pair.tell(&over);
    let holds = |report: &HostReport| standing(report, machine).is_some_and(|s| s.document.is_some());
    pair.vault.until(pair.source_id, "its new run", holds).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(pair.source_host.calls(Call::ShutDown), 0, "a word from a cache stops nothing");
    pair.vault.set_clock(Some(2_000_000));
    let cannot = |report: &HostReport| {
        let told = standing(report, machine).and_then(|s| s.cannot.clone());
        told.is_some_and(|problem| problem.what.contains("has not stopped"))
    };
    pair.vault.until(pair.source_id, "that it does not shut down", cannot).await;
    assert!(pair.source_runs().await && pair.source_host.calls(Call::Destroy) == 0);
    let aborted = ordered(&over, Operation::Abort, false);
    let life = Life { stage: Stage::Replicating, ..aborted };
    let ordered_off = ordered(&life, Operation::PlannedFailover, true);
    pair.tell(&ordered_off);
    pair.vault
        .until(pair.target_id, "it to run there", |report| {
            standing(report, machine).is_some_and(|s| s.runs == Some(true))
        })
        .await;
    assert!(pair.replica_equals_model().await);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_given_up_while_the_guest_takes_its_time() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    pair.source_host.set_heeds_shutdown(machine, false).unwrap();
    let over = ordered(&life, Operation::PlannedFailover, false);
    pair.tell(&over);
    let asked = |report: &HostReport| {
        let doing = standing(report, machine).and_then(|s| s.doing.clone());
        doing.is_some_and(|doing| doing.what.contains("shutting"))
    };
    pair.vault.until(pair.source_id, "it to be shut down", asked).await;
    pair.tell(&ordered(&over, Operation::Abort, false));
    pair.vault.until(pair.source_id, "nobody to wait for that any more", |report| !asked(report)).await;
    assert!(pair.source_runs().await && pair.source_host.calls(Call::Destroy) == 0);
    let report = pair.vault.report_of(pair.source_id).await;
    assert_eq!(lineage(&report, machine).and_then(|held| held.seal), None);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_boot_a_machine_starts_by_the_other_sides_word_or_by_a_persons_here() {
    let pair = Pair::new().await;
    let (machine, _) = (pair.machine, pair.living().await);
    pair.boot_source("second").await;
    let runs = |report: &HostReport| standing(report, machine).is_some_and(|s| s.runs == Some(true));
    pair.vault.until(pair.source_id, "it to run after the boot", runs).await;
    pair.stop_target().await;
    pair.boot_source("third").await;
    let held = |report: &HostReport| standing(report, machine).is_some_and(|s| s.held_without_witness);
    pair.vault.until(pair.source_id, "it to be held", held).await;
    assert!(!pair.source_runs().await, "nobody says that the other side has not taken over");
    let told = pair.ask_source(Request::StartHeld { machine: "web1".to_owned() }).await.unwrap();
    assert!(matches!(told, Reply::HeldStarts(_)), "{told:?}");
    pair.vault.until(pair.source_id, "it to run by a person's word", runs).await;
    pair.until_source_keeps("that it ran", |station| station["boots"]["ran"] == "third").await;
    // What its users have shut down is not started.
    pair.source_host.destroy(machine).await.unwrap();
    let off = |report: &HostReport| standing(report, machine).is_some_and(|s| s.runs == Some(false));
    pair.vault.until(pair.source_id, "it to be off", off).await;
    pair.until_source_keeps("that it was shut down", |station| station["boots"]["ran"].is_null()).await;
    pair.boot_source("fourth").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!pair.source_runs().await);
    assert!(pair.ask_source(Request::StartHeld { machine: "web1".to_owned() }).await.is_err());
    pair.source_host.start(machine, Start::Running).await.unwrap();
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strange_machine_of_that_identity_is_neither_stopped_nor_taken_nor_started() {
    let pair = Pair::new().await;
    let machine = pair.machine;
    let twin = pair.source_host.machine(machine).await.unwrap();
    for disk in &twin.disks {
        pair.target_host().add_image(disk.path.as_deref().unwrap(), disk.size);
    }
    pair.target_host().define(&twin.definition).await.unwrap();
    pair.target_host().start(machine, Start::Running).await.unwrap();
    let life = replicating(&pair);
    pair.enable_with(|protection| protection.life = Some(life.clone()));
    let told = |report: &HostReport| {
        let cannot = standing(report, machine).and_then(|s| s.cannot.clone());
        cannot.is_some_and(|problem| problem.what.contains("already has machine"))
    };
    pair.vault.until(pair.target_id, "that it is in the way", told).await;
    assert_eq!(pair.power_of(pair.target_id).await, Some(PowerState::Running), "nobody's to stop");
    assert_eq!(pair.newest().await, 0, "of a machine that runs twice nothing is replicated");
    // Off, it is not in the way of cycles; but what is moved is never started from its disks.
    pair.target_host().destroy(machine).await.unwrap();
    pair.newest_above(0).await;
    pair.tell(&ordered(&life, Operation::PlannedFailover, false));
    pair.vault
        .until(pair.source_id, "its seal", |report| {
            lineage(report, machine).is_some_and(|held| held.seal.is_some())
        })
        .await;
    pair.vault.until(pair.target_id, "that it cannot be accepted", told).await;
    let report = pair.vault.report_of(pair.target_id).await;
    assert_eq!(lineage(&report, machine).unwrap().epoch.number, 1, "sealed, and not accepted");
    assert!(pair.power_of(pair.target_id).await.unwrap().is_off());
    pair.end().await;
}
