//! What every driver must do.

use std::time::Duration;

use farshore_extent::Run;
use farshore_hypervisor::{
    BackupMode, Change, Deletion, Event, GuestState, JobState, Kind, PowerState, Start, Tracking,
};
use farshore_types::MachineId;
use tokio::{sync::broadcast::Receiver, time::timeout};
use uuid::Uuid;

use crate::rig::{CLUSTER, DISK, MIB, Rig, byte_at, changed, checkpoint, dirty_clusters, export, key, spec};

/// A started machine with one qcow2 disk `vda`.
async fn started(rig: &dyn Rig) -> MachineId {
    let id = rig.machine(&[("vda", "qcow2")]).await;
    rig.hypervisor().start(id, Start::Running).await.unwrap();
    id
}

async fn stop(rig: &dyn Rig, id: MachineId) {
    rig.hypervisor().destroy(id).await.unwrap();
    rig.hypervisor().undefine(id, GuestState::Remove).await.unwrap();
}

pub(crate) async fn a_machine_is_found_by_name_and_by_uuid(rig: &dyn Rig) {
    let id = rig.machine(&[("vda", "qcow2"), ("vdb", "raw")]).await;
    let machine = rig.hypervisor().machine(id).await.unwrap();
    assert_eq!(rig.hypervisor().find(&machine.name).await.unwrap(), machine);
    assert_eq!(rig.hypervisor().find(&id.to_string()).await.unwrap(), machine);
    assert!(rig.hypervisor().machines().await.unwrap().contains(&machine));
    assert_eq!(machine.power, PowerState::ShutOff { crashed: false });
    let disk = machine.disk(&key("vda")).unwrap();
    assert_eq!((disk.size, &disk.tracking), (DISK, &Tracking::Bitmap));
    assert!(matches!(machine.disk(&key("vdb")).unwrap().tracking, Tracking::Compare { .. }));
    rig.hypervisor().set_autostart(id, true).await.unwrap();
    assert!(rig.hypervisor().machine(id).await.unwrap().autostart);
    let again = rig.hypervisor().define(&machine.definition).await.unwrap();
    assert_eq!(again, id, "the definition read back is the same machine");
    stop(rig, id).await;
}

pub(crate) async fn what_is_not_there_is_named_as_missing(rig: &dyn Rig) {
    let nobody = MachineId(Uuid::from_u128(7));
    let hypervisor = rig.hypervisor();
    assert_eq!(hypervisor.machine(nobody).await.unwrap_err().kind, Kind::NoSuchMachine);
    assert_eq!(hypervisor.find("nobody").await.unwrap_err().kind, Kind::NoSuchMachine);
    assert_eq!(hypervisor.start(nobody, Start::Running).await.unwrap_err().kind, Kind::NoSuchMachine);
    assert_eq!(hypervisor.end_backup(nobody).await.unwrap_err().kind, Kind::NoSuchMachine);
    assert_eq!(hypervisor.define("<domain").await.unwrap_err().kind, Kind::Invalid);
    assert_eq!(hypervisor.check_startable("<domain").await.unwrap_err().kind, Kind::Invalid);
    let id = rig.machine(&[("vda", "qcow2")]).await;
    let off = hypervisor.begin_backup(id, &spec(rig, &["vda"], None, None)).await.unwrap_err();
    assert_eq!(off.kind, Kind::NotRunning, "{off}");
    assert_eq!(hypervisor.job(id).await.unwrap(), JobState::None);
    hypervisor.end_backup(id).await.unwrap();
    stop(rig, id).await;
}

/// The changes of one machine, up to and with `last`.
async fn changes_until(events: &mut Receiver<Event>, id: MachineId, last: Change) -> Vec<Change> {
    let mut out = Vec::new();
    while out.last() != Some(&last) {
        let event = timeout(Duration::from_secs(10), events.recv()).await.expect("the event comes").unwrap();
        match event {
            Event::Machine { machine, change } if machine == id => out.push(change),
            _ => {}
        }
    }
    out
}

