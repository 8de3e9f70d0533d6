//! Damage: whatever byte of a store is wrong, it says which, keeps what is whole, and goes
//! on.

use std::path::{Path, PathBuf};

use farshore_replica::{Phase, Replica, ReplicaError};
use farshore_sim::{MemoryFiles, driver::Driver};
use farshore_types::{DiskKey, PointId};

use crate::{
    history::{CLUSTER, History, Run, open, told},
    points::{DIR, last},
    tool,
};

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A store of seven points, with a few of them published.
pub(crate) fn store() -> Run {
    let mut run = Run::start(&[8 * CLUSTER, 6 * CLUSTER]);
    for n in 0..7 {
        run.driver.write(&[
            (0, n * CLUSTER, 65_536, 4 * n + 2),
            (0, 7 * CLUSTER, 9000, 2 * n + 1),
            (1, 0, 70_000, n + 1),
        ]);
        run.point().unwrap();
        run.upkeep().unwrap();
    }
    run
}

/// The store's files, with the agent gone.
pub(crate) fn closed(run: Run) -> (MemoryFiles, History, Vec<PointId>) {
    let ids = run.driver.replica.points().iter().map(|p| p.id).collect();
    (run.files.copy(), run.history, ids)
}

pub(crate) fn flip(files: &MemoryFiles, path: &Path, at: usize) {
    let mut bytes = files.content(path).unwrap();
    bytes[at] ^= 0x41;
    files.put(path, &bytes);
}

pub(crate) fn reopen(files: &MemoryFiles) -> Result<Replica, ReplicaError> {
    open(files, &farshore_sim::ManualClock::at(1_700_002_000_000))
}

/// The store goes on with what it shows: a cycle, a publication, a prune.
pub(crate) fn goes_on(replica: Replica, history: &History) {
    let ids: Vec<PointId> = replica.points().iter().map(|p| p.id).collect();
    let now = history.state_of(*ids.last().unwrap()).clone();
    let mut driver = Driver::resume(replica, now).unwrap();
    driver.write(&[(0, 0, 300_000, 90)]);
    let sealed = driver.point().unwrap();
    driver.replica.publish(sealed.id).unwrap();
    for id in ids {
        farshore_sim::driver::check_point(&driver.replica, id, history.state_of(id)).unwrap();
    }
    farshore_sim::driver::check_point(&driver.replica, sealed.id, &driver.acknowledged[&sealed.id]).unwrap();
    assert_eq!(driver.replica.check_tables().unwrap(), []);
    driver.replica.prune_all(&last(1)).unwrap();
    assert_eq!(driver.replica.check_tables().unwrap(), []);
}

#[test]
fn a_damaged_delta_is_named_and_moved_aside_and_older_points_stay() {
    let (whole, history, ids) = closed(store());
    let name = format!("chain/{}.delta", ids[3]);
    let len = whole.content(&path(&name)).unwrap().len();
    let footer = (len - 700..len - 4).step_by(61);
    for at in (0..4096).step_by(409).chain(footer) {
        let files = whole.copy();
        flip(&files, &path(&name), at);
        check_cut(&files, &history, &ids, &name);
    }
    for cut in [0, 1, 31, 32, 4096, len - 1] {
        let files = whole.copy();
        let bytes = files.content(&path(&name)).unwrap();
        files.put(&path(&name), &bytes[..cut]);
        check_cut(&files, &history, &ids, &name);
    }
}

fn check_cut(files: &MemoryFiles, history: &History, ids: &[PointId], name: &str) {
    let replica = reopen(files).unwrap();
    let damaged: Vec<&PathBuf> = replica.report().damaged.iter().map(|d| &d.path).collect();
    assert!(damaged.contains(&&path(name)), "{name} is not among {damaged:?}");
    let file = Path::new(name).file_name().unwrap();
    assert!(files.content(&path("quarantine").join(file)).is_ok());
    let shown: Vec<PointId> = replica.points().iter().map(|p| p.id).collect();
    assert_eq!(shown, ids[..3]);
    goes_on(replica, history);
}

#[test]
fn a_missing_delta_takes_only_newer_points() {
    use farshore_env::Files;
    let (files, history, ids) = closed(store());
    files.remove(&path(&format!("chain/{}.delta", ids[4]))).unwrap();
    let replica = reopen(&files).unwrap();
    assert!(replica.report().damaged.iter().all(|d| d.why.contains(&ids[4].to_string())));
    assert_eq!(replica.points().len(), 4);
    goes_on(replica, &history);
}

