//! A machine that has been there and home before, and goes home by a disaster or by a cancel: what
//! is left of the trips of before is not taken for what it is now.

use farshore_control::{HostReport, ownership::Lineage};
use farshore_hypervisor::{Hypervisor, Kind, simulated::Operation as Call};
use farshore_protection::{BroughtUp, Kind as How, Life, Operation, Stage, Why};
use farshore_types::{HostId, PointId};

use super::{
    handing::{lineage, ordered, standing},
    world::{Pair, SIZE},
};
use crate::world::key;

/// Hosts on which the machine can run on its replica.
async fn pair() -> Pair {
    let pair = Pair::new().await;
    pair.target_host().add_image(&pair.overlay_at(pair.target_id), SIZE);
    pair.source_host.add_image(&pair.overlay_at(pair.source_id), SIZE);
    pair
}

/// A document by which the machine is the other host's.
fn turned_over(pair: &Pair, life: &Life) {
    pair.change(|protection| {
        std::mem::swap(&mut protection.source, &mut protection.target);
        (protection.epoch, protection.life) = (life.epoch, Some(life.clone()));
    });
}

async fn runs_at(pair: &Pair, host: HostId, epoch: u64) -> BroughtUp {
    let up = |report: &HostReport| {
        let up = standing(report, pair.machine).filter(|s| s.runs == Some(true)).and_then(|s| s.brought_up);
        up.filter(|up| up.epoch.number == epoch)
    };
    up(&pair.vault.until(host, "it to run there", |report| up(report).is_some()).await).unwrap()
}

async fn newest_at(pair: &Pair, host: HostId, above: u64) -> PointId {
    let newest = |report: &HostReport| {
        let newest = report.replicas.first().and_then(|replica| replica.newest);
        newest.map(|newest| newest.id).filter(|id| id.epoch > 1 && id.number > above)
    };
    newest(&pair.vault.until(host, "points", |report| newest(report).is_some()).await).unwrap()
}

fn seal_of(lineage: &Lineage) -> Option<PointId> {
    lineage.seal.map(|seal| seal.last.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_disaster_a_machine_comes_home_at_its_newest_point_and_not_as_it_left_long_ago() {
    let pair = pair().await;
    // The disks that it had at home cannot be its replica's base: they stay there as they were.
    let life = pair.living().await;
    let away = pair.move_over(&life, Operation::PlannedFailover).await;
    let first = newest_at(&pair, pair.source_id, 0).await;
    pair.target_host().guest_write(pair.machine, &key("vda"), 5000, b"what was done there").unwrap();
    let newest = newest_at(&pair, pair.source_id, first.number + 1).await;
    assert!(pair.source_host.machine(pair.machine).await.is_ok(), "its old disks are there still");
    pair.stop_target().await;
    pair.target_host().destroy(pair.machine).await.unwrap();
    let home = ordered(&away, Operation::UnplannedFailover, false);
    turned_over(&pair, &home);
    let up = runs_at(&pair, pair.source_id, home.epoch.number).await;
    assert!(up.at.is_some_and(|at| at >= newest), "{up:?}, and {newest} was there");
    let disk = pair.source_host.machine(pair.machine).await.unwrap().disks[0].path.clone();
    assert_eq!(disk, Some(pair.overlay_at(pair.source_id)));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_taken_back_to_a_machine_that_was_away_before_as_it_was_left() {
    let pair = pair().await;
    let life = pair.living().await;
    let away = pair.move_over(&life, Operation::PlannedFailover).await;
    newest_at(&pair, pair.source_id, 0).await;
    let home = pair.move_over(&away, Operation::Failback).await;
    newest_at(&pair, pair.target_id, 0).await;
    let over = ordered(&home, Operation::UnplannedFailover, false);
    turned_over(&pair, &over);
    let up = runs_at(&pair, pair.target_id, over.epoch.number).await;
    let fenced = |report: &HostReport| standing(report, pair.machine).is_some_and(|s| s.runs == Some(false));
    pair.vault.until(pair.source_id, "its copy to be stopped", fenced).await;
    let stage = Stage::FailedOver { kind: How::Unplanned, at: up.at, kept: Default::default() };
    let back = ordered(&Life { stage, ..over }, Operation::Cancel, false);
    let Stage::HandingOver(handing) = &back.stage else { panic!("{back:?}") };
    let next = handing.next.number;
    pair.tell(&back);
    let here = runs_at(&pair, pair.source_id, next).await;
    assert_eq!(here.at, None, "as it was left");
    assert!(pair.power_of(pair.target_id).await.is_none_or(|power| power.is_off()));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_and_never_came_up_is_handed_back_at_its_seal_and_not_at_one_of_before() {
    let pair = pair().await;
    let life = pair.living().await;
    let away = pair.move_over(&life, Operation::PlannedFailover).await;
    newest_at(&pair, pair.source_id, 0).await;
    let home = pair.move_over(&away, Operation::Failback).await;
    let newest = newest_at(&pair, pair.target_id, 0).await;
    pair.source_host.guest_write(pair.machine, &key("vda"), 9000, b"what must not be lost").unwrap();
    newest_at(&pair, pair.target_id, newest.number).await;
    // The other host accepts it, and cannot start it.
    (1..500).for_each(|nth| pair.target_host().fail(Call::Start, nth, Kind::Other));
    let over = ordered(&home, Operation::PlannedFailover, false);
    let Stage::HandingOver(handing) = &over.stage else { panic!("{over:?}") };
    let next = handing.next;
    pair.tell(&over);
    let sealed = |report: &HostReport| lineage(report, pair.machine).and_then(seal_of);
    let report = pair.vault.until(pair.source_id, "its seal", |report| sealed(report).is_some()).await;
    let last = sealed(&report).unwrap();
    let accepted = |report: &HostReport| lineage(report, pair.machine).is_some_and(|held| held.epoch == next);
    pair.vault.until(pair.target_id, "it to be accepted", accepted).await;
    let stage = Stage::Starting { why: Why::Planned, at: Some(last), failed: Some("it cannot".to_owned()) };
    let starting = Life { epoch: next, source: pair.target_id, target: pair.source_id, stage, ..over };
    turned_over(&pair, &starting);
    let folded = |report: &HostReport| {
        standing(report, pair.machine).and_then(|s| s.adopted).is_some_and(|adopted| adopted.epoch == next)
    };
    pair.vault.until(pair.source_id, "its replica", folded).await;
    let back = ordered(&starting, Operation::Cancel, false);
    let Stage::HandingOver(handing) = &back.stage else { panic!("{back:?}") };
    let next = handing.next.number;
    pair.tell(&back);
    let report = pair.vault.until(pair.target_id, "its seal", |report| sealed(report).is_some()).await;
    assert_eq!(sealed(&report), Some(last));
    let here = runs_at(&pair, pair.source_id, next).await;
    assert!(here.at.is_none_or(|at| at == last), "{here:?}");
    pair.end().await;
}