pub(crate) async fn a_machine_goes_through_its_life_and_events_tell(rig: &dyn Rig) {
    let mut events = rig.hypervisor().events();
    let id = rig.machine(&[("vda", "qcow2")]).await;
    let hypervisor = rig.hypervisor();
    hypervisor.start(id, Start::Paused).await.unwrap();
    let paused = hypervisor.machine(id).await.unwrap().power;
    assert!(matches!(paused, PowerState::Paused { io_error: false, .. }), "{paused:?}");
    hypervisor.resume(id).await.unwrap();
    hypervisor.resume(id).await.unwrap();
    assert_eq!(hypervisor.machine(id).await.unwrap().power, PowerState::Running);
    hypervisor.suspend(id).await.unwrap();
    assert!(hypervisor.machine(id).await.unwrap().power.is_paused());
    hypervisor.unplug(id).await.unwrap();
    hypervisor.destroy(id).await.unwrap();
    hypervisor.destroy(id).await.unwrap();
    assert_eq!(hypervisor.resume(id).await.unwrap_err().kind, Kind::NotRunning);
    assert_eq!(hypervisor.suspend(id).await.unwrap_err().kind, Kind::NotRunning);
    assert_eq!(hypervisor.unplug(id).await.unwrap_err().kind, Kind::NotRunning);
    hypervisor.shut_down(id, Duration::from_secs(1)).await.unwrap();
    hypervisor.undefine(id, GuestState::Keep).await.unwrap();
    let seen = changes_until(&mut events, id, Change::Undefined).await;
    let expected = [
        Change::Defined,
        Change::Started,
        Change::Resumed,
        Change::Suspended { io_error: false },
        Change::Stopped { crashed: false },
        Change::Undefined,
    ];
    let mut rest = seen.iter();
    assert!(expected.iter().all(|e| rest.any(|s| s == e)), "in this order: {seen:?}");
}

pub(crate) async fn a_guest_that_was_only_started_paused_has_not_run(rig: &dyn Rig) {
    let hypervisor = rig.hypervisor();
    let id = rig.machine(&[("vda", "qcow2")]).await;
    assert!(!hypervisor.has_run(id).await.unwrap(), "it is off");
    hypervisor.start(id, Start::Paused).await.unwrap();
    // What a cycle does to it.
    checkpoint(rig, id, &["vda"], &format!("has-run-{}", crate::rig::unique())).await;
    assert!(!hypervisor.has_run(id).await.unwrap(), "its processors stand still");
    hypervisor.resume(id).await.unwrap();
    timeout(Duration::from_secs(30), async {
        while !hypervisor.has_run(id).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("its firmware looks for a system on the disk");
    hypervisor.suspend(id).await.unwrap();
    assert!(hypervisor.has_run(id).await.unwrap(), "it stands still again, but has run");
    stop(rig, id).await;
}

pub(crate) async fn a_machine_is_started_once_and_undefined_only_when_off(rig: &dyn Rig) {
    let id = started(rig).await;
    let again = rig.hypervisor().start(id, Start::Paused).await.unwrap_err();
    assert_eq!(again.kind, Kind::AlreadyRunning, "{again}");
    let running = rig.hypervisor().undefine(id, GuestState::Remove).await.unwrap_err();
    assert_eq!(running.kind, Kind::AlreadyRunning, "{running}");
    checkpoint(rig, id, &["vda"], "c").await;
    stop(rig, id).await;
    assert_eq!(rig.hypervisor().machine(id).await.unwrap_err().kind, Kind::NoSuchMachine);
}

pub(crate) async fn a_backup_shows_its_instant_and_no_later_write(rig: &dyn Rig) {
    let id = started(rig).await;
    rig.write(id, "vda", 0, CLUSTER, 1).await;
    let backup = rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], Some("c"), None)).await.unwrap();
    rig.write(id, "vda", 0, CLUSTER, 2).await;
    rig.write(id, "vda", 8 * MIB, CLUSTER, 2).await;
    let export = export(rig, &backup, "vda").await;
    assert_eq!(export.size(), DISK);
    assert_eq!((byte_at(&*export, 0).await, byte_at(&*export, 8 * MIB).await), (1, 0));
    let whole = Run { start: 0, len: DISK };
    assert_eq!(export.allocated(whole).await.unwrap().iter().next(), Some(Run { start: 0, len: CLUSTER }));
    assert_eq!(export.dirty(whole).await.unwrap(), None, "a full backup has no map of changes");
    rig.hypervisor().end_backup(id).await.unwrap();
    assert!(export.read(0, 512).await.is_err(), "the backup has ended");
    assert_eq!(changed(rig, id, "vda", "c").await, [0, 8 * MIB / CLUSTER]);
    stop(rig, id).await;
}

