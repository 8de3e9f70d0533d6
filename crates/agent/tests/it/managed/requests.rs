//! Requests: done once, kept until acknowledged, and what deletes only by the vault's word.

use std::{fs, time::Duration};

use farshore_control::{
    Peer,
    request::{Action, Answer, Ending},
};
use farshore_types::Epoch;

use super::world::Pair;
use crate::world::key;

fn deletion(pair: &Pair, epoch: Epoch) -> Action {
    Action::DeleteReplica { machine: pair.machine, epoch }
}

fn is_failed(ending: &Ending, text: &str) -> bool {
    matches!(ending, Ending::Failed { what, .. } if what.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_is_told_until_it_is_acknowledged_and_never_done_twice() {
    let pair = Pair::new().await;
    pair.vault.set_acknowledges(false);
    let id = pair.ask(pair.source_id, None, Action::Definition { machine: pair.machine });
    let ending = pair.vault.ending(id).await;
    let text =
        matches!(&ending, Ending::Done { answer: Answer::Definition { text } } if text.contains("web1"));
    assert!(text, "{ending:?}");
    pair.restart_source().await;
    pair.vault.report_of(pair.source_id).await;
    let told = pair.vault.endings(id).len();
    pair.vault.report_of(pair.source_id).await;
    assert!(pair.vault.endings(id).len() > told, "told again, over a restart");
    // The acknowledgement is lost, too.
    pair.vault.set_acknowledges(true);
    pair.vault.lose_answers(1);
    let quiet = |report: &farshore_control::HostReport| report.outcomes.is_empty();
    pair.vault.until(pair.source_id, "it is forgotten", quiet).await;
    let told = pair.vault.endings(id);
    assert!(told.iter().all(|other| *other == ending), "{told:?}");
    // A vault that has forgotten that it is over, as from a backup, is told the same again.
    pair.vault.rise();
    pair.vault.until_heard(pair.source_id).await;
    pair.vault.report_of(pair.source_id).await;
    let again = pair.vault.endings(id);
    assert!(again.len() > told.len() && again.iter().all(|other| *other == ending), "{again:?}");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_deleted_only_after_its_protection_and_by_its_own_epoch() {
    let pair = Pair::new().await;
    pair.enable();
    pair.newest_above(0).await;
    let epoch = pair.epoch();
    let wanted = pair.ask(pair.target_id, Some(2_000_000), deletion(&pair, epoch));
    let ending = pair.vault.ending(wanted).await;
    assert!(is_failed(&ending, "is protected to this host"), "{ending:?}");
    pair.remove("disabled");
    let other = Epoch { number: epoch.number + 1, token: 5 };
    let other = pair.ask(pair.target_id, Some(2_000_000), deletion(&pair, other));
    let ending = pair.vault.ending(other).await;
    assert!(is_failed(&ending, "of epoch 1"), "{ending:?}");
    assert!(pair.replica_dir().exists());
    let meant = pair.ask(pair.target_id, Some(2_000_000), deletion(&pair, epoch));
    assert_eq!(pair.vault.ending(meant).await, Ending::Done { answer: Answer::Done });
    assert!(!pair.replica_dir().exists());
    let report = pair.vault.report_of(pair.target_id).await;
    assert!(report.replicas.is_empty(), "{report:?}");
    // And it can be protected anew, by the next epoch.
    pair.enable_with(|protection| protection.epoch = Epoch { number: 2, token: 7 });
    pair.newest_above(0).await;
    assert!(pair.replica_equals_model().await);
    pair.end().await;
}

/// Rule R7. What is too late by the vault's clock is not begun, whatever the host's own says.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_expires_by_the_vaults_clock() {
    let pair = Pair::new().await;
    pair.enable();
    pair.newest_above(0).await;
    let epoch = pair.epoch();
    pair.remove("disabled");
    pair.stop_target().await;
    let id = pair.ask(pair.target_id, Some(1_500_000), deletion(&pair, epoch));
    pair.vault.set_clock(Some(1_500_001));
    pair.start_target();
    assert_eq!(pair.vault.ending(id).await, Ending::Expired);
    assert!(pair.replica_dir().exists());
    pair.end().await;
}

/// Who answers is not the vault, and has no contact with it: it says no clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_while_the_vault_does_not_speak() {
    let pair = Pair::new().await;
    pair.enable();
    pair.newest_above(0).await;
    let epoch = pair.epoch();
    pair.remove("disabled");
    pair.vault.set_clock(None);
    let id = pair.ask(pair.target_id, Some(1_500_000), deletion(&pair, epoch));
    pair.vault.report_of(pair.target_id).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(pair.vault.endings(id).is_empty() && pair.replica_dir().exists());
    // Kept over a restart, it is still none that may be begun.
    pair.restart_target().await;
    pair.vault.report_of(pair.target_id).await;
    assert!(pair.vault.endings(id).is_empty() && pair.replica_dir().exists());
    pair.vault.set_clock(Some(1_000_000));
    assert_eq!(pair.vault.ending(id).await, Ending::Done { answer: Answer::Done });
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_met_and_measured() {
    let pair = Pair::new().await;
    pair.enable();
    pair.newest_above(0).await;
    let target = pair.target();
    let peer = Peer { host: target.host, name: target.name, address: target.address, principal: None };
    let id = pair.ask(pair.source_id, None, Action::CheckPeer { peer: peer.clone() });
    let ending = pair.vault.ending(id).await;
    let Ending::Done { answer: Answer::Peer { skew_ms, free, agent, .. } } = &ending else {
        panic!("{ending:?}")
    };
    assert!(skew_ms.abs() < 1000 && *free > 0 && agent.starts_with("farshore-agent"), "{ending:?}");
    let nowhere = Peer { address: "127.0.0.1:1".to_owned(), ..peer };
    let id = pair.ask(pair.source_id, None, Action::CheckPeer { peer: nowhere });
    let ending = pair.vault.ending(id).await;
    assert!(is_failed(&ending, "cannot connect"), "{ending:?}");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_checked_with_its_networks_mapped() {
    let pair = Pair::new().await;
    let definition = "<domain type='qemu'><name>web1</name><os><type arch='x86_64'>hvm</type></os>\
        <devices><interface type='network'><source network='production'/></interface></devices></domain>";
    let networks = [("production".to_owned(), "lab".to_owned())].into();
    let problem = farshore_hypervisor::Problem { what: "no kvm".to_owned(), advice: "use qemu".to_owned() };
    pair.target_host().set_start_problems(vec![problem]);
    let action = Action::CheckStartable { definition: definition.to_owned(), networks };
    let id = pair.ask(pair.target_id, None, action);
    let ending = pair.vault.ending(id).await;
    let expected = vec![("no kvm".to_owned(), "use qemu".to_owned())];
    assert_eq!(ending, Ending::Done { answer: Answer::Startable { problems: expected } });
    pair.end().await;
}

/// Offline media: exported at the source, adopted at the target, and only what differs sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_copy_travels_on_a_medium() {
    let pair = Pair::new().await;
    let machine = pair.machine;
    let noise: Vec<u8> =
        (0..500_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    pair.source_host.guest_write(machine, &key("vda"), 0, &noise).unwrap();
    pair.enable_with(|protection| protection.initial = farshore_control::InitialCopy::Offline);
    let waits = |phase: &farshore_control::report::SourcePhase| matches!(phase, farshore_control::report::SourcePhase::Waiting { why } if why.contains("medium"));
    pair.source_phase("it waits for the medium", waits).await;
    let medium = pair.dir().join("medium");
    let to = medium.display().to_string();
    let id = pair.ask(pair.source_id, None, Action::ExportMedium { machine, to });
    assert_eq!(pair.vault.ending(id).await, Ending::Done { answer: Answer::Done });
    assert_eq!(fs::read(medium.join("vda.raw")).unwrap().len(), 1 << 20);
    pair.source_host.guest_write(machine, &key("vda"), 600_000, b"meanwhile").unwrap();
    let disks = vec![(key("vda"), medium.join("vda.raw").display().to_string())];
    let id = pair.ask(pair.target_id, None, Action::Adopt { machine, disks });
    let ending = pair.vault.ending(id).await;
    assert_eq!(ending, Ending::Done { answer: Answer::Done });
    pair.change(|protection| protection.initial = farshore_control::InitialCopy::Existing);
    pair.newest_above(0).await;
    assert!(pair.replica_equals_model().await);
    let report = pair.vault.report_of(pair.source_id).await;
    let sent = report.sources[0].totals.sent;
    assert!(sent < 200_000, "only what differs: {sent}");
    pair.end().await;
}
