//! A disk that stands on another image gets one of its own while its guest runs.

use farshore_hypervisor::{Hypervisor, Kind, Start};
use farshore_types::MachineId;

use crate::rig::{CLUSTER, MIB, Rig, byte_at, changed, checkpoint, export, key, spec};

/// Slow enough to be met: QEMU copies in pieces of this many bytes a second.
const SLOW: u64 = 2 * MIB;

async fn started(rig: &dyn Rig) -> MachineId {
    let id = rig.layered_machine().await;
    rig.hypervisor().start(id, Start::Running).await.unwrap();
    id
}

async fn is_layered(hypervisor: &dyn Hypervisor, id: MachineId) -> bool {
    hypervisor.machine(id).await.unwrap().disk(&key("vda")).unwrap().layered
}

pub(crate) async fn a_disk_is_pulled_off_what_it_stands_on_and_its_bitmaps_tell_only_what_the_guest_wrote(
    rig: &dyn Rig,
) {
    let (id, host) = (started(rig).await, rig.hypervisor());
    assert!(is_layered(host, id).await);
    checkpoint(rig, id, &["vda"], "c").await;
    rig.write(id, "vda", 2 * CLUSTER, CLUSTER, 7).await;
    host.begin_pull(id, &key("vda"), 0).await.unwrap();
    rig.write(id, "vda", 4 * CLUSTER, CLUSTER, 8).await;
    rig.let_pull_go_on(id, true).await;
    assert!(!is_layered(host, id).await, "it stands on nothing any more");
    rig.write(id, "vda", 6 * CLUSTER, CLUSTER, 9).await;
    assert_eq!(changed(rig, id, "vda", "c").await, [2, 4, 6], "what was pulled has not changed");
    // A pull of what stands on nothing is over at once.
    host.begin_pull(id, &key("vda"), 0).await.unwrap();
    rig.let_pull_go_on(id, true).await;
    let backup = host.begin_backup(id, &spec(rig, &["vda"], Some("d"), Some("c"))).await.unwrap();
    let disk = export(rig, &backup, "vda").await;
    let read =
        [byte_at(&*disk, 0).await, byte_at(&*disk, 4 * CLUSTER).await, byte_at(&*disk, 12 * MIB).await];
    assert_eq!(read, [5, 8, 0]);
    host.end_backup(id).await.unwrap();
    host.destroy(id).await.unwrap();
    assert!(!is_layered(host, id).await);
    host.start(id, Start::Paused).await.unwrap();
    assert_eq!(changed(rig, id, "vda", "d").await, [0; 0], "and its bitmaps last");
    host.destroy(id).await.unwrap();
}

pub(crate) async fn a_pull_that_is_ended_keeps_what_it_has_and_can_be_begun_again(rig: &dyn Rig) {
    let (id, host) = (started(rig).await, rig.hypervisor());
    host.end_pull(id, &key("vda")).await.unwrap();
    host.begin_pull(id, &key("vda"), SLOW).await.unwrap();
    host.begin_pull(id, &key("vda"), SLOW).await.unwrap();
    rig.let_pull_go_on(id, false).await;
    let jobs = host.block_jobs(id).await.unwrap();
    assert!(jobs.iter().any(|job| job.what == "pull" && job.done > 0 && job.done < job.total), "{jobs:?}");
    host.end_pull(id, &key("vda")).await.unwrap();
    assert_eq!(host.block_jobs(id).await.unwrap(), []);
    assert!(is_layered(host, id).await, "what was not pulled is read from below");
    host.begin_pull(id, &key("vda"), 0).await.unwrap();
    rig.let_pull_go_on(id, true).await;
    assert!(!is_layered(host, id).await);
    host.destroy(id).await.unwrap();
    let error = host.begin_pull(id, &key("vda"), 0).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotRunning, "{error}");
    host.end_pull(id, &key("vda")).await.unwrap();
}

pub(crate) async fn a_pull_and_a_backup_turn_each_other_away(rig: &dyn Rig) {
    let (id, host) = (started(rig).await, rig.hypervisor());
    host.begin_backup(id, &spec(rig, &["vda"], None, None)).await.unwrap();
    let error = host.begin_pull(id, &key("vda"), 0).await.unwrap_err();
    assert_eq!(error.kind, Kind::Busy, "{error}");
    host.end_backup(id).await.unwrap();
    host.begin_pull(id, &key("vda"), SLOW).await.unwrap();
    let error = host.begin_backup(id, &spec(rig, &["vda"], Some("c"), None)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Busy, "{error}");
    assert!(error.to_string().contains("pull"), "{error}");
    // A machine that stops takes the job with it.
    host.destroy(id).await.unwrap();
    assert_eq!(host.block_jobs(id).await.unwrap(), []);
}