pub(crate) async fn two_disks_are_of_one_instant(rig: &dyn Rig) {
    let id = rig.machine(&[("vda", "qcow2"), ("vdb", "qcow2")]).await;
    rig.hypervisor().start(id, Start::Running).await.unwrap();
    let (a, b) = ("vda", "vdb");
    rig.write(id, a, 0, CLUSTER, 1).await;
    rig.write(id, b, 0, CLUSTER, 1).await;
    let backup = rig.hypervisor().begin_backup(id, &spec(rig, &[a, b], Some("c"), None)).await.unwrap();
    let first = export(rig, &backup, a).await;
    rig.write(id, a, 0, CLUSTER, 2).await;
    rig.write(id, b, 0, CLUSTER, 2).await;
    let second = export(rig, &backup, b).await;
    assert_eq!((byte_at(&*first, 0).await, byte_at(&*second, 0).await), (1, 1));
    rig.hypervisor().end_backup(id).await.unwrap();
    // A backup may take only one of them; the other takes no part in anything.
    let only = rig.hypervisor().begin_backup(id, &spec(rig, &[b], Some("d"), Some("c"))).await.unwrap();
    assert_eq!(rig.hypervisor().open_export(&only, &key(a)).await.err().unwrap().kind, Kind::Invalid);
    assert_eq!(dirty_clusters(&*export(rig, &only, b).await).await, [0]);
    rig.hypervisor().end_backup(id).await.unwrap();
    let disks: Vec<_> =
        rig.hypervisor().checkpoints(id).await.unwrap().into_iter().map(|c| c.disks).collect();
    assert_eq!(disks, [vec![key(a), key(b)], vec![key(b)]]);
    stop(rig, id).await;
}

pub(crate) async fn an_increment_lists_what_was_written_and_nothing_else(rig: &dyn Rig) {
    let id = started(rig).await;
    rig.write(id, "vda", 0, MIB, 1).await;
    checkpoint(rig, id, &["vda"], "c1").await;
    assert_eq!(changed(rig, id, "vda", "c1").await, [0u64; 0]);
    rig.write(id, "vda", 3 * CLUSTER, 512, 2).await;
    rig.write(id, "vda", 5 * CLUSTER - 512, 1024, 2).await;
    rig.write(id, "vda", DISK - 512, 512, 2).await;
    let backup =
        rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], Some("c2"), Some("c1"))).await.unwrap();
    let export = export(rig, &backup, "vda").await;
    assert_eq!(dirty_clusters(&*export).await, [3, 4, 5, DISK / CLUSTER - 1]);
    let part = Run { start: 4 * CLUSTER, len: CLUSTER };
    assert_eq!(export.dirty(part).await.unwrap().unwrap().iter().collect::<Vec<_>>(), [part]);
    rig.hypervisor().end_backup(id).await.unwrap();
    assert_eq!(changed(rig, id, "vda", "c2").await, [0u64; 0]);
    stop(rig, id).await;
}

/// What makes a witness necessary, here so that it is seen when it changes.
pub(crate) async fn a_disk_cut_and_grown_back_is_not_told_by_its_bitmap(rig: &dyn Rig) {
    let id = started(rig).await;
    rig.write(id, "vda", DISK - CLUSTER, CLUSTER, 1).await;
    checkpoint(rig, id, &["vda"], "c1").await;
    rig.resize(id, "vda", DISK / 2).await;
    rig.resize(id, "vda", DISK).await;
    let backup = rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], None, Some("c1"))).await.unwrap();
    let export = export(rig, &backup, "vda").await;
    assert_eq!(dirty_clusters(&*export).await, [0u64; 0]);
    assert_eq!(byte_at(&*export, DISK - CLUSTER).await, 0, "and yet it changed");
    rig.hypervisor().end_backup(id).await.unwrap();
    stop(rig, id).await;
}

