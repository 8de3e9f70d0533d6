//! Disks that come, go and change their size while their machine is protected: followed by the
//! next point, and nothing of the points of before is lost.

use farshore_capture::Status;
use farshore_e2e::world::{DISK, World, key};
use farshore_hypervisor::{Hypervisor, simulated::Operation};

/// Defines the machine anew, its definition changed.
async fn redefine(world: &World, change: impl Fn(String) -> String) {
    let xml = world.host.machine(world.machine).await.unwrap().definition;
    let changed = change(xml.clone());
    assert_ne!(xml, changed);
    world.host.define(&changed).await.unwrap();
}

fn disk(name: &str) -> String {
    format!(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>\
         <source file='/images/{name}'/><target dev='{name}' bus='virtio'/></disk>"
    )
}

async fn add(world: &World, name: &str, size: u64) {
    world.host.add_image(format!("/images/{name}").as_ref(), size);
    redefine(world, |xml| xml.replace("</devices>", &format!("{}</devices>", disk(name)))).await;
}

fn notes(status: &Status, word: &str) -> bool {
    status.notes.iter().any(|note| note.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_that_come_go_and_grow_are_in_the_next_point_as_they_are_and_in_older_ones_as_they_were() {
    let mut world = World::new().await;
    world.write("vda", 0, &[7; 300_000]);
    world.start();
    let first = world.check_newest().await;
    let was = world.point_bytes(first, "vda").await;
    add(&world, "vdc", 3 << 20).await;
    world.write("vdc", 70_000, &farshore_sim::driver::content(2, 2 << 20));
    let with = world.next_point().await;
    assert!(world.point_bytes(with, "vdc").await == world.bytes("vdc"));
    world.write("vdc", 0, &[5; 4096]);
    world.host.resize(world.machine, &key("vda"), DISK + (1 << 20)).unwrap();
    world.host.resize(world.machine, &key("vdc"), 1 << 20).unwrap();
    let grown = world.next_point().await;
    for disk in ["vda", "vdc"] {
        assert!(world.point_bytes(grown, disk).await == world.bytes(disk), "{disk}");
    }
    redefine(&world, |xml| xml.replace(&disk("vdc"), "")).await;
    let without = world.next_point().await;
    assert!(world.point_bytes(without, "vda").await == world.bytes("vda"));
    assert!(!world.disks_of(without).await.contains(&key("vdc")));
    // Another one of that name is another disk.
    world.host.add_image("/images/other".as_ref(), 2 << 20);
    redefine(&world, |xml| {
        let other = disk("vdc").replace("/images/vdc", "/images/other");
        xml.replace("</devices>", &format!("{other}</devices>"))
    })
    .await;
    world.write("vdc", 1 << 20, &[3; 100]);
    let other = world.next_point().await;
    assert!(world.point_bytes(other, "vdc").await == world.bytes("vdc"));
    assert_eq!(world.status().totals.resyncs, 0, "nothing was read twice for that");
    // Points of before are what they were.
    assert!(world.point_bytes(first, "vda").await == was && was.len() as u64 == DISK);
    assert!(!world.disks_of(first).await.contains(&key("vdc")));
    assert_eq!(world.point_bytes(with, "vdc").await.len(), 3 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_left_out_may_go_and_one_that_cannot_be_replicated_is_said() {
    let mut world = World::new().await;
    add(&world, "vdc", 1 << 20).await;
    world.settings.excluded.insert(key("vdc"));
    world.start();
    world.check_newest().await;
    redefine(&world, |xml| xml.replace(&disk("vdc"), "")).await;
    let id = world.next_point().await;
    assert!(world.point_bytes(id, "vda").await == world.bytes("vda"));
    world
        .until("it is said", |s| notes(s, "vdc: left out as configured; the machine has no such disk"))
        .await;
    redefine(&world, |xml| {
        let shared = disk("vdd").replace("<target", "<shareable/><target");
        xml.replace("</devices>", &format!("{shared}</devices>"))
    })
    .await;
    world.next_point().await;
    world.until("it is said", |s| notes(s, "vdd: left out: shared")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_resized_just_when_its_machine_was_stopped_after_a_cycle_is_seen() {
    let mut world = World::new().await;
    world.start();
    world.next_point().await;
    world.host.destroy(world.machine).await.unwrap();
    let stops = world.host.calls(Operation::Destroy);
    // The cycle of the machine that is off is sealed, and nobody has looked at its files since.
    let gate = world.host.hold(Operation::Destroy);
    while world.host.calls(Operation::Destroy) == stops {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let before = world.status().last_point;
    world.host.resize(world.machine, &key("vda"), DISK + (1 << 20)).unwrap();
    drop(gate);
    let status = world.until("another point", |s| s.last_point != before).await;
    let id = status.last_point.unwrap().id;
    assert_eq!(world.point_bytes(id, "vda").await.len() as u64, DISK + (1 << 20));
    world.until_off().await;
}
