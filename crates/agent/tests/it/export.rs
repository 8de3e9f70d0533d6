//! Exports, judged by the model and by stock `qemu-img`.

use std::{fs, path::Path, process::Command};

use farshore_agent::control::{Export, Format, Observer, PointChoice, Reply, Request};

use tokio_util::sync::CancellationToken;

use crate::world::{NAME, World, key, text};

fn export(point: PointChoice, to: &Path) -> Export {
    let to = to.to_owned();
    Export { machine: NAME.to_owned(), point, disk: None, to, format: Format::Raw, force: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_point_exports_to_the_bytes_its_source_had() {
    let world = World::new().await;
    let (_, points) = world.with_points(4).await;
    for (id, disks) in &points {
        let out = tempfile::tempdir().unwrap();
        let wanted = export(PointChoice::At(*id), out.path());
        let Ok(Reply::Exported(exported)) = world.ask(Request::Export(wanted)).await else { panic!() };
        assert_eq!(exported.disks.len(), 2);
        for file in exported.disks {
            assert!(fs::read(&file.path).unwrap() == disks[&file.disk], "{} of {id}", file.disk);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qcow2_export_is_clean_and_equal_by_stock_tools() {
    let world = World::new().await;
    let (_, points) = world.with_points(3).await;
    let out = tempfile::tempdir().unwrap();
    for (id, disks) in &points {
        let to = out.path().join(format!("{id}.qcow2"));
        let wanted =
            Export { disk: Some(key("vdb")), format: Format::Qcow2, ..export(PointChoice::At(*id), &to) };
        world.ask(Request::Export(wanted)).await.unwrap();
        let qemu_img = |args: &[&str]| {
            let done = Command::new("timeout").args(["60", "qemu-img"]).args(args).output().unwrap();
            assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        };
        let (from, raw) = (to.to_str().unwrap(), out.path().join("raw"));
        qemu_img(&["check", from]);
        qemu_img(&["convert", "-O", "raw", from, raw.to_str().unwrap()]);
        assert!(fs::read(&raw).unwrap() == disks[&key("vdb")], "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_stopped_leaves_no_file() {
    let world = World::new().await;
    world.with_points(1).await;
    let out = tempfile::tempdir().unwrap();
    for format in [Format::Raw, Format::Qcow2] {
        let (observer, _events) = Observer::new(CancellationToken::new());
        observer.stop.cancel();
        let wanted = Export { format, ..export(PointChoice::Latest, out.path()) };
        let error = text(world.agent.handle(Request::Export(wanted), &observer).await);
        assert!(error.contains("stopped on request"), "{error}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_refuses_before_it_writes() {
    let world = World::new().await;
    world.with_points(1).await;
    let out = tempfile::tempdir().unwrap();
    let to = out.path().join("vda.raw");
    let one = || Export { disk: Some(key("vda")), ..export(PointChoice::Latest, &to) };
    fs::write(&to, "mine").unwrap();
    let error = text(world.ask(Request::Export(one())).await);
    assert!(error.contains("exists already") && error.contains("--force"), "{error}");
    assert_eq!(fs::read(&to).unwrap(), b"mine");
    world.ask(Request::Export(Export { force: true, ..one() })).await.unwrap();
    assert_ne!(fs::read(&to).unwrap(), b"mine");

    let error = text(world.ask(Request::Export(Export { disk: Some(key("vdx")), ..one() })).await);
    assert!(error.contains("'vdx'") && error.contains("vda, vdb"), "{error}");
    let both = out.path().join("both.raw");
    let error = text(world.ask(Request::Export(export(PointChoice::Latest, &both))).await);
    assert!(error.contains("2 disks") && error.contains("--disk"), "{error}");
    let nowhere =
        Export { disk: Some(key("vda")), ..export(PointChoice::Latest, Path::new("/proc/no/x.raw")) };
    let error = text(world.ask(Request::Export(nowhere)).await);
    assert!(error.contains("/proc/no"), "{error}");
    let left: Vec<_> = fs::read_dir(out.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["vda.raw"]);
}
