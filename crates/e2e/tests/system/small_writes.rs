//! Writes smaller than a cluster are sent as what they are, and change nothing else: every
//! point is the guest's disks, whatever either side has lost or mistaken.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    process::{Command, Stdio},
};

use farshore_capture::{
    Compression,
    bug::{Bug, plant},
};
use farshore_delta::Place;
use farshore_e2e::world::{Cut, World, key};
use farshore_hypervisor::Start;
use farshore_sim::driver::content;
use farshore_wire::Versions;

const CLUSTER: u64 = 65_536;

/// A world whose disks hold noise, and of which one write per cluster has been sent: from
/// there on, the blocks of those clusters are known.
async fn known() -> World {
    let mut world = World::new().await;
    world.write("vda", 0, &content(2, 6 << 20));
    world.write("vdb", 0, &content(3, 3 << 20));
    world.start();
    world.next_point().await;
    touch(&world, 1);
    world.check_newest().await;
    world
}

/// Changes some bytes in one block of each of 32 clusters of both disks.
fn touch(world: &World, salt: u8) {
    for cluster in 0..32 {
        let at = cluster * CLUSTER + u64::from(salt % 15) * 4096 + 4000;
        world.write("vda", at, &[salt; 90]);
        world.write("vdb", at + 1000, &[salt; 90]);
    }
}

/// Bytes sent for one touch and its point.
async fn sent_by_touch(world: &mut World, salt: u8) -> u64 {
    let before = world.status().totals.sent;
    touch(world, salt);
    world.check_newest().await;
    world.status().totals.sent - before
}

#[tokio::test(flavor = "multi_thread")]
async fn small_writes_are_sent_as_what_they_are() {
    for compression in [Compression::On, Compression::Off] {
        let mut world = known().await;
        world.stop().await;
        world.settings.compression = compression;
        world.start();
        let small = sent_by_touch(&mut world, 2).await;
        world.stop().await;
        world.settings.small_writes = false;
        world.start();
        let large = sent_by_touch(&mut world, 3).await;
        println!("{compression:?}: {small} bytes with patches, {large} without");
        assert!(small * 8 < large, "{small} bytes were sent with patches, {large} without");
        world.stop().await;
    }
}

/// The first target that there was knows nothing of patches.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_take_patches_gets_whole_clusters() {
    let mut world = known().await;
    let small = sent_by_touch(&mut world, 2).await;
    world.speak_as_target(Versions { min: 1, max: 1 }).await;
    let large = sent_by_touch(&mut world, 3).await;
    assert!(small * 8 < large, "{small} bytes were sent with patches, {large} without");
    // What the old target got is not known in blocks any more; then it is again.
    world.speak_as_target(Versions::OURS).await;
    sent_by_touch(&mut world, 4).await;
    let again = sent_by_touch(&mut world, 5).await;
    assert!(again * 8 < large, "{again} bytes were sent with patches again");
}

/// Ordinary life: cuts, kills, lost acknowledgements and a lost bitmap between small writes,
/// and a file of blocks that is taken away, torn, or put back from long ago.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_between_small_writes_every_point_is_the_disks() {
    let mut world = known().await;
    let blocks = world.state_dir().join("vda.blocks");
    let old = std::fs::read(&blocks).unwrap();
    for round in 0u8..8 {
        touch(&world, 10 + round);
        world.write("vda", u64::from(round) * 70_000, &content(u64::from(round), 30_000));
        match round {
            0 => world.dial.cut_live(Cut::Back(0)),
            1 => world.restart_target().await,
            2 => std::fs::write(&blocks, &old).unwrap(),
            3 => OpenOptions::new().write(true).open(&blocks).unwrap().set_len(0).unwrap(),
            4 => {
                world.kill_source().await;
                world.start();
            }
            5 => {
                use farshore_hypervisor::Hypervisor;
                world.host.kill(world.machine).unwrap();
                world.host.start(world.machine, Start::Running).await.unwrap();
            }
            6 => {
                let file = OpenOptions::new().write(true).open(&blocks).unwrap();
                file.write_all_at(&content(6, 3000), 128 * 5 + 17).unwrap();
            }
            _ => world.dial.cut_live(Cut::Forth(3000)),
        }
        touch(&world, 30 + round);
        world.check_newest().await;
    }
    world.stop().await;
}

/// A cluster that has decayed at the target cannot be patched; whole, it is new.
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_for_a_cluster_that_has_decayed_is_followed_by_the_whole() {
    let mut world = known().await;
    let replica = world.replicas().get(world.machine).await.unwrap().unwrap();
    let (dir, place) = replica
        .run(|store| {
            let reader = store.last_reader().unwrap();
            let entry = reader.map(&key("vda")).unwrap().next().unwrap().unwrap();
            (store.dir().to_owned(), entry.place)
        })
        .await;
    let (Place::Raw(at) | Place::Compressed { offset: at, .. }) = place else { panic!("{place:?}") };
    let image = OpenOptions::new().write(true).open(dir.join("vda.qcow2")).unwrap();
    image.write_all_at(&[0xee; 500], at + 20_000).unwrap();
    let failed = world.status().totals.failed;
    touch(&world, 2);
    world.until("a patch that does not fit", |s| s.totals.failed > failed).await;
    world.check_newest().await;
    assert_eq!(world.status().totals.failed, failed + 1, "whole clusters went through at once");
    assert!(sent_by_touch(&mut world, 3).await < 64 * CLUSTER / 4, "and then patches again");
}

/// A source that believes what it knows of blocks whatever the cluster has become: the target
/// finds out, and nothing but time is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_mistaken_about_blocks_is_found_out_and_heals() {
    let mut world = known().await;
    let blocks = world.state_dir().join("vda.blocks");
    let (old, mut disk) = (std::fs::read(&blocks).unwrap(), world.bytes("vda"));
    touch(&world, 2);
    world.check_newest().await;
    let _planted = plant(Bug::BelieveBlocks);
    std::fs::write(&blocks, &old).unwrap();
    let failed = world.status().totals.failed;
    // What was, is again, but for one block: by the old entries, only that one is new. In one
    // write, so that no cycle sees the half of it.
    disk[40_000] ^= 1;
    world.write("vda", 0, &disk);
    world.until("a patch that does not fit", |s| s.totals.failed > failed).await;
    world.check_newest().await;
    assert!(sent_by_touch(&mut world, 4).await < 64 * CLUSTER / 4, "and then patches again");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_tools_read_a_published_point_of_patches() {
    let mut world = known().await;
    for salt in 2..5 {
        touch(&world, salt);
        world.check_newest().await;
    }
    world.stop().await;
    let disk = world.bytes("vda");
    let replica = world.replicas().get(world.machine).await.unwrap().unwrap();
    let (dir, id) = replica
        .run(|store| {
            let id = store.newest().unwrap().id;
            store.publish(id).unwrap();
            (store.dir().to_owned(), id)
        })
        .await;
    let raw = dir.join("point.raw");
    let read = Command::new("qemu-img")
        .args(["convert", "-U", "-l", &id.to_string(), "-O", "raw"])
        .args([dir.join("vda.qcow2"), raw.clone()])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(read.success());
    let read = std::fs::read(raw).unwrap();
    assert!(read[..disk.len()] == disk[..], "point {id} differs by stock tools");
    let checked = Command::new("qemu-img")
        .args(["check", "-U", "-q"])
        .arg(dir.join("vda.qcow2"))
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(checked.success());
}
