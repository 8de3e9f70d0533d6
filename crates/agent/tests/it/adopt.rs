//! Copies that cannot be adopted, and what is said; they stay where they are.

use std::{fs, path::PathBuf, process::Command};

use farshore_agent::control::{Adopt, Observer, Reply, Request};
use farshore_hypervisor::{Hypervisor, Kind, simulated::Operation};
use tokio_util::sync::CancellationToken;

use crate::world::{MACHINE, World, key, text};

/// Bytes of a copy that is fine.
const SIZE: usize = 3 * 65_536 + 512;

fn copy(world: &World, name: &str) -> PathBuf {
    let path = world.dir.path().join(name);
    fs::write(&path, vec![7; SIZE]).unwrap();
    path
}

fn adopt(path: PathBuf) -> Request {
    Request::Adopt(Adopt { machine: MACHINE.to_string(), disks: vec![(key("vda"), path)] })
}

async fn refused(world: &World, path: PathBuf) -> String {
    let error = text(world.ask(adopt(path.clone())).await);
    assert!(path.exists(), "{error}");
    assert!(!world.replica_dir().exists(), "no replica is left behind: {error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_disk_of_nobody_else_is_refused() {
    let world = World::new().await;
    let error = text(world.ask(adopt(world.dir.path().join("none"))).await);
    assert!(error.contains("none") && error.contains("cannot find"), "{error}");
    let error = refused(&world, world.dir.path().to_owned()).await;
    assert!(error.contains("no plain file"), "{error}");
    let odd = copy(&world, "odd");
    fs::write(&odd, [1; 1000]).unwrap();
    let error = refused(&world, odd).await;
    assert!(error.contains("1000 bytes") && error.contains("is the copy whole"), "{error}");
    let (first, second) = (copy(&world, "first"), world.dir.path().join("second"));
    fs::hard_link(&first, &second).unwrap();
    assert!(refused(&world, first).await.contains("another name"));
    let (base, upper) = (copy(&world, "base"), world.dir.path().join("upper"));
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .args([&base, &upper])
        .status();
    assert!(made.unwrap().success());
    let error = refused(&world, upper).await;
    assert!(error.contains("another file") && error.contains("flatten"), "{error}");
    let twice = copy(&world, "twice");
    let disks = vec![(key("vda"), twice.clone()), (key("vdb"), twice)];
    let error = text(world.ask(Request::Adopt(Adopt { machine: MACHINE.to_string(), disks })).await);
    assert!(error.contains("given twice"), "{error}");
    let wanted = Adopt { machine: "web1".to_owned(), disks: vec![(key("vda"), copy(&world, "named"))] };
    let error = text(world.ask(Request::Adopt(wanted)).await);
    assert!(error.contains("'web1'") && error.contains("UUID"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_somebody_uses_is_refused_and_the_user_named() {
    let world = World::new().await;
    let path = copy(&world, "used");
    let open = fs::File::open(&path).unwrap();
    let error = refused(&world, path.clone()).await;
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    drop(open);
    let xml = format!(
        "<domain type='kvm'><name>theirs</name><os><type>hvm</type></os><devices>\
         <disk type='file'><source file='{}'/><target dev='vda'/></disk></devices></domain>",
        path.display()
    );
    world.host.define(&xml).await.unwrap();
    let error = refused(&world, path.clone()).await;
    assert!(error.contains("machine 'theirs'") && error.contains("undefine"), "{error}");
    // Where nobody can be asked, that is said, and the other checks must do.
    world.host.fail(Operation::Machines, 1, Kind::Timeout);
    let (reply, events) = world.ask_with(adopt(path)).await;
    reply.unwrap();
    assert!(format!("{events:?}").contains("could not ask the hypervisor"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_another_replica_is_refused() {
    let world = World::new().await;
    world.with_points(1).await;
    let wanted = Adopt {
        machine: uuid::Uuid::from_u128(8).to_string(),
        disks: vec![(key("vda"), world.replica_dir().join("vda.qcow2"))],
    };
    let error = text(world.ask(Request::Adopt(wanted)).await);
    assert!(error.contains("belongs to the replica in"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_was_stopped_or_cut_is_finished_by_repeating_it() {
    let world = World::new().await;
    let path = copy(&world, "old");
    let (observer, _events) = Observer::new(CancellationToken::new());
    observer.stop.cancel();
    let error = text(world.agent.handle(adopt(path.clone()), &observer).await);
    assert!(error.contains("stopped on request") && path.exists(), "{error}");
    assert!(!world.replica_dir().join("vda.digests.tmp").exists());
    // A crash just after the move.
    let inside = world.replica_dir().join("vda.adopted");
    fs::rename(&path, &inside).unwrap();
    let Ok(Reply::Adopted(adopted)) = world.ask(adopt(path.clone())).await else { panic!() };
    assert_eq!((adopted.disks[0].size, &adopted.disks[0].path), (SIZE as u64, &inside));
    let error = text(world.ask(adopt(path)).await);
    assert!(error.contains("already has disk vda"), "{error}");
    assert!(inside.exists());
}
