//! An old copy of a machine's disks at the target: only what differs is sent, and every
//! point equals the disks, by our reader and by stock tools.

#![expect(clippy::unwrap_used, reason = "a test may stop where its set-up fails")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use farshore_agent::control::{
    Adopt, BringUp, Export, Format, PointChoice, Reply, Request, StartChoice, Verified,
};
use farshore_e2e::world::{World, key};
use farshore_types::PointId;

/// What the machine had when the copies were made, and what it has now.
async fn world() -> World {
    let world = World::new().await;
    world.write("vda", 0, &farshore_sim::driver::content(2, 5 << 20));
    world.write("vdb", 1 << 20, &farshore_sim::driver::content(6, 3 << 20));
    world
}

fn qemu_img(args: &[&str]) {
    let out = Command::new("timeout").args(["60", "qemu-img"]).args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Copies of both disks as they are now: one raw, one a compressed qcow2 file.
fn copies(world: &World) -> Vec<(farshore_types::DiskKey, PathBuf)> {
    let media = world.replica_dir().with_file_name("media");
    std::fs::create_dir_all(&media).unwrap();
    let [raw, vdb, packed] = ["vda.raw", "vdb.raw", "vdb.qcow2"].map(|name| media.join(name));
    std::fs::write(&raw, world.bytes("vda")).unwrap();
    std::fs::write(&vdb, world.bytes("vdb")).unwrap();
    let (from, to) = (vdb.to_str().unwrap(), packed.to_str().unwrap());
    qemu_img(&["convert", "-c", "-f", "raw", "-O", "qcow2", from, to]);
    vec![(key("vda"), raw), (key("vdb"), packed)]
}

fn adopt(world: &World, disks: Vec<(farshore_types::DiskKey, PathBuf)>) -> Request {
    Request::Adopt(Adopt { machine: world.machine.to_string(), disks })
}

/// The point's published disk, as stock tools read it.
async fn by_stock_tools(world: &World, id: PointId, disk: &str) -> Vec<u8> {
    let replica = world.replicas().get(world.machine).await.unwrap().unwrap();
    replica.run(move |store| store.publish(id)).await.unwrap();
    let dir = world.replicas().dir_of(world.machine);
    let (image, out) = (dir.join(format!("{disk}.qcow2")), dir.join("judged.raw"));
    let (image, to) = (image.to_str().unwrap(), out.to_str().unwrap());
    qemu_img(&["convert", "-U", "-l", &id.to_string(), "-O", "raw", image, to]);
    qemu_img(&["check", "-U", image]);
    std::fs::read(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_from_an_adopted_copy_is_sent() {
    let mut world = world().await;
    let copies = copies(&world);
    // Since then the guest went on.
    world.write("vda", 70_000, b"newer");
    world.write("vdb", 2 << 20, &[0; 200_000]);
    world.write("vdb", 5 << 20, &farshore_sim::driver::content(9, 100_000));
    let Ok(Reply::Adopted(adopted)) = world.ask_target(adopt(&world, copies.clone())).await else { panic!() };
    assert_eq!(adopted.disks.iter().map(|d| d.format.as_str()).collect::<Vec<_>>(), ["raw", "qcow2"]);
    assert!(copies.iter().all(|(_, path)| !path.exists()), "the copies were moved");

    world.start();
    let id = world.check_newest().await;
    let sent = world.status().totals.sent;
    assert!(sent <= 12 * 65_536, "8 MiB are at the target already, and {sent} bytes were sent");
    for disk in ["vda", "vdb"] {
        assert!(by_stock_tools(&world, id, disk).await == world.bytes(disk), "{disk} by stock tools");
    }

    // And what reads a point through the agent finds the copies, too.
    let machine = world.machine.to_string();
    let point = PointChoice::At(id);
    let verify = Request::Verify { machine: machine.clone(), point };
    let Ok(Reply::Verified(Verified { checked, .. })) = world.ask_target(verify).await else { panic!() };
    assert!(checked > 7 << 20, "{checked}");
    let out = tempfile::tempdir().unwrap();
    for format in [Format::Raw, Format::Qcow2] {
        let to = out.path().to_owned();
        let export = Export { machine: machine.clone(), point, disk: None, to, format, force: false };
        let Ok(Reply::Exported(exported)) = world.ask_target(Request::Export(export)).await else { panic!() };
        for file in exported.disks {
            assert!(
                flat(&file.path, out.path()) == world.bytes(file.disk.as_str()),
                "{format} {}",
                file.disk
            );
        }
    }
    world.stop().await;
    let start = StartChoice::No;
    let wanted = BringUp { machine, point, start, replace: false, force: true };
    let Ok(Reply::BroughtUp(up)) = world.ask_target(Request::BringUp(wanted)).await else { panic!() };
    for (disk, path) in up.disks {
        assert!(flat(&path, out.path()) == world.bytes(disk.as_str()), "{disk} as it was brought up");
    }
}

fn flat(image: &Path, dir: &Path) -> Vec<u8> {
    let raw = dir.join("flat.raw");
    qemu_img(&["convert", "-O", "raw", image.to_str().unwrap(), raw.to_str().unwrap()]);
    std::fs::read(raw).unwrap()
}

/// The source replicates already when the copies turn up, and is in the middle of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_refused_once_there_are_points_and_stays_where_it_is() {
    let mut world = world().await;
    let copies = copies(&world);
    world.start();
    world.check_newest().await;
    world.stop().await;
    let error = world.ask_target(adopt(&world, copies.clone())).await.unwrap_err().to_string();
    assert!(error.contains("recovery points already"), "{error}");
    assert!(copies.iter().all(|(_, path)| path.exists()));
}

/// A copy whose disk has another size now: the difference is all that is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_another_size_serves_as_well() {
    for (len, salt) in [(3 << 20, 2), (9 << 20, 2)] {
        let mut world = world().await;
        let media = world.replica_dir().with_file_name("vda.raw");
        let mut bytes = farshore_sim::driver::content(salt, 9 << 20);
        bytes.truncate(len);
        std::fs::write(&media, bytes).unwrap();
        world.ask_target(adopt(&world, vec![(key("vda"), media)])).await.unwrap();
        world.start();
        let id = world.check_newest().await;
        for disk in ["vda", "vdb"] {
            assert!(by_stock_tools(&world, id, disk).await == world.bytes(disk), "{disk}, copy of {len}");
        }
    }
}