#[test]
fn published_points_that_the_chain_lost_are_still_read_by_stock_tools() {
    let mut run = store();
    let newest = run.driver.replica.newest().unwrap().id;
    run.driver.replica.publish(newest).unwrap();
    let (files, history, ids) = closed(run);
    flip(&files, &path(&format!("chain/{}.delta", ids[2])), 100);
    let replica = reopen(&files).unwrap();
    assert!(replica.report().rescued.contains(&newest), "{:?}", replica.report());
    let mut driver = Driver::resume(replica, history.state_of(ids[1]).clone()).unwrap();
    for salt in 0..4 {
        driver.write(&[(0, 0, 500_000, 4 * salt + 402), (1, 0, 300_000, 4 * salt + 402)]);
        let sealed = driver.point().unwrap();
        assert!(!ids.contains(&sealed.id), "the name of a rescued point is given again");
        driver.replica.publish(sealed.id).unwrap();
        driver.replica.prune_all(&last(1)).unwrap();
        driver.replica.release_unread().unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    tool::write_out(&files, Path::new(DIR), dir.path());
    tool::check_images(dir.path());
    for (disk, size, model) in history.state_of(newest) {
        tool::compare(dir.path(), disk.as_str(), &newest.to_string(), model, *size);
    }
}

#[test]
fn damaged_data_is_named_by_disk_cluster_and_point() {
    let (files, history, ids) = closed(store());
    let replica = reopen(&files).unwrap();
    let disk: DiskKey = "vda".parse().unwrap();
    let reader = replica.reader(ids[4]).unwrap();
    let entry = reader.map(&disk).unwrap().map(Result::unwrap).find(|e| e.cluster == 4).unwrap();
    drop((reader, replica));
    flip(&files, &path("vda.qcow2"), usize::try_from(entry.place.range().unwrap().start).unwrap() + 77);
    let replica = reopen(&files).unwrap();
    for id in &ids {
        let verified = replica.reader(*id).unwrap().verify(&mut |_, _| ());
        if *id < ids[4] {
            verified.unwrap();
            farshore_sim::driver::check_point(&replica, *id, history.state_of(*id)).unwrap();
        } else {
            match verified.unwrap_err() {
                ReplicaError::Corrupt { id: at, disk: on, cluster: 4, .. } => {
                    assert_eq!((at, on), (*id, disk.clone()));
                }
                other => panic!("{other}"),
            }
        }
    }
}

/// Big-endian word of an image.
pub(crate) fn word(image: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_be_bytes(image[at..at + 8].try_into().unwrap())).unwrap()
}

/// Bytes of an image that are parts of its tables: those that opening reads, and those
/// that it does not.
fn tables(image: &[u8]) -> (Vec<usize>, Vec<usize>) {
    let (l1, counts, snapshots) = (word(image, 40), word(image, 48), word(image, 64));
    let snapshot_l1 = word(image, snapshots);
    let header = (0..200).step_by(3);
    let read = header.chain([l1 + 5, counts + 5, snapshots + 4, snapshots + 66, snapshot_l1 + 5]);
    let l2 = word(image, l1);
    (read.collect(), vec![l2 + 3, l2 + 5, l2 + 12, word(image, counts) + 7])
}

/// Damages each kind of table, opens, and looks whether it was noticed and mended.
///
/// # Errors
/// What was not.
pub(crate) fn any_table_damaged() -> Result<(), String> {
    let (whole, history, ids) = closed(store());
    let (read, _) = tables(&whole.content(&path("vda.qcow2")).unwrap());
    for at in read {
        let files = whole.copy();
        flip(&files, &path("vda.qcow2"), at);
        let replica = reopen(&files).map_err(|e| format!("byte {at}: does not open: {}", told(&e)))?;
        if !replica.report().rebuilt.iter().any(|d| d.path == path("vda.qcow2")) {
            return Err(format!("damage of byte {at} was not noticed"));
        }
        assert_eq!(replica.points().len(), ids.len());
        goes_on(replica, &history);
    }
    Ok(())
}

#[test]
fn damaged_tables_are_noticed_at_open_and_built_anew_from_the_chain() {
    any_table_damaged().unwrap();
}

