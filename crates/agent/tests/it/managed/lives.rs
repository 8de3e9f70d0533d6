//! A protection's whole life with a restart after every step, and a bring-up under a vault.

use std::time::Duration;

use farshore_agent::control::{BringUp, PointChoice, Reply, Request, StartChoice};
use farshore_control::{
    Intent,
    report::{ReplicaPhase, SourcePhase},
};
use farshore_hypervisor::Hypervisor;

use super::world::Pair;
use crate::world::{key, text};

/// Restarts of both, one after the other, with nobody above who would tell them anything.
async fn restart_alone(pair: &Pair) {
    pair.vault.be_away(true);
    pair.restart_source().await;
    pair.restart_target().await;
    pair.vault.be_away(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_any_step_changes_nothing_of_what_comes() {
    let pair = Pair::new().await;
    pair.source_host.guest_write(pair.machine, &key("vda"), 1000, b"first").unwrap();
    pair.enable();
    // At once: what was taken is known, what was not is asked for.
    pair.restart_source().await;
    pair.restart_target().await;
    let enabled = pair.newest_above(0).await;
    restart_alone(&pair).await;
    let later = pair.newest_above(enabled).await;
    pair.change(|protection| protection.intent = Intent::Pause);
    pair.source_phase("paused", |phase| *phase == SourcePhase::Paused).await;
    restart_alone(&pair).await;
    pair.source_phase("still paused", |phase| *phase == SourcePhase::Paused).await;
    pair.source_host.guest_write(pair.machine, &key("vda"), 2000, b"second").unwrap();
    pair.change(|protection| protection.settings.small_writes = false);
    restart_alone(&pair).await;
    pair.change(|protection| protection.intent = Intent::Replicate);
    let resumed = pair.newest_above(later).await;
    restart_alone(&pair).await;
    pair.newest_above(resumed).await;
    assert!(pair.replica_equals_model().await);
    let totals = pair.vault.report_of(pair.source_id).await.sources[0].totals;
    assert_eq!(totals.resyncs, 0, "a restart in good order costs no comparison");
    pair.remove("disabled");
    let gone = |report: &farshore_control::HostReport| report.sources.is_empty();
    pair.vault.until(pair.source_id, "the source ends", gone).await;
    restart_alone(&pair).await;
    pair.vault.until(pair.source_id, "and stays so", gone).await;
    let last = pair.newest().await;
    assert!(last >= resumed && pair.replica_equals_model().await, "nothing was deleted");
    pair.end().await;
}

fn bring_up() -> Request {
    Request::BringUp(BringUp {
        machine: "web1".to_owned(),
        point: PointChoice::Latest,
        start: StartChoice::Run,
        replace: false,
        force: false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bring_up_asks_the_source_and_connects_what_the_vault_has_mapped() {
    let pair = Pair::new().await;
    let machine = pair.source_host.machine(pair.machine).await.unwrap();
    let cards = "<interface type='network'><source network='production'/></interface>\
        <interface type='network'><source network='backup'/></interface></devices>";
    pair.source_host.define(&machine.definition.replace("</devices>", cards)).await.unwrap();
    pair.enable_with(|protection| {
        protection.networks = [("production".to_owned(), "lab".to_owned())].into();
    });
    pair.newest_above(0).await;
    let error = text(pair.ask_target(bring_up()).await);
    assert!(error.contains("running on host source"), "nobody configured where that is: {error}");
    pair.source_host.destroy(pair.machine).await.unwrap();
    let reply = pair.ask_target(bring_up()).await;
    assert!(matches!(reply, Ok(Reply::BroughtUp(_))), "{reply:?}");
    let here = pair.target_host().machine(pair.machine).await.unwrap();
    assert!(here.definition.contains("network='lab'"), "{}", here.definition);
    assert!(!here.definition.contains("backup") && here.definition.contains("link state='down'"));
    // The vault learns who owns it now, and its word for the old owner is not taken any more.
    let up = |report: &farshore_control::HostReport| {
        let replica = report.replicas.first();
        let lineage = report.lineages.first();
        replica.is_some_and(|replica| matches!(replica.phase, ReplicaPhase::BroughtUp { .. }))
            && lineage.is_some_and(|lineage| lineage.owner == pair.target_id && lineage.epoch.number == 2)
    };
    pair.vault.until(pair.target_id, "it was brought up", up).await;
    pair.source_phase("superseded", |phase| matches!(phase, SourcePhase::Failed { .. })).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_also_runs_on_another_host_is_not_replicated_until_it_does_not() {
    let pair = Pair::new().await;
    pair.living().await;
    pair.change(|protection| protection.twin = Some("n2".to_owned()));
    let held = |phase: &SourcePhase| matches!(phase, SourcePhase::Waiting { why } if why.contains("'n2'"));
    pair.source_phase("held back", held).await;
    let newest = pair.newest().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pair.newest().await, newest);
    pair.change(|protection| protection.twin = None);
    pair.newest_above(newest).await;
    pair.end().await;
}
