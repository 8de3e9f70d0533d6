//! Two managed agents with simulated hypervisors, told by a vault that a test plays.

mod addresses;
mod again;
mod asked;
mod chosen;
mod circle;
mod could_start;
mod courses;
mod cut_off;
mod desk;
mod drills;
mod flattening;
mod frozen;
mod glass;
mod handing;
mod kerberos;
mod killed;
mod lives;
mod medium;
mod mortal;
mod moving;
mod over;
mod requests;
mod returns;
mod unprotected;
pub(crate) mod vault;
mod world;

use std::time::Duration;

use farshore_control::{
    Intent,
    report::{ReplicaPhase, SourcePhase},
};
use farshore_types::Epoch;

use crate::world::key;
use world::{Pair, machine_of};

/// Enabling: the target gets points that equal the source's disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_protection_is_enabled_paused_and_resumed() {
    let pair = Pair::new().await;
    let machine = pair.machine;
    pair.source_host.guest_write(machine, &key("vda"), 70_000, b"hello").unwrap();
    pair.enable();
    let first = pair.newest_above(0).await;
    assert!(pair.replica_equals_model().await, "point {first}");

    pair.change(|protection| protection.intent = Intent::Pause);
    pair.source_phase("paused", |phase| *phase == SourcePhase::Paused).await;
    let paused_at = pair.newest().await;
    pair.source_host.guest_write(machine, &key("vda"), 300_000, b"meanwhile").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(pair.newest().await, paused_at, "nothing is sent");

    pair.change(|protection| protection.intent = Intent::Replicate);
    pair.newest_above(paused_at).await;
    assert!(pair.replica_equals_model().await);
    let report = pair.vault.report_of(pair.source_id).await;
    let source = &report.sources[0];
    assert_eq!(source.totals.resyncs, 0, "changes went on being recorded: {source:?}");
    assert!(source.newest.is_some() && source.totals.cycles >= 2 && source.last_cycle.is_some());
    assert_eq!(report.lineages[0].epoch, pair.epoch());
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_on_a_running_protection_without_a_new_copy() {
    let pair = Pair::new().await;
    pair.enable();
    pair.newest_above(0).await;
    let sent = |report: &farshore_control::HostReport| report.sources[0].totals;
    let copied = sent(&pair.vault.report_of(pair.source_id).await);
    pair.change(|protection| {
        protection.settings.compression = farshore_control::Compression::Off;
        protection.settings.copy_frequency_secs = 2;
        protection.settings.bandwidth = Some(50 << 20);
    });
    pair.source_host.guest_write(pair.machine, &key("vda"), 0, b"after").unwrap();
    pair.newest_above(pair.newest().await + 1).await;
    assert!(pair.replica_equals_model().await);
    let report = pair.vault.report_of(pair.source_id).await;
    let totals = sent(&report);
    assert_eq!(totals.resyncs, 0);
    assert!(totals.cycles > copied.cycles, "sums go on over the change: {totals:?}");
    assert!(totals.sent - copied.sent < 1 << 20, "{totals:?} after {copied:?}");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_ends_both_ends_and_deletes_nothing() {
    let pair = Pair::new().await;
    pair.enable();
    let last = pair.newest_above(1).await;
    pair.remove("disabled");
    let gone = |report: &farshore_control::HostReport| report.sources.is_empty();
    pair.vault.until(pair.source_id, "the source ends", gone).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let report = pair.vault.report_of(pair.target_id).await;
    let replica = &report.replicas[0];
    assert!(replica.points >= last && replica.phase == ReplicaPhase::Receiving, "{replica:?}");
    assert_eq!(report.unclaimed.len(), 1, "it is told that nobody names it");
    pair.end().await;
}

/// Rule R5. The deliberate bug: a vault that has lost everything and answers with nothing.
#[tokio::test(flavor = "multi_thread")]
async fn absence_is_never_an_order() {
    let pair = Pair::new().await;
    pair.enable();
    let before = pair.newest_above(0).await;
    pair.vault.forget_everything();
    pair.restart_source().await;
    pair.restart_target().await;
    pair.newest_above(before + 1).await;
    assert!(pair.vault.document(&farshore_control::Key::Protection(pair.machine)).is_none());
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_when_nobody_answers_and_tells_afterwards() {
    let pair = Pair::new().await;
    pair.enable();
    let before = pair.newest_above(0).await;
    pair.vault.be_away(true);
    pair.restart_source().await;
    pair.restart_target().await;
    pair.newest_above(before + 1).await;
    pair.vault.be_away(false);
    let report = pair.vault.report_of(pair.source_id).await;
    assert!(report.sources[0].totals.cycles >= 1 && report.sources[0].totals.resyncs == 0, "{report:?}");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_is_done_once_for_each_time_it_is_asked_for() {
    let pair = Pair::new().await;
    pair.enable();
    pair.newest_above(0).await;
    pair.change(|protection| protection.resync = 1);
    let done =
        |report: &farshore_control::HostReport| report.sources.first().is_some_and(|s| s.resynced == 1);
    let report = pair.vault.until(pair.source_id, "resynced", done).await;
    assert_eq!(report.sources[0].totals.resyncs, 1);
    pair.restart_source().await;
    pair.newest_above(pair.newest().await).await;
    let report = pair.vault.report_of(pair.source_id).await;
    assert_eq!((report.sources[0].totals.resyncs, report.sources[0].resynced), (0, 1), "not again");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_excluded_disk_stays_behind_and_a_replica_is_where_it_was_wanted() {
    let pair = Pair::with_disks(&["vda", "vdb"]).await;
    let place = pair.dir().join("elsewhere");
    let wanted = place.display().to_string();
    pair.enable_with(|protection| {
        protection.excluded = [key("vdb")].into();
        protection.place = Some(wanted);
    });
    pair.newest_above(0).await;
    let replica = place.join(pair.machine.to_string());
    assert!(replica.join("vda.qcow2").exists() && !replica.join("vdb.qcow2").exists());
    pair.restart_target().await;
    let newest = pair.newest().await;
    pair.newest_above(newest).await;
    assert!(pair.replica_equals_model().await, "found again after a restart");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_epochs_of_two_owners_stop_both_until_a_winner_is_declared() {
    let pair = Pair::new().await;
    pair.enable();
    let before = pair.newest_above(0).await;
    let Epoch { number, token } = pair.epoch();
    pair.change(|protection| protection.epoch = Epoch { number, token: token + 1 });
    let failed = |phase: &SourcePhase| matches!(phase, SourcePhase::Failed { why } if why.contains("winner"));
    pair.source_phase("stopped", failed).await;
    let stopped_at = pair.newest().await;
    assert!(stopped_at >= before);
    let report = pair.vault.report_of(pair.target_id).await;
    assert!(report.lineages[0].conflict.is_some(), "{report:?}");
    pair.restart_source().await;
    pair.restart_target().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(pair.newest().await, stopped_at, "nor after a restart");
    pair.change(|protection| protection.epoch = Epoch { number: number + 1, token });
    pair.newest_above(stopped_at).await;
    assert!(pair.replica_equals_model().await);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_document_and_a_lower_term_move_nothing_back() {
    let pair = Pair::new().await;
    pair.enable();
    let stale = pair.vault.document(&farshore_control::Key::Protection(pair.machine)).unwrap();
    pair.change(|protection| protection.intent = Intent::Pause);
    pair.source_phase("paused", |phase| *phase == SourcePhase::Paused).await;
    pair.vault.serve_raw(stale.clone());
    tokio::time::sleep(Duration::from_millis(700)).await;
    pair.source_phase("still paused", |phase| *phase == SourcePhase::Paused).await;

    pair.vault.rise();
    pair.vault.until_heard(pair.source_id).await;
    pair.vault.speak_as_before();
    pair.vault.serve_raw(stale);
    let told = |report: &farshore_control::HostReport| {
        report.problems.iter().any(|p| p.code == "vault-not-followed")
    };
    pair.vault.until(pair.source_id, "the old vault is not followed", told).await;
    pair.source_phase("still paused", |phase| *phase == SourcePhase::Paused).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inventory_is_told_once_and_followed_live() {
    let pair = Pair::new().await;
    let told = |report: &farshore_control::HostReport| report.inventory.is_some();
    let report = pair.vault.until_ever(pair.source_id, "an inventory", told).await;
    let inventory = report.inventory.unwrap();
    assert_eq!(inventory.machines.len(), 1);
    assert_eq!(machine_of(&inventory, "web1").disks[0].key, key("vda"));
    assert!(inventory.host.memory > 0 && inventory.host.cpus > 0);
    assert!(report.space.iter().any(|space| space.of == "replicas" && space.total >= space.free));
    pair.vault.until(pair.source_id, "not told again", |report| report.inventory.is_none()).await;
    pair.source_host.add_machine("web2", &[("vda", 1 << 20)]).await.unwrap();
    let more = |report: &farshore_control::HostReport| {
        report.inventory.as_ref().is_some_and(|inventory| inventory.machines.len() == 2)
    };
    pair.vault.until_ever(pair.source_id, "the new machine", more).await;
    pair.end().await;
}
