//! What a guest does late, or a person by hand, while its machine changes hands.

use std::time::Duration;

use farshore_agent::config::Period;
use farshore_control::HostReport;
use farshore_hypervisor::{Hypervisor, Start, simulated::Operation as Call};
use farshore_protection::{Event, Facts, Input, Life, Operation, Report, Stage};

use super::{
    handing::{lineage, ordered, standing},
    vault::PATIENCE,
    world::Pair,
};

fn cannot(report: &HostReport, pair: &Pair, what: &str) -> bool {
    let told = standing(report, pair.machine).and_then(|s| s.cannot.clone());
    told.is_some_and(|problem| problem.what.contains(what))
}

/// A move that is given up while the guest has not gone down yet: the life of before again.
async fn given_up_while_it_is_asked(pair: &Pair) -> Life {
    let life = pair.living().await;
    pair.source_host.set_heeds_shutdown(pair.machine, false).unwrap();
    let over = ordered(&life, Operation::PlannedFailover, false);
    pair.tell(&over);
    let asked = |report: &HostReport| {
        let doing = standing(report, pair.machine).and_then(|s| s.doing.clone());
        doing.is_some_and(|doing| doing.what.contains("shutting"))
    };
    pair.vault.until(pair.source_id, "it to be asked", asked).await;
    let aborting = ordered(&over, Operation::Abort, false);
    pair.tell(&aborting);
    pair.vault.until(pair.source_id, "nobody to wait for that any more", |report| !asked(report)).await;
    let runs = Input::Report(Report { epoch: aborting.epoch, event: Event::RunsAgain });
    let again = aborting.step(&runs, &Facts::well()).unwrap().life;
    assert_eq!(again.stage, Stage::Replicating);
    pair.tell(&again);
    again
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_goes_down_after_its_move_was_given_up_is_started_again() {
    let pair = Pair::new().await;
    given_up_while_it_is_asked(&pair).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(pair.source_runs().await && pair.source_host.calls(Call::Start) == 1, "only this test's");
    // It heeds it at last; an agent that dies meanwhile still knows.
    pair.restart_source().await;
    pair.source_host.destroy(pair.machine).await.unwrap();
    let begun = std::time::Instant::now();
    while !pair.source_runs().await {
        assert!(begun.elapsed() < PATIENCE, "it does not run again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pair.until_source_keeps("that it is not asked any more", |station| station["asked"].is_null()).await;
    // That was what it was asked. What its users do from then on is their business.
    pair.source_host.destroy(pair.machine).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!pair.source_runs().await);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_does_not_heed_for_long_goes_down_by_its_users_word_only() {
    let deadline = |config: &mut farshore_agent::Config| config.shutdown_deadline = Period::secs(1);
    let pair = Pair::configured(&["vda"], deadline).await;
    given_up_while_it_is_asked(&pair).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    pair.source_host.destroy(pair.machine).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!pair.source_runs().await);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_machine_that_somebody_starts_is_stopped_and_told_of() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    let over = ordered(&life, Operation::PlannedFailover, false);
    // The target hears of nothing, and so does not accept.
    pair.change_at_source(|protection| protection.life = Some(over.clone()));
    let sealed = |report: &HostReport| lineage(report, machine).is_some_and(|held| held.seal.is_some());
    pair.vault.until(pair.source_id, "its seal", sealed).await;
    pair.source_host.start(machine, Start::Running).await.unwrap();
    let told = |report: &HostReport| cannot(report, &pair, "though it is sealed");
    let report = pair.vault.until(pair.source_id, "that it was started", told).await;
    assert!(!pair.source_runs().await, "the other host may accept it at any moment");
    assert!(sealed(&report) && !standing(&report, machine).unwrap().fenced);
    pair.end().await;
}

/// Its memory is a part of what it is: neither is it started to read its disks, which would end that,
/// nor is it moved without.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_memory_is_saved_is_neither_started_nor_moved_until_it_runs_again() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    let starts = pair.source_host.calls(Call::Start);
    pair.source_host.save(machine).unwrap();
    let over = ordered(&life, Operation::PlannedFailover, false);
    pair.tell(&over);
    let told = |report: &HostReport| cannot(report, &pair, "memory is saved");
    pair.vault.until(pair.source_id, "that it is saved", told).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let report = pair.vault.report_of(pair.source_id).await;
    assert_eq!(lineage(&report, machine).unwrap().seal, None);
    assert_eq!(pair.source_host.calls(Call::Start), starts, "nobody has started it");
    assert!(pair.source_host.machine(machine).await.unwrap().saved);
    pair.source_host.start(machine, Start::Running).await.unwrap();
    let runs = |report: &HostReport| standing(report, machine).is_some_and(|s| s.runs == Some(true));
    pair.vault.until(pair.target_id, "it to run there", runs).await;
    assert!(pair.replica_equals_model().await);
    pair.end().await;
}
