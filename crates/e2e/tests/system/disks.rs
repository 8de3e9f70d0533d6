//! Which disks a point has, whatever becomes of them between two looks.

use farshore_capture::{Activity, Status};
use farshore_e2e::world::{DISK, World, key};
use farshore_hypervisor::{Hypervisor, Start, simulated::Operation};

fn retries(status: &Status, word: &str) -> bool {
    matches!(&status.activity, Activity::Retrying { why, .. } if why.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_looked_at_for_a_moment_stays_in_every_point() {
    let mut world = World::new().await;
    world.write("vda", 0, &[7; 300_000]);
    world.start();
    world.check_newest().await;
    world.host.set_unseen(world.machine, &key("vda"), true).unwrap();
    let status = world.until("a fault", |s| retries(s, "vda: its image cannot be opened")).await;
    for id in world.points().await {
        assert_eq!(world.point_bytes(id, "vda").await.len(), world.bytes("vda").len(), "{status:?}");
    }
    world.host.set_unseen(world.machine, &key("vda"), false).unwrap();
    world.check_newest().await;
    assert_eq!(world.status().totals.resyncs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replicated_disk_that_turns_read_only_is_left_out_only_when_the_user_says_so() {
    let mut world = World::new().await;
    world.write("vda", 0, &[7; 300_000]);
    world.start();
    world.check_newest().await;
    let xml = world.host.machine(world.machine).await.unwrap().definition;
    let readonly = xml.replace("<target dev='vda'", "<readonly/><target dev='vda'");
    let readonly = readonly.replace("<target dev=\"vda\"", "<readonly/><target dev=\"vda\"");
    assert_ne!(xml, readonly);
    world.host.define(&readonly).await.unwrap();
    world.until("a fault", |s| retries(s, "exclude the disk")).await;
    world.stop().await;
    world.settings.excluded.insert(key("vda"));
    world.start();
    let id = world.next_point().await;
    assert!(world.point_bytes(id, "vdb").await == world.bytes("vdb"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_ran_and_stopped_between_two_looks_is_replicated() {
    let mut world = World::new().await;
    world.start();
    world.next_point().await;
    world.host.destroy(world.machine).await.unwrap();
    world.until_off().await;
    let points = world.points().await.len();
    // Not seen by any look.
    let gate = world.host.hold(Operation::Machine);
    world.host.start(world.machine, Start::Running).await.unwrap();
    world.write("vda", 0, &[9; 300_000]);
    world.host.destroy(world.machine).await.unwrap();
    drop(gate);
    let before = world.status().last_point;
    world.until("another point", |s| s.last_point != before).await;
    world.until_off().await;
    let all = world.points().await;
    assert!(all.len() > points);
    assert!(world.point_bytes(*all.last().unwrap(), "vda").await == world.bytes("vda"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_off_is_looked_at_once_by_each_session() {
    let mut world = World::new().await;
    world.start();
    world.next_point().await;
    world.host.destroy(world.machine).await.unwrap();
    world.until_off().await;
    world.stop().await;
    let before = world.points().await.len();
    world.start();
    world.until_off().await;
    assert_eq!(world.points().await.len(), before + 1);
    assert!(world.host.machine(world.machine).await.unwrap().power.is_off());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_of_more_clusters_than_one_may_have_goes_in_stages_and_ends_in_a_true_point() {
    let mut world = World::new().await;
    world.write("vda", 0, &farshore_sim::driver::content(2, 6 << 20));
    world.write("vdb", 0, &farshore_sim::driver::content(3, 6 << 20));
    world.settings.clusters_max = 8;
    world.start();
    world.check_newest().await;
    let before = world.status().totals;
    // Zeros and data, all over both disks, at one instant.
    let gate = world.host.hold(Operation::BeginBackup);
    world.host.guest_discard(world.machine, &key("vda"), 0, 6 << 20).unwrap();
    world.write("vdb", 65_536, &farshore_sim::driver::content(4, 5 << 20));
    drop(gate);
    let id = world.check_newest().await;
    let after = world.status().totals;
    assert_eq!(after.resyncs, before.resyncs, "only what changed was read");
    assert!(id.number > 3, "{id}");
    assert!(world.points().await.len() < usize::try_from(id.number).unwrap(), "stages are no points");
    assert_eq!(world.checkpoints().await.len(), 1, "one checkpoint is kept, no more");
}

/// A machine that is off, and a source killed in the middle of the cycle it was started for.
async fn killed_in_a_cycle_of_a_machine_that_is_off() -> World {
    let mut world = World::new().await;
    world.host.destroy(world.machine).await.unwrap();
    let gate = world.host.hold(Operation::OpenExport);
    world.start();
    while !world.host.machine(world.machine).await.unwrap().power.is_paused()
        || world.host.calls(Operation::OpenExport) == 0
    {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    world.kill_source().await;
    drop(gate);
    assert!(world.host.machine(world.machine).await.unwrap().power.is_paused(), "it was left like that");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_started_for_a_cycle_is_off_again_although_the_agent_was_killed() {
    let mut world = killed_in_a_cycle_of_a_machine_that_is_off().await;
    // Before anything else, even where the hypervisor then does nothing more.
    let gate = world.host.hold(Operation::Start);
    world.start();
    while !world.host.machine(world.machine).await.unwrap().power.is_off() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(gate);
    world.until_off().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_started_for_a_cycle_that_somebody_set_going_is_left_alone() {
    let mut world = killed_in_a_cycle_of_a_machine_that_is_off().await;
    world.host.resume(world.machine).await.unwrap();
    world.host.suspend(world.machine).await.unwrap();
    world.start();
    world.check_newest().await;
    assert!(world.host.machine(world.machine).await.unwrap().power.is_paused(), "as somebody left it");
}

#[tokio::test(flavor = "multi_thread")]
async fn firmware_variables_that_cannot_travel_are_said_to_be_missing_and_the_point_is_taken() {
    let mut world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vars.fd");
    let xml = world.host.machine(world.machine).await.unwrap().definition;
    let nvram = format!("<nvram>{}</nvram></os>", file.display());
    world.host.define(&xml.replacen("</os>", &nvram, 1)).await.unwrap();
    world.start();
    world.check_newest().await;
    let without =
        |s: &Status| s.notes.iter().any(|n| n.contains("vars.fd") && n.contains("not in the points"));
    world.until("it is said", without).await;
    assert_eq!(world.newest_definition().await.nvram, None);

    std::fs::write(&file, b"variables").unwrap();
    world.until("it is over", |s| !without(s)).await;
    assert_eq!(world.newest_definition().await.nvram.as_deref(), Some(&b"variables"[..]));

    // Longer than a point takes, and nothing that packing makes shorter.
    std::fs::write(&file, farshore_sim::driver::content(2, 3 << 20)).unwrap();
    world.until("it is said again", without).await;
    world.check_newest().await;
    assert_eq!(world.newest_definition().await.nvram, None);
}

/// A disk cut in the middle and grown to `to`, between two looks at it.
async fn cut_and_grown(world: &mut World, to: u64, rewritten: Option<u64>) -> bool {
    let gate = world.host.hold(Operation::Machine);
    world.host.resize(world.machine, &key("vda"), 1 << 20).unwrap();
    world.host.resize(world.machine, &key("vda"), to).unwrap();
    if let Some(at) = rewritten {
        world.write("vda", at, &[9; 4096]);
    }
    drop(gate);
    let id = world.next_point().await;
    world.point_bytes(id, "vda").await == world.bytes("vda")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_cut_and_grown_between_two_looks_is_read_anew() {
    let mut world = World::new().await;
    let all = usize::try_from(DISK).unwrap();
    world.write("vda", 0, &farshore_sim::driver::content(2, all));
    world.write("vdb", 0, &farshore_sim::driver::content(2, 300_000));
    world.start();
    world.check_newest().await;
    // Also where it grew beyond what it was, and where its last clusters were written since.
    for (to, rewritten) in [(DISK, None), (DISK + (3 << 20), None), (DISK, Some(DISK - 4096))] {
        world.write("vda", 0, &farshore_sim::driver::content(2, all));
        world.check_newest().await;
        assert!(cut_and_grown(&mut world, to, rewritten).await, "{to} {rewritten:?}");
    }
    assert_eq!(world.status().totals.resyncs, 3);
    // An ordinary growth needs no resync.
    world.host.resize(world.machine, &key("vdb"), DISK + (1 << 20)).unwrap();
    world.check_newest().await;
    assert_eq!(world.status().totals.resyncs, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_witness_a_cut_disk_would_be_caught_by_that_test() {
    let mut world = World::new().await;
    world.write("vda", 0, &farshore_sim::driver::content(2, 6 << 20));
    world.start();
    world.check_newest().await;
    let _bug = farshore_capture::bug::plant(farshore_capture::bug::Bug::NoWitness);
    assert!(!cut_and_grown(&mut world, DISK, None).await, "the bug is caught");
}
