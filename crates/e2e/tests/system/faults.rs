//! What replication does when something dies, breaks, or stands in the way.

use std::time::Duration;

use farshore_capture::{Activity, CaptureError};
use farshore_e2e::world::{Cut, World, key};
use farshore_hypervisor::{
    BackupDisk, BackupMode, BackupSpec, BlockJob, Deletion, GuestState, Hypervisor, Kind, Start,
    simulated::Operation,
};
use farshore_types::Epoch;

static OLD: [u8; 65_536] = [1; 65_536];
static NEW: [u8; 65_536] = [2; 65_536];

async fn seeded() -> World {
    let mut world = World::new().await;
    world.write("vda", 0, &OLD);
    world.write("vdb", 0, &farshore_sim::driver::content(2, 2 << 20));
    world.start();
    world.check_newest().await;
    world
}

/// The trap of "last acknowledged": B is sealed at the target, its ack is lost, the guest
/// writes A back. A map that still says A would not send it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ack_and_a_write_back_give_true_points() {
    for cut in [0, 1, 20, 40] {
        let mut world = seeded().await;
        world.write("vda", 0, &NEW);
        world.dial.cut_live(Cut::Back(cut));
        tokio::time::sleep(Duration::from_millis(700)).await;
        world.write("vda", 0, &OLD);
        world.check_newest().await;
        world.stop().await;
    }
}

/// The same with the source killed before it heard of the ack.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_killed_before_the_ack_takes_up_what_the_target_sealed() {
    let mut world = seeded().await;
    world.write("vda", 0, &NEW);
    let before = world.points().await.len();
    world.dial.cut_live(Cut::Back(0));
    while world.points().await.len() == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.kill_source().await;
    world.write("vda", 0, &OLD);
    world.start();
    world.check_newest().await;
    assert_eq!(world.status().totals.resyncs, 0, "the pending digests were enough");
}