pub(crate) async fn a_deleted_checkpoint_leaves_its_changes_to_its_parent(rig: &dyn Rig) {
    let id = started(rig).await;
    checkpoint(rig, id, &["vda"], "c1").await;
    rig.write(id, "vda", CLUSTER, CLUSTER, 1).await;
    checkpoint(rig, id, &["vda"], "c2").await;
    rig.write(id, "vda", 2 * CLUSTER, CLUSTER, 1).await;
    checkpoint(rig, id, &["vda"], "c3").await;
    let before = rig.hypervisor().checkpoints(id).await.unwrap();
    let parents: Vec<_> = before.iter().map(|c| (c.name.as_str(), c.parent.as_deref(), c.current)).collect();
    assert_eq!(parents, [("c1", None, false), ("c2", Some("c1"), false), ("c3", Some("c2"), true)]);
    rig.hypervisor().delete_checkpoint(id, "c2", Deletion::WithBitmaps).await.unwrap();
    assert_eq!(changed(rig, id, "vda", "c1").await, [1, 2]);
    rig.hypervisor().delete_checkpoint(id, "c1", Deletion::WithBitmaps).await.unwrap();
    rig.write(id, "vda", 3 * CLUSTER, CLUSTER, 1).await;
    assert_eq!(changed(rig, id, "vda", "c3").await, [3]);
    stop(rig, id).await;
}

/// Invariant: the dirty map of a cycle is let go only on the durable ack.
pub(crate) async fn a_failed_cycle_undone_loses_nothing(rig: &dyn Rig) {
    let id = started(rig).await;
    checkpoint(rig, id, &["vda"], "acked").await;
    rig.write(id, "vda", CLUSTER, CLUSTER, 1).await;
    let failed = spec(rig, &["vda"], Some("failed"), Some("acked"));
    rig.hypervisor().begin_backup(id, &failed).await.unwrap();
    rig.write(id, "vda", 2 * CLUSTER, CLUSTER, 1).await;
    rig.hypervisor().end_backup(id).await.unwrap();
    rig.hypervisor().delete_checkpoint(id, "failed", Deletion::WithBitmaps).await.unwrap();
    rig.write(id, "vda", 3 * CLUSTER, CLUSTER, 1).await;
    assert_eq!(changed(rig, id, "vda", "acked").await, [1, 2, 3]);
    stop(rig, id).await;
}

pub(crate) async fn the_job_is_seen_and_a_second_backup_is_turned_away(rig: &dyn Rig) {
    let id = started(rig).await;
    assert_eq!(rig.hypervisor().job(id).await.unwrap(), JobState::None);
    let first = spec(rig, &["vda"], None, None);
    rig.hypervisor().begin_backup(id, &first).await.unwrap();
    match rig.hypervisor().job(id).await.unwrap() {
        JobState::Backup { socket, scratch_used, scratch_total } => {
            assert_eq!(socket.as_ref(), Some(&first.socket));
            assert!(
                scratch_used.is_some() && scratch_total == Some(DISK),
                "{scratch_used:?} {scratch_total:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    let second = rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], Some("c"), None)).await.unwrap_err();
    assert_eq!(second.kind, Kind::Busy, "{second}");
    assert!(rig.hypervisor().checkpoints(id).await.unwrap().is_empty(), "nothing of the second happened");
    rig.hypervisor().end_backup(id).await.unwrap();
    assert_eq!(rig.hypervisor().job(id).await.unwrap(), JobState::None);
    assert!(!first.disks[0].scratch.exists(), "the scratch file is gone");
    rig.hypervisor().end_backup(id).await.unwrap();
    stop(rig, id).await;
}

pub(crate) async fn names_taken_and_names_missing_are_told_apart(rig: &dyn Rig) {
    let id = started(rig).await;
    checkpoint(rig, id, &["vda"], "c").await;
    let taken = rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], Some("c"), None)).await.unwrap_err();
    assert_eq!(taken.kind, Kind::AlreadyExists, "{taken}");
    let missing =
        rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], None, Some("no"))).await.unwrap_err();
    assert_eq!(missing.kind, Kind::NoSuchCheckpoint, "{missing}");
    let gone = rig.hypervisor().delete_checkpoint(id, "no", Deletion::WithBitmaps).await.unwrap_err();
    assert_eq!(gone.kind, Kind::NoSuchCheckpoint, "{gone}");
    let disk = rig.hypervisor().begin_backup(id, &spec(rig, &["vdz"], None, None)).await.unwrap_err();
    assert_eq!(disk.kind, Kind::Invalid, "{disk}");
    assert_eq!(rig.hypervisor().job(id).await.unwrap(), JobState::None);
    stop(rig, id).await;
}

