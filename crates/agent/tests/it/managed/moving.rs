//! A replica that moves to another host, and back: real replicas, sessions and digest maps.

use farshore_control::{
    Compression, HostReport,
    report::ReplicaState,
    request::{Action, Ending},
};
use farshore_types::{Epoch, HostId};

use super::world::{Pair, Third};
use crate::world::key;

fn epoch(number: u64) -> Epoch {
    Epoch { number, token: u128::from(number) * 11 }
}

/// As a move writes it: another target, by another epoch, and everything is compared.
fn move_to(pair: &Pair, third: &Third, back: bool, number: u64) {
    let target = if back { pair.target() } else { third.endpoint() };
    pair.change_with(third, |protection| {
        protection.target = target;
        protection.epoch = epoch(number);
        protection.resync += 1;
    });
}

fn replica(report: &HostReport) -> Option<&ReplicaState> {
    report.replicas.first()
}

/// Until a host has a whole point of an epoch.
async fn whole(pair: &Pair, host: HostId, number: u64) -> ReplicaState {
    let is = |report: &HostReport| {
        let newest = replica(report).and_then(|state| state.newest);
        newest.is_some_and(|newest| newest.id.epoch == number)
    };
    let report = pair.vault.until(host, "a point of the new epoch", is).await;
    replica(&report).unwrap().clone()
}

async fn delete(pair: &Pair, host: HostId, epoch: Epoch) -> Ending {
    let machine = pair.machine;
    let id = pair.ask(host, Some(2_000_000), Action::DeleteReplica { machine, epoch });
    pair.vault.ending(id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_moves_to_another_host_and_back_and_the_old_one_stays_until_it_is_deleted() {
    let pair = Pair::new().await;
    let third = pair.third();
    let write =
        |at, bytes: &[u8]| pair.source_host.guest_write(pair.machine, &key("vda"), at, bytes).unwrap();
    write(70_000, b"before the move");
    pair.enable();
    pair.newest_above(0).await;
    let old = pair.target_bytes().await;
    move_to(&pair, &third, false, 2);
    whole(&pair, third.id(), 2).await;
    assert!(third.equals_model(&pair).await);
    assert!(pair.target_bytes().await == old, "the old host's points are as they were");
    write(200_000, b"after the move");
    let sent = pair.vault.report_of(pair.source_id).await.sources[0].totals.cycles;
    let more = |report: &HostReport| report.sources[0].totals.cycles > sent + 1;
    pair.vault.until(pair.source_id, "cycles go on", more).await;
    assert!(third.equals_model(&pair).await);
    // Back again: what the old host has is compared with, and its points stay.
    let before = pair.vault.report_of(pair.target_id).await;
    let points = replica(&before).unwrap().points;
    move_to(&pair, &third, true, 3);
    let again = whole(&pair, pair.target_id, 3).await;
    assert!(again.points > points, "{} points, {points} before", again.points);
    assert!(pair.replica_equals_model().await);
    // By another epoch than its own it is not deleted; by its own, or by what is reported, it is.
    let ending = delete(&pair, third.id(), epoch(9)).await;
    assert!(matches!(&ending, Ending::Failed { what, .. } if what.contains("to be deleted")), "{ending:?}");
    let told = replica(&pair.vault.report_of(third.id()).await).unwrap().epoch;
    assert!(matches!(delete(&pair, third.id(), told).await, Ending::Done { .. }));
    assert!(!third.replica_dir(pair.machine).exists());
    assert!(pair.replica_equals_model().await);
    third.end().await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_replica_s_old_host_deletes_by_the_epoch_it_was_written_with_and_not_while_it_is_wanted() {
    let pair = Pair::new().await;
    let third = pair.third();
    pair.enable();
    pair.newest_above(0).await;
    let own = pair.epoch();
    let ending = delete(&pair, pair.target_id, own).await;
    assert!(matches!(&ending, Ending::Failed { what, .. } if what.contains("is protected")), "{ending:?}");
    move_to(&pair, &third, false, 2);
    whole(&pair, third.id(), 2).await;
    assert!(matches!(delete(&pair, pair.target_id, own).await, Ending::Done { .. }));
    assert!(!pair.replica_dir().exists() && third.equals_model(&pair).await);
    third.end().await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_kept_plain_takes_what_it_is_larger_by_and_reads_the_same() {
    let stored = |plain: bool| async move {
        let pair = Pair::new().await;
        let text = vec![b'x'; 300_000];
        pair.source_host.guest_write(pair.machine, &key("vda"), 0, &text).unwrap();
        pair.enable_with(|protection| {
            protection.settings.compression = Compression::On;
            protection.settings.replica_compression = !plain;
        });
        pair.newest_above(0).await;
        assert!(pair.replica_equals_model().await);
        let is = |report: &HostReport| replica(report).is_some_and(|state| state.newest.is_some());
        let report = pair.vault.until(pair.target_id, "a point", is).await;
        let stored = replica(&report).unwrap().stored;
        pair.end().await;
        stored
    };
    let (packed, plain) = (stored(false).await, stored(true).await);
    assert!(plain > packed + 200_000, "{plain} bytes, {packed} compressed");
}
