//! What a watchdog mends, and what it leaves alone.

use std::time::Duration;

use farshore_agent::watchdog::{Watchdog, mend, mend_until_clean};
use farshore_hypervisor::{
    BackupDisk, BackupMode, BackupSpec, Hypervisor, JobState, Kind, PowerState, Start, simulated::Operation,
};

use crate::world::{World, key};

async fn backup(world: &World, name: &str, dir: std::path::PathBuf) -> farshore_types::MachineId {
    let id = world.host.add_machine(name, &[("vda", 1 << 20)]).await.unwrap();
    world.host.start(id, Start::Running).await.unwrap();
    let disk =
        BackupDisk { key: key("vda"), mode: BackupMode::Full, tracked: false, scratch: dir.join("scratch") };
    let spec = BackupSpec { checkpoint: None, disks: vec![disk], socket: dir.join("backup.sock") };
    world.host.begin_backup(id, &spec).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn our_backup_is_ended_and_its_guest_set_going_again() {
    let world = World::new().await;
    let id = backup(&world, "web1", world.agent.config().runtime_dir.join("web1")).await;
    world.host.pause_by_io_error(id).unwrap();
    assert!(mend(&world.agent).await.unwrap());
    assert_eq!(world.host.job(id).await.unwrap(), JobState::None);
    assert_eq!(world.host.machine(id).await.unwrap().power, PowerState::Running);
    assert!(!mend(&world.agent).await.unwrap(), "nothing is left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_and_guests_of_others_are_left_alone() {
    let world = World::new().await;
    let theirs = backup(&world, "db1", "/elsewhere".into()).await;
    world.host.pause_by_io_error(theirs).unwrap();
    assert!(!mend(&world.agent).await.unwrap());
    assert!(matches!(world.host.job(theirs).await.unwrap(), JobState::Backup { .. }));
    assert!(world.host.machine(theirs).await.unwrap().power.is_paused());
}

/// What an agent notes before it starts a machine for a cycle only.
fn note_started_for_a_cycle(world: &World, id: farshore_types::MachineId) {
    let state = world.agent.config().state_dir.join("sources").join(id.to_string());
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("started-for-a-cycle"), "").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_started_for_a_cycle_only_is_stopped_again_but_never_one_that_ran() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for name in ["for-a-cycle", "set-going", "of-somebody"] {
        let id = world.host.add_machine(name, &[("vda", 1 << 20)]).await.unwrap();
        world.host.start(id, Start::Paused).await.unwrap();
        ids.push(id);
    }
    for id in &ids[..2] {
        note_started_for_a_cycle(&world, *id);
    }
    world.host.resume(ids[1]).await.unwrap();
    world.host.suspend(ids[1]).await.unwrap();
    assert!(mend(&world.agent).await.unwrap());
    assert!(world.host.machine(ids[0]).await.unwrap().power.is_off());
    for id in &ids[1..] {
        assert!(world.host.machine(*id).await.unwrap().power.is_paused());
    }
    assert!(!mend(&world.agent).await.unwrap(), "nothing is left to do");
}

/// A watchdog that writes down what it is told.
fn listening_watchdog(world: &World) -> (Watchdog, std::path::PathBuf) {
    let heard = world.dir.path().join("heard");
    let script = format!("cat > {0}.part; mv {0}.part {0}", heard.display());
    let command = ["sh", "-c", &script].map(std::ffi::OsString::from);
    (Watchdog::spawn(&command).unwrap(), heard)
}

async fn what_was_heard(path: &std::path::Path) -> String {
    loop {
        if let Ok(text) = std::fs::read_to_string(path) {
            return text;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_is_dismissed_only_where_nothing_is_left() {
    let world = World::new().await;
    world.agent.hypervisor().await.unwrap();
    let (watchdog, heard) = listening_watchdog(&world);
    watchdog.let_go(&world.agent).await;
    assert_eq!(what_was_heard(&heard).await, "goodbye\n");
    std::fs::remove_file(&heard).unwrap();

    let id = backup(&world, "web1", world.agent.config().runtime_dir.join("web1")).await;
    world.host.fail(Operation::EndBackup, 1, Kind::Timeout);
    let (watchdog, heard) = listening_watchdog(&world);
    watchdog.let_go(&world.agent).await;
    assert_eq!(what_was_heard(&heard).await, "", "it ends without a goodbye, so the watchdog looks");
    assert!(matches!(world.host.job(id).await.unwrap(), JobState::Backup { .. }));
}

/// A started machine whose guest has an agent and stands frozen, and the mark of that.
async fn frozen(world: &World, name: &str) -> (farshore_types::MachineId, std::path::PathBuf) {
    let id = world.host.add_machine(name, &[("vda", 1 << 20)]).await.unwrap();
    world.host.start(id, Start::Running).await.unwrap();
    world.host.set_guest_agent(id, true).unwrap();
    world.host.freeze(id, Duration::from_secs(1)).await.unwrap();
    let state = world.agent.config().state_dir.join("sources").join(id.to_string());
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("frozen"), "x").unwrap();
    (id, state.join("frozen"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_thawed_whatever_keeps_others_and_they_are_mended_whatever_keeps_it() {
    let world = World::new().await;
    let theirs = backup(&world, "a-hangs", world.agent.config().runtime_dir.join("hangs")).await;
    let (guest, _) = frozen(&world, "guest").await;
    let gate = world.host.hold(Operation::EndBackup);
    let agent = world.agent.clone();
    let mending = tokio::spawn(async move { mend(&agent).await });
    while world.host.stands_frozen(guest).unwrap() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(gate);
    assert!(mending.await.unwrap().unwrap());
    assert_eq!(world.host.job(theirs).await.unwrap(), JobState::None);

    // The first one fails; so does the thaw.
    let ids = [("a1", "one"), ("b2", "two")];
    for (name, dir) in ids {
        backup(&world, name, world.agent.config().runtime_dir.join(dir)).await;
    }
    let (guest, _) = frozen(&world, "guest2").await;
    world.host.fail(Operation::EndBackup, 1, Kind::Timeout);
    world.host.fail(Operation::IsFrozen, 1, Kind::Timeout);
    assert!(mend(&world.agent).await.is_err());
    let second = world.host.find("b2").await.unwrap().id;
    assert_eq!(world.host.job(second).await.unwrap(), JobState::None);
    assert!(world.host.stands_frozen(guest).unwrap());
    assert!(mend(&world.agent).await.unwrap());
    assert!(!world.host.stands_frozen(guest).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_gives_up_what_cannot_be_mended_but_never_a_guest_that_may_stand_frozen() {
    let world = World::new().await;
    world.host.fail(Operation::Machines, 1, Kind::Denied);
    assert!(mend_until_clean(&world.agent).await.is_err());

    let (guest, mark) = frozen(&world, "guest").await;
    for nth in 1..=2 {
        world.host.fail(Operation::Machines, nth, Kind::Denied);
        world.host.fail(Operation::IsFrozen, nth, Kind::Timeout);
    }
    mend_until_clean(&world.agent).await.unwrap();
    assert!(!world.host.stands_frozen(guest).unwrap() && !mark.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_was_left_frozen_is_thawed_and_one_frozen_by_others_is_left_alone() {
    let world = World::new().await;
    let (ours, mark) = frozen(&world, "ours").await;
    let (theirs, not_there) = frozen(&world, "theirs").await;
    std::fs::remove_file(not_there).unwrap();
    // A machine that is gone is no reason to look for ever.
    let gone = world.agent.config().state_dir.join("sources").join(uuid::Uuid::nil().to_string());
    std::fs::create_dir_all(&gone).unwrap();
    std::fs::write(gone.join("frozen"), "x").unwrap();

    world.host.fail(Operation::IsFrozen, 1, Kind::Timeout);
    assert!(mend(&world.agent).await.is_err(), "it is not known yet");
    assert!(mend(&world.agent).await.unwrap());
    assert!(!world.host.stands_frozen(ours).unwrap() && world.host.stands_frozen(theirs).unwrap());
    assert!(!mark.exists() && !gone.join("frozen").exists());
    assert!(!mend(&world.agent).await.unwrap(), "nothing is left to do");
}