#[test]
fn damage_that_opening_does_not_read_is_found_by_a_scrub_and_mended() {
    let (whole, history, ids) = closed(store());
    let (_, unread) = tables(&whole.content(&path("vda.qcow2")).unwrap());
    for at in unread {
        let files = whole.copy();
        flip(&files, &path("vda.qcow2"), at);
        let mut replica = reopen(&files).unwrap();
        let published =
            |r: &Replica| r.points().iter().filter(|p| p.published).map(|p| p.id).collect::<Vec<_>>();
        let before = published(&replica);
        let faults = replica.check_tables().unwrap();
        assert!(faults.len() == 1 && faults[0].path == path("vda.qcow2"), "byte {at}: {faults:?}");
        assert_eq!(replica.mend_tables().unwrap(), faults);
        assert_eq!(replica.check_tables().unwrap(), []);
        assert_eq!(published(&replica), before);
        assert_eq!(replica.points().len(), ids.len());
        check_by_stock_tools(&files, &replica, &history);
        goes_on(replica, &history);
    }
}

pub(crate) fn check_by_stock_tools(files: &MemoryFiles, replica: &Replica, history: &History) {
    let dir = tempfile::tempdir().unwrap();
    tool::write_out(files, Path::new(DIR), dir.path());
    tool::check_images(dir.path());
    for point in replica.points().into_iter().filter(|p| p.published) {
        for (disk, size, model) in history.state_of(point.id) {
            tool::compare(dir.path(), disk.as_str(), &point.id.to_string(), model, *size);
        }
    }
}

#[test]
fn publishing_mends_reference_counts_that_do_not_add_up() {
    let (files, history, _) = closed(store());
    let mut image = files.content(&path("vda.qcow2")).unwrap();
    let block = word(&image, word(&image, 48));
    image[block..block + 65536].fill(0);
    files.put(&path("vda.qcow2"), &image);
    let mut replica = reopen(&files).unwrap();
    for point in replica.points() {
        replica.publish(point.id).unwrap();
    }
    assert_eq!(replica.report().rebuilt.len(), 1);
    assert_eq!(replica.check_tables().unwrap(), []);
    check_by_stock_tools(&files, &replica, &history);
}

#[test]
fn a_damaged_record_is_refused_with_its_path_and_what_to_do() {
    let (whole, ..) = closed(store());
    let len = whole.content(&path("replica.json")).unwrap().len();
    for cut in [0, 1, len / 2, len - 1] {
        let files = whole.copy();
        let bytes = files.content(&path("replica.json")).unwrap();
        files.put(&path("replica.json"), &bytes[..cut]);
        let before = files.content(&path("vda.qcow2")).unwrap();
        let error = reopen(&files).err().unwrap().to_string();
        assert!(error.contains("replica.json") && error.contains("restore"), "{error}");
        assert!(files.content(&path("vda.qcow2")).unwrap() == before);
    }
}

/// Damages each kind of table under a machine that was brought up, and opens.
///
/// # Errors
/// Where the machine's next start would find other disks than it left.
pub(crate) fn tables_damaged_under_a_machine() -> Result<(), String> {
    let mut run = store();
    run.bring_up(1).unwrap();
    let Phase::BroughtUp { point } = run.driver.replica.phase() else { panic!("not brought up") };
    let (whole, history, _) = closed(run);
    let (read, _) = tables(&whole.content(&path("vda.qcow2")).unwrap());
    for at in read {
        let files = whole.copy();
        flip(&files, &path("vda.qcow2"), at);
        let replica = reopen(&files).map_err(|e| format!("byte {at}: does not open: {}", told(&e)))?;
        replica.check_overlays(point).map_err(|e| format!("byte {at}: {}", told(&e)))?;
        check_by_stock_tools(&files, &replica, &history);
    }
    Ok(())
}

#[test]
fn a_machine_finds_its_disks_again_after_damage_to_the_tables_under_it() {
    tables_damaged_under_a_machine().unwrap();
}

#[test]
fn a_brought_up_point_that_is_damaged_does_not_lock_the_store() {
    let mut run = store();
    run.bring_up(1).unwrap();
    let Phase::BroughtUp { point } = run.driver.replica.phase() else { panic!("not brought up") };
    let (files, history, _) = closed(run);
    flip(&files, &path(&format!("chain/{point}.delta")), 50);
    let mut replica = reopen(&files).unwrap();
    assert_eq!(replica.phase(), Phase::BroughtUp { point });
    assert!(replica.check_overlays(point).is_err());
    replica.discard().unwrap();
    assert!(files.content(&path("vda.active.qcow2")).is_err());
    goes_on(replica, &history);
}
