//! Bring-up and discard on a simulated hypervisor.

use std::{fs, process::Command};

use farshore_agent::control::{BringUp, BroughtUp, Discarded, PointChoice, Reply, Request, StartChoice};
use farshore_hypervisor::{Hypervisor, PowerState, Problem, simulated::Operation};
use farshore_types::{Epoch, PointId};

use crate::{
    serving::{begin, end, serving},
    world::{MACHINE, NAME, World, key, text},
};

fn wanted(point: PointChoice) -> BringUp {
    BringUp { machine: NAME.to_owned(), point, start: StartChoice::Run, replace: false, force: false }
}

async fn up(world: &World, wanted: BringUp) -> BroughtUp {
    match world.ask(Request::BringUp(wanted)).await {
        Ok(Reply::BroughtUp(up)) => up,
        other => panic!("{other:?}"),
    }
}

async fn discard(world: &World) -> Discarded {
    match world.ask(Request::Discard { machine: NAME.to_owned(), force: true }).await {
        Ok(Reply::Discarded(discarded)) => discarded,
        other => panic!("{other:?}"),
    }
}

fn bring_up(point: PointId) -> Request {
    Request::BringUp(wanted(PointChoice::At(point)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_runs_here_on_overlays_with_its_definition_rewritten() {
    let world = World::with(|config| {
        config.networks.insert("production".to_owned(), "here".to_owned());
    })
    .await;
    let (_, points) = world.with_points(3).await;
    let told = up(&world, wanted(PointChoice::At(points[1].0))).await;
    assert_eq!((told.point, told.epoch, told.power.as_str()), (points[1].0, 2, "running"));
    assert!(told.running_after_ms.is_some() && !told.already);
    assert_eq!(told.without_disks, [key("vdc")]);

    let machine = world.host.machine(MACHINE).await.unwrap();
    assert_eq!((machine.power, machine.autostart), (PowerState::Running, false));
    let dir = world.replica_dir();
    let paths: Vec<_> = machine.disks.iter().map(|d| d.path.clone().unwrap()).collect();
    assert_eq!(paths, [dir.join("vda.active.qcow2"), dir.join("vdb.active.qcow2")]);
    let xml = machine.definition;
    assert!(xml.contains("network='here'") && !xml.contains("/nowhere") && !xml.contains("/there"), "{xml}");
    assert_eq!(fs::read(machine.nvram.unwrap()).unwrap(), b"variables");

    let raw = world.dir.path().join("raw");
    let converted = Command::new("timeout")
        .args(["60", "qemu-img", "convert", "-U", "-O", "raw"])
        .args([&paths[0], &raw])
        .output()
        .unwrap();
    assert!(converted.status.success(), "{}", String::from_utf8_lossy(&converted.stderr));
    assert!(fs::read(&raw).unwrap() == points[1].1[&key("vda")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeating_it_changes_nothing_and_another_point_needs_a_word() {
    let world = World::new().await;
    let (_, points) = world.with_points(3).await;
    let (first, last) = (points[0].0, points[2].0);
    up(&world, wanted(PointChoice::Latest)).await;
    let again = up(&world, wanted(PointChoice::Latest)).await;
    assert_eq!((again.already, again.point, again.epoch), (true, last, 2));
    assert_eq!(world.host.calls(Operation::Start), 1);
    let error = text(world.ask(bring_up(first)).await);
    assert!(
        error.contains(&format!("at point {last}, not at {first}")) && error.contains("--replace"),
        "{error}"
    );
    assert_eq!(world.host.machine(MACHINE).await.unwrap().power, PowerState::Running);
    let replaced = |force| BringUp { replace: true, force, ..wanted(PointChoice::At(first)) };
    let error = text(world.ask(Request::BringUp(replaced(false))).await);
    assert!(error.contains("is running here") && error.contains("--force"), "{error}");
    assert_eq!(world.host.machine(MACHINE).await.unwrap().power, PowerState::Running);
    let told = up(&world, replaced(true)).await;
    assert_eq!((told.point, told.epoch, told.already), (first, 3, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_cannot_run_is_refused_before_anything_changes() {
    let world = World::new().await;
    let (source, _) = world.with_points(2).await;
    let problem = |what: &str| Problem { what: what.to_owned(), advice: format!("mend {what}") };
    world.host.set_start_problems(vec![problem("no such machine type"), problem("no such processor")]);
    let error = text(world.ask(Request::BringUp(wanted(PointChoice::Latest))).await);
    assert!(
        error.contains("no such machine type; no such processor") && error.contains("mend no"),
        "{error}"
    );
    assert_eq!(world.host.calls(Operation::Define), 0);
    world.connect(source.epoch).await.expect("the source still owns it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_this_host_that_is_not_a_replica_is_left_alone() {
    let world = World::new().await;
    world.with_points(1).await;
    let xml = format!(
        "<domain type='kvm'><name>mine</name><uuid>{MACHINE}</uuid><os><type>hvm</type></os><devices>\
         <disk type='file'><source file='/mine.qcow2'/><target dev='vda'/></disk></devices></domain>"
    );
    world.host.define(&xml).await.unwrap();
    let error = text(world.ask(Request::BringUp(wanted(PointChoice::Latest))).await);
    assert!(error.contains("'mine'"), "{error}");
    assert_eq!(world.host.machine(MACHINE).await.unwrap().name, "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn discarding_takes_it_all_back_and_the_old_owner_stays_out() {
    let world = World::new().await;
    let (mut source, points) = world.with_points(2).await;
    up(&world, wanted(PointChoice::Latest)).await;
    let error = world.connect(source.epoch).await.unwrap_err().to_string();
    assert!(error.contains("older epoch"), "{error}");
    let newer = Epoch { number: 9, token: 1 };
    let error = world.connect(newer).await.unwrap_err().to_string();
    assert!(error.contains("brought up"), "{error}");

    let unforced = || Request::Discard { machine: NAME.to_owned(), force: false };
    let error = text(world.ask(unforced()).await);
    assert!(error.contains("is running here") && error.contains("--force"), "{error}");
    assert_eq!(world.host.machine(MACHINE).await.unwrap().power, PowerState::Running);
    assert!(world.connect(newer).await.is_err(), "it is still brought up");
    assert_eq!(discard(&world).await.point, Some(points[1].0));
    assert!(world.host.machine(MACHINE).await.is_err());
    assert!(!world.replica_dir().join("nvram.active").exists());
    assert!(!world.replica_dir().join("vda.active.qcow2").exists());
    assert_eq!(discard(&world).await.point, None, "repeating it changes nothing");

    assert!(world.connect(source.epoch).await.is_err());
    source.epoch = newer;
    let mut session = world.connect(source.epoch).await.unwrap();
    assert_eq!(source.cycle(&mut session).await.unwrap().id.to_string(), "9-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_failed_is_finished_by_repeating_the_command() {
    let world = World::new().await;
    world.with_points(1).await;
    world.host.fail(Operation::Start, 1, farshore_hypervisor::Kind::Timeout);
    assert!(world.ask(Request::BringUp(wanted(PointChoice::Latest))).await.is_err());
    let told = up(&world, wanted(PointChoice::Latest)).await;
    assert_eq!((told.already, told.epoch, told.power.as_str()), (false, 2, "running"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_up_paused_or_not_at_all_where_asked_to() {
    let world = World::new().await;
    world.with_points(1).await;
    let told = up(&world, BringUp { start: StartChoice::No, ..wanted(PointChoice::Latest) }).await;
    assert_eq!((told.power.as_str(), told.running_after_ms), ("off", None));
    let told = up(&world, BringUp { start: StartChoice::Paused, ..wanted(PointChoice::Latest) }).await;
    assert_eq!(told.power, "paused");
    let told = up(&world, wanted(PointChoice::Latest)).await;
    assert_eq!((told.already, told.power.as_str()), (true, "running"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bring_up_that_a_crash_cut_is_finished_when_the_agent_starts() {
    let world = World::new().await;
    let (_, points) = world.with_points(2).await;
    let point = points[0].0;
    let dir = world.replica_dir();
    let (_kept, config, host) = end(world).await;
    let record = dir.join("replica.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    state["phase"] = serde_json::json!({ "is": "bringing-up", "point": point });
    fs::write(&record, state.to_string()).unwrap();
    let serving = begin(config, host);
    // Nobody asks for the machine: that would open its replica.
    let begun = std::time::Instant::now();
    while !fs::read_to_string(&record).is_ok_and(|text| text.contains("brought-up")) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it is left as it was");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(dir.join("vda.active.qcow2").exists() && dir.join("vdb.active.qcow2").exists());
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bring_up_that_failed_midway_is_finished_by_the_running_agent() {
    let world = World::new().await;
    let (_, points) = world.with_points(2).await;
    let (dir, point) = (world.replica_dir(), points[1].0);
    // Nothing can be written by this name.
    let in_the_way = dir.join("vda.active.qcow2.tmp");
    let (_kept, serving) = serving(world).await;
    fs::create_dir(&in_the_way).unwrap();
    let replica = serving.agent.replicas().get(MACHINE).await.unwrap().unwrap();
    let epoch = Epoch { number: 2, token: 5 };
    replica.run(move |store| store.bring_up(point, epoch).map(drop)).await.unwrap_err();
    serving.until("it is cut", |l| l.state == "bringing-up").await;
    fs::remove_dir(&in_the_way).unwrap();
    serving.until("the disks are set", |l| l.state == "brought-up").await;
    assert!(dir.join("vda.active.qcow2").exists());
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_wrote_is_not_discarded_without_a_word() {
    let world = World::new().await;
    let (_, points) = world.with_points(1).await;
    let unforced = || Request::Discard { machine: NAME.to_owned(), force: false };
    let off = || BringUp { start: StartChoice::No, ..wanted(PointChoice::Latest) };
    up(&world, off()).await;
    let Ok(Reply::Discarded(done)) = world.ask(unforced()).await else { panic!("nothing was written") };
    assert_eq!(done.point, Some(points[0].0));
    let told = up(&world, off()).await;
    let path = told.disks[0].1.display().to_string();
    let wrote = std::process::Command::new("qemu-io").args(["-c", "write 0 64k", &path]).output().unwrap();
    assert!(wrote.status.success(), "{wrote:?}");
    let error = text(world.ask(unforced()).await);
    assert!(error.contains("has written") && error.contains("--force"), "{error}");
    assert!(std::path::Path::new(&path).exists());
    assert_eq!(discard(&world).await.point, Some(points[0].0));
}
