//! What replication does when nothing goes wrong.

use std::time::Duration;

use farshore_capture::Activity;
use farshore_e2e::world::{World, key};
use farshore_hypervisor::Hypervisor;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_point_and_the_next_ones_equal_the_disks() {
    let mut world = World::new().await;
    world.write("vda", 100_000, &[7; 300_000]);
    world.write("vdb", 6 * 1024 * 1024, &[9; 512]);
    world.start();
    world.check_newest().await;
    world.write("vda", 0, &[0; 200_000]);
    world.write("vdb", 70_000, b"some text");
    world.check_newest().await;
    world.host.guest_discard(world.machine, &key("vda"), 131_072, 131_072).unwrap();
    world.check_newest().await;
    assert_eq!(world.checkpoints().await.len(), 1, "one checkpoint is kept, no more");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_of_the_same_bytes_is_not_sent() {
    let mut world = World::new().await;
    world.write("vda", 0, &[7; 1 << 20]);
    world.start();
    world.check_newest().await;
    let before = world.status().totals;
    world.write("vda", 0, &[7; 1 << 20]);
    world.check_newest().await;
    let after = world.status().totals;
    assert_eq!(after.sent, before.sent);
    assert!(after.read >= before.read + (1 << 20), "it was read, and found the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_point_is_one_instant_of_all_disks() {
    let mut world = World::new().await;
    world.start();
    world.next_point().await;
    let (host, machine) = (world.host.clone(), world.machine);
    let writer = tokio::spawn(async move {
        for n in 1u64.. {
            // The second disk may only name a number that the first one has.
            host.guest_write(machine, &key("vda"), 4096, &n.to_le_bytes()).unwrap();
            host.guest_write(machine, &key("vdb"), 4096, &n.to_le_bytes()).unwrap();
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    });
    for _ in 0..5 {
        world.next_point().await;
    }
    writer.abort();
    let number = |bytes: Vec<u8>| u64::from_le_bytes(bytes[4096..4104].try_into().unwrap());
    let mut seen = 0;
    for id in world.points().await {
        let a = number(world.point_bytes(id, "vda").await);
        let b = number(world.point_bytes(id, "vdb").await);
        assert!(a == b || a == b + 1, "point {id}: the disks are at {a} and {b}");
        assert!(a >= seen);
        seen = a;
    }
    assert!(seen > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initial_copy_in_slices_shows_no_point_before_it_is_whole() {
    let mut world = World::new().await;
    world.write("vda", 0, &farshore_sim::driver::content(2, 5 << 20));
    world.write("vdb", 0, &farshore_sim::driver::content(6, 5 << 20));
    world.settings.slice = Duration::ZERO;
    world.start();
    let bytes = farshore_sim::driver::content(10, 1 << 20);
    world.write("vda", 1 << 20, &bytes);
    world.check_newest().await;
    assert!(world.status().totals.cycles > 3, "it took several slices");
    assert!(world.points().await[0].number > 2, "stages are no points");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_shut_off_is_brought_up_to_date_once_and_goes_on_when_started() {
    let mut world = World::new().await;
    world.write("vda", 0, &[1; 100_000]);
    world.start();
    world.next_point().await;
    world.write("vda", 0, &[2; 100_000]);
    world.host.destroy(world.machine).await.unwrap();
    world.until_off().await;
    assert!(world.host.machine(world.machine).await.unwrap().power.is_off(), "it is off again");
    let id = *world.points().await.last().unwrap();
    assert!(world.point_bytes(id, "vda").await == world.bytes("vda"));
    world.host.start(world.machine, farshore_hypervisor::Start::Running).await.unwrap();
    world.until("replicating", |s| s.activity == Activity::Replicating).await;
    world.write("vdb", 0, &[3; 100_000]);
    world.check_newest().await;
    assert_eq!(world.status().totals.resyncs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bandwidth_limit_holds_and_can_be_lifted_while_running() {
    let mut world = World::new().await;
    world.settings.rate.set(Some(512 * 1024));
    world.settings.compression = farshore_capture::Compression::Off;
    world.write("vda", 0, &farshore_sim::driver::content(2, 3 << 20));
    let begun = std::time::Instant::now();
    world.start();
    let rate = world.settings.rate.clone();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.status().last_point.is_none(), "3 MiB do not pass in 2 s");
    rate.set(None);
    world.check_newest().await;
    assert!(begun.elapsed() < Duration::from_secs(12));
}
