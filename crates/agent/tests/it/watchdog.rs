//! What a watchdog mends, and what it leaves alone.

use farshore_agent::watchdog::mend;
use farshore_hypervisor::{BackupDisk, BackupMode, BackupSpec, Hypervisor, JobState, PowerState, Start};

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