/// The trap of "last sent": a cycle with B fails, the guest writes B again. A map that
/// says B would not send it.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_cycle_and_a_rewrite_give_true_points() {
    let mut world = seeded().await;
    world.host.fail_after_effect(Operation::EndBackup, 1, Kind::Timeout);
    world.write("vda", 0, &NEW);
    world.until("a failed cycle", |s| s.totals.failed >= 1).await;
    world.write("vda", 0, &NEW);
    world.check_newest().await;
    assert!(world.checkpoints().await.len() <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_anywhere_cost_only_time() {
    for at in (0..200_000).step_by(23_456) {
        let mut world = seeded().await;
        world.write("vda", 1 << 20, &farshore_sim::driver::content(at + 2, 300_000));
        world.dial.cut_live(Cut::Forth(at));
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.check_newest().await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_killed_at_any_instant_loses_no_acknowledged_point() {
    let mut world = seeded().await;
    for round in 0..4 {
        world.write("vdb", round * 70_000, &farshore_sim::driver::content(round, 200_000));
        tokio::time::sleep(Duration::from_millis(250 * (round + 1))).await;
        let known = world.status().last_point.unwrap().id;
        world.restart_target().await;
        assert!(world.points().await.contains(&known), "point {known} was acknowledged");
        world.check_newest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_killed_in_a_cycle_leaves_no_backup_behind_for_long() {
    let mut world = seeded().await;
    for round in 0..4 {
        world.write("vda", round * 65_536, &NEW);
        tokio::time::sleep(Duration::from_millis(300 * round)).await;
        world.kill_source().await;
        world.start();
        world.check_newest().await;
        assert_eq!(world.status().totals.resyncs, 0);
        assert!(world.checkpoints().await.len() <= 2, "checkpoints do not pile up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_hypervisor_means_a_resync_that_sends_only_differences() {
    let mut world = seeded().await;
    world.host.kill(world.machine).unwrap();
    world.host.start(world.machine, Start::Running).await.unwrap();
    world.write("vda", 0, &NEW);
    let before = world.status().totals;
    world.check_newest().await;
    let after = world.status().totals;
    assert_eq!(after.resyncs, before.resyncs + 1);
    assert!(after.sent - before.sent <= 2 * 65_536, "sent {} bytes", after.sent - before.sent);
    assert!(world.points().await.len() >= 3, "points survive a resync");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_deleted_by_someone_else_means_a_resync() {
    let mut world = seeded().await;
    let name = world.checkpoints().await.pop().unwrap();
    world.host.delete_checkpoint(world.machine, &name, Deletion::RecordOnly).await.unwrap();
    world.write("vda", 0, &NEW);
    world.until("a resync", |s| s.totals.resyncs >= 1).await;
    world.check_newest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tools_checkpoints_are_never_touched() {
    let mut world = seeded().await;
    world.stop().await;
    let theirs = BackupSpec {
        checkpoint: Some("theirs".into()),
        disks: vec![BackupDisk {
            key: key("vda"),
            mode: BackupMode::Full,
            tracked: true,
            scratch: world.replica_dir().join("theirs-scratch"),
        }],
        socket: world.replica_dir().join("theirs.sock"),
    };
    world.host.begin_backup(world.machine, &theirs).await.unwrap();
    // Their backup is in the way; ours waits, says so, and does not end it.
    world.start();
    world.until("waiting", |s| matches!(&s.activity, Activity::Waiting { .. })).await;
    world.host.end_backup(world.machine).await.unwrap();
    world.check_newest().await;
    let all = world.host.checkpoints(world.machine).await.unwrap();
    assert!(all.iter().any(|c| c.name == "theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_job_in_the_way_is_waited_for_and_named() {
    let mut world = seeded().await;
    let job = BlockJob { disk: key("vda"), what: "pull".into(), done: 1, total: 2 };
    world.host.set_block_job(world.machine, Some(job)).unwrap();
    let status = world.until("waiting", |s| matches!(&s.activity, Activity::Waiting { .. })).await;
    assert!(matches!(status.activity, Activity::Waiting { why } if why.contains("web1")));
    world.host.set_block_job(world.machine, None).unwrap();
    world.check_newest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_stopped_by_a_full_scratch_file_runs_again_at_once() {
    let mut world = seeded().await;
    let gate = world.host.hold(Operation::OpenExport);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    world.host.pause_by_io_error(world.machine).unwrap();
    let paused = std::time::Instant::now();
    while world.host.machine(world.machine).await.unwrap().power.is_paused() {
        assert!(paused.elapsed() < Duration::from_secs(2), "the guest stands still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(gate);
    world.write("vda", 0, &NEW);
    world.check_newest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_epoch_is_refused_for_good() {
    let mut world = seeded().await;
    world.stop().await;
    world.epoch = Epoch { number: 2, token: 9 };
    world.start();
    world.check_newest().await;
    world.stop().await;
    world.epoch = Epoch { number: 1, token: 7 };
    world.start();
    let error = world.failure().await;
    assert!(matches!(error, CaptureError::Link(_)), "{error}");
    assert!(error.to_string().contains("older epoch"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_excluded_disk_that_is_not_there_is_an_error() {
    let mut world = World::new().await;
    world.settings.excluded.insert(key("vdz"));
    world.start();
    let error = world.failure().await.to_string();
    assert!(error.contains("vdz") && error.contains("vda, vdb"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_lost_is_made_anew() {
    let mut world = seeded().await;
    world.stop().await;
    world.lose_target().await;
    world.start();
    world.check_newest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_late_backup_is_ended_and_not_waited_for() {
    let mut world = seeded().await;
    // The call misses its deadline and takes effect all the same; nothing ends it.
    world.host.fail_after_effect(Operation::BeginBackup, 1, Kind::Timeout);
    world.until("a failed cycle", |s| s.totals.failed >= 1).await;
    world.write("vda", 0, &NEW);
    world.check_newest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_withdrawn_and_defined_again_goes_on() {
    let mut world = seeded().await;
    let xml = world.host.machine(world.machine).await.unwrap().definition;
    world.host.destroy(world.machine).await.unwrap();
    while world.host.undefine(world.machine, GuestState::Keep).await.is_err() {
        // A cycle may have started it, paused.
        world.host.destroy(world.machine).await.unwrap();
    }
    world
        .until(
            "a fault",
            |s| matches!(&s.activity, Activity::Retrying { why, .. } if why.contains("no such")),
        )
        .await;
    world.host.define(&xml).await.unwrap();
    world.host.start(world.machine, Start::Running).await.unwrap();
    world.check_newest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_takes_no_bitmap_is_a_fault_and_no_endless_loop() {
    let mut world = seeded().await;
    for nth in 1..=3 {
        world.host.fail(Operation::BeginBackup, nth, Kind::BitmapBroken);
    }
    world.until("a fault", |s| matches!(s.activity, Activity::Retrying { .. })).await;
    world.check_newest().await;
}