pub(crate) async fn bitmaps_survive_a_stop_and_are_read_before_the_guest_runs(rig: &dyn Rig) {
    let id = started(rig).await;
    checkpoint(rig, id, &["vda"], "c").await;
    rig.write(id, "vda", 7 * CLUSTER, CLUSTER, 9).await;
    rig.hypervisor().destroy(id).await.unwrap();
    rig.hypervisor().start(id, Start::Paused).await.unwrap();
    let backup = rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], Some("d"), Some("c"))).await.unwrap();
    let export = export(rig, &backup, "vda").await;
    assert_eq!(dirty_clusters(&*export).await, [7]);
    assert_eq!(byte_at(&*export, 7 * CLUSTER).await, 9);
    rig.hypervisor().end_backup(id).await.unwrap();
    stop(rig, id).await;
}

pub(crate) async fn after_a_kill_the_bitmaps_are_known_to_be_broken(rig: &dyn Rig) {
    let id = started(rig).await;
    checkpoint(rig, id, &["vda"], "old").await;
    rig.hypervisor().destroy(id).await.unwrap();
    rig.hypervisor().start(id, Start::Running).await.unwrap();
    checkpoint(rig, id, &["vda"], "new").await;
    rig.kill(id).await;
    let power = rig.hypervisor().machine(id).await.unwrap().power;
    assert_eq!(power, PowerState::ShutOff { crashed: true });
    rig.hypervisor().start(id, Start::Running).await.unwrap();
    for since in ["old", "new"] {
        let broken = rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], Some("next"), Some(since))).await;
        let broken = broken.unwrap_err();
        assert_eq!(broken.kind, Kind::BitmapBroken, "{since}: {broken}");
        assert_eq!(rig.hypervisor().checkpoints(id).await.unwrap().len(), 2, "nothing was made");
    }
    for name in ["new", "old"] {
        if rig.hypervisor().delete_checkpoint(id, name, Deletion::WithBitmaps).await.is_err() {
            rig.hypervisor().delete_checkpoint(id, name, Deletion::RecordOnly).await.unwrap();
        }
    }
    checkpoint(rig, id, &["vda"], "fresh").await;
    rig.write(id, "vda", CLUSTER, CLUSTER, 1).await;
    assert_eq!(changed(rig, id, "vda", "fresh").await, [1]);
    stop(rig, id).await;
}

pub(crate) async fn a_lost_bitmap_is_known_to_be_broken(rig: &dyn Rig) {
    let id = started(rig).await;
    checkpoint(rig, id, &["vda"], "c").await;
    rig.lose_bitmaps(id, "c").await;
    let lost = rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], None, Some("c"))).await.unwrap_err();
    assert_eq!(lost.kind, Kind::BitmapBroken, "{lost}");
    let kept = rig.hypervisor().delete_checkpoint(id, "c", Deletion::WithBitmaps).await.unwrap_err();
    assert_eq!(kept.kind, Kind::BitmapBroken, "{kept}");
    rig.hypervisor().delete_checkpoint(id, "c", Deletion::RecordOnly).await.unwrap();
    assert!(rig.hypervisor().checkpoints(id).await.unwrap().is_empty());
    stop(rig, id).await;
}

pub(crate) async fn a_disk_without_bitmap_goes_along_in_full(rig: &dyn Rig) {
    let id = rig.machine(&[("vda", "qcow2"), ("vdb", "raw")]).await;
    rig.hypervisor().start(id, Start::Running).await.unwrap();
    checkpoint(rig, id, &["vda"], "c").await;
    rig.write(id, "vda", 0, CLUSTER, 3).await;
    rig.write(id, "vdb", CLUSTER, CLUSTER, 4).await;
    let mut spec = spec(rig, &["vda", "vdb"], Some("d"), Some("c"));
    (spec.disks[1].mode, spec.disks[1].tracked) = (BackupMode::Full, false);
    let backup = rig.hypervisor().begin_backup(id, &spec).await.unwrap();
    rig.write(id, "vdb", CLUSTER, CLUSTER, 5).await;
    assert_eq!(dirty_clusters(&*export(rig, &backup, "vda").await).await, [0]);
    let raw = export(rig, &backup, "vdb").await;
    assert_eq!(byte_at(&*raw, CLUSTER).await, 4);
    assert_eq!(raw.dirty(Run { start: 0, len: DISK }).await.unwrap(), None);
    rig.hypervisor().end_backup(id).await.unwrap();
    stop(rig, id).await;
}

pub(crate) async fn a_discard_is_a_change_that_reads_as_zeros(rig: &dyn Rig) {
    let id = started(rig).await;
    rig.write(id, "vda", 0, 4 * CLUSTER, 1).await;
    checkpoint(rig, id, &["vda"], "c").await;
    rig.discard(id, "vda", CLUSTER, 2 * CLUSTER).await;
    let backup = rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], None, Some("c"))).await.unwrap();
    let export = export(rig, &backup, "vda").await;
    assert_eq!(dirty_clusters(&*export).await, [1, 2]);
    assert_eq!((byte_at(&*export, CLUSTER).await, byte_at(&*export, 3 * CLUSTER).await), (0, 1));
    let data = export.allocated(Run { start: 0, len: 4 * CLUSTER }).await.unwrap();
    let expected = [Run { start: 0, len: CLUSTER }, Run { start: 3 * CLUSTER, len: CLUSTER }];
    assert_eq!(data.iter().collect::<Vec<_>>(), expected);
    rig.hypervisor().end_backup(id).await.unwrap();
    stop(rig, id).await;
}

pub(crate) async fn reads_past_the_end_are_refused(rig: &dyn Rig) {
    let id = started(rig).await;
    let backup = rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], None, None)).await.unwrap();
    let export = export(rig, &backup, "vda").await;
    assert_eq!(export.read(DISK - 512, 1024).await.unwrap_err().kind, Kind::Invalid);
    assert_eq!(export.read(0, export.max_read() + 512).await.unwrap_err().kind, Kind::Invalid);
    assert_eq!(export.read(DISK - 512, 512).await.unwrap().len(), 512);
    rig.hypervisor().end_backup(id).await.unwrap();
    stop(rig, id).await;
}

pub(crate) async fn many_cycles_leave_nothing_behind(rig: &dyn Rig) {
    let id = started(rig).await;
    checkpoint(rig, id, &["vda"], "c0").await;
    for n in 1..=20u64 {
        let (since, name) = (format!("c{}", n - 1), format!("c{n}"));
        rig.write(id, "vda", n * CLUSTER, CLUSTER, 1).await;
        let backup =
            rig.hypervisor().begin_backup(id, &spec(rig, &["vda"], Some(&name), Some(&since))).await.unwrap();
        assert_eq!(dirty_clusters(&*export(rig, &backup, "vda").await).await, [n]);
        rig.hypervisor().end_backup(id).await.unwrap();
        rig.hypervisor().delete_checkpoint(id, &since, Deletion::WithBitmaps).await.unwrap();
    }
    let names: Vec<_> = rig.hypervisor().checkpoints(id).await.unwrap().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["c20"]);
    stop(rig, id).await;
}

pub(crate) async fn a_guest_without_an_agent_is_never_frozen(rig: &dyn Rig) {
    let hypervisor = rig.hypervisor();
    let id = rig.machine(&[("vda", "qcow2")]).await;
    let second = std::time::Duration::from_secs(1);
    assert_eq!(hypervisor.freeze(id, second).await.unwrap_err().kind, Kind::NotRunning);
    hypervisor.start(id, Start::Running).await.unwrap();
    for error in [
        hypervisor.freeze(id, second).await.unwrap_err(),
        hypervisor.thaw(id, second).await.unwrap_err(),
        hypervisor.is_frozen(id, second).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, Kind::NoAgent, "{error}");
        assert!(error.to_string().contains("install and start qemu-guest-agent"), "{error}");
    }
    hypervisor.destroy(id).await.unwrap();
}
