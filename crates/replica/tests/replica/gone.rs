//! What is gone for good leaves nothing behind: disks that went away, and points that only
//! images still knew.

use std::path::{Path, PathBuf};

use farshore_env::Files;
use farshore_replica::Retention;
use farshore_sim::{Fate, ManualClock, MemoryFiles, Replay, driver::Driver};
use farshore_types::PointId;

use crate::{
    damage::{check_by_stock_tools, closed, flip, path, reopen, store, word},
    history::{CLUSTER, History, Run, told},
    points::{DIR, last},
    tool,
};

const VDB: &str = "vdb.qcow2";

/// Points with two disks, then some with one; all of them published.
fn two_then_one() -> Run {
    let mut run = Run::start(&[8 * CLUSTER, 6 * CLUSTER]);
    for salt in 1..4 {
        run.driver.write(&[(0, 0, 200_000, 4 * salt + 2), (1, 0, 300_000, 4 * salt + 2)]);
        let id = run.point().unwrap();
        run.driver.replica.publish(id).unwrap();
    }
    run.driver.disks.pop();
    run.driver.now.pop();
    for salt in 5..7 {
        run.driver.write(&[(0, 0, 70_000, salt)]);
        let id = run.point().unwrap();
        run.driver.replica.publish(id).unwrap();
    }
    run
}

/// A disk that went away takes its space with it, when its last point is gone and nobody
/// reads it any more.
///
/// # Errors
/// What was left.
pub(crate) fn a_gone_disk() -> Result<(), String> {
    let mut run = two_then_one();
    let allocated = |run: &Run| run.files.allocated(&path(VDB));
    let full = allocated(&run);
    run.prune(3).unwrap();
    run.driver.replica.release_unread().unwrap();
    let one_left = allocated(&run);
    run.files.set_read_by_others(true);
    run.prune(1).unwrap();
    if run.files.content(&path(VDB)).is_err() {
        return Err("its image was removed under a reader".into());
    }
    run.files.set_read_by_others(false);
    run.driver.replica.release_unread().unwrap();
    run.prune(1).unwrap();
    if run.files.content(&path(VDB)).is_ok() {
        return Err(format!("its image is still there, with {} bytes", allocated(&run)));
    }
    if one_left + 500_000 > full {
        return Err(format!("{full} bytes became {one_left} when two of three points went"));
    }
    // It may come back, and is another one then.
    let disk = ("vdb".parse().unwrap(), 4 * CLUSTER);
    run.driver.disks.push(disk);
    run.driver.now.push(Default::default());
    run.driver.write(&[(1, CLUSTER, 70_000, 3)]);
    let id = run.point().unwrap();
    run.driver.replica.publish(id).unwrap();
    check_by_stock_tools(&run.files, &run.driver.replica, &run.history);
    Ok(())
}

#[test]
fn a_disk_that_went_away_leaves_nothing_behind() {
    a_gone_disk().unwrap();
}

#[test]
fn a_power_cut_while_a_disk_goes_away_costs_no_point() {
    let mut run = two_then_one();
    let (before, done) = (Replay::over(&run.files), run.files.recorded());
    run.prune(3).unwrap();
    run.prune(1).unwrap();
    let mut replay = before;
    for (at, op) in run.files.log()[done..].iter().enumerate() {
        replay.step(op);
        for fate in [Fate::Keep, Fate::Drop] {
            let left = replay.crash(|_| fate);
            let mut replica = run.history.judge(done + at + 1, &left).unwrap();
            run.history.judge_tables(&replica).unwrap();
            replica.prune_all(&last(1)).unwrap();
            replica.release_unread().unwrap();
            replica.prune_all(&last(1)).unwrap();
            assert!(left.content(&path(VDB)).is_err(), "after {op:?}, {fate:?}");
            run.history.judge_tables(&replica).unwrap();
        }
    }
}

/// A store whose newest points only its images know.
fn with_rescued() -> (MemoryFiles, History, Vec<PointId>, PointId) {
    let mut run = store();
    let newest = run.driver.replica.newest().unwrap().id;
    run.driver.replica.publish(newest).unwrap();
    let (files, history, ids) = closed(run);
    flip(&files, &path(&format!("chain/{}.delta", ids[2])), 100);
    (files, history, ids, newest)
}

/// Wrong counts in an image that rescued points are in: they are mended, and those stay.
///
/// # Errors
/// What was lost.
pub(crate) fn mend_around_rescued() -> Result<(), String> {
    let (files, history, _, newest) = with_rescued();
    let mut image = files.content(&path("vda.qcow2")).unwrap();
    let block = word(&image, word(&image, 48));
    image[block..block + 65536].fill(0);
    files.put(&path("vda.qcow2"), &image);
    let mut replica = reopen(&files).map_err(|e| told(&e))?;
    let rescued = replica.rescued();
    assert!(rescued.contains(&newest), "{:?}", replica.report());
    assert_eq!(replica.mend_tables().map_err(|e| told(&e))?.len(), 1);
    assert_eq!(replica.check_tables().unwrap(), []);
    if replica.rescued() != rescued {
        return Err(format!("{rescued:?} became {:?}", replica.rescued()));
    }
    check_by_stock_tools(&files, &replica, &history);
    let dir = tempfile::tempdir().unwrap();
    tool::write_out(&files, Path::new(DIR), dir.path());
    for (disk, size, model) in history.state_of(newest) {
        tool::compare(dir.path(), disk.as_str(), &newest.to_string(), model, *size);
    }
    Ok(())
}

#[test]
fn tables_are_mended_around_rescued_points() {
    mend_around_rescued().unwrap();
}

#[test]
fn dropped_rescued_points_are_gone_and_their_space_is_free() {
    let (files, history, ids, newest) = with_rescued();
    let replica = reopen(&files).unwrap();
    let mut driver = Driver::resume(replica, history.state_of(ids[1]).clone()).unwrap();
    driver.point().unwrap();
    let before = files.allocated(&path("vda.qcow2"));
    let reader = driver.replica.reader(ids[1]).unwrap();
    let error = driver.replica.drop_rescued(&[newest]).unwrap_err().to_string();
    assert!(error.contains("being read"), "{error}");
    drop(reader);
    let all = driver.replica.rescued();
    driver.replica.drop_rescued(&[ids[0]]).unwrap();
    assert_eq!(driver.replica.rescued(), all, "points of the chain are passed over");
    driver.replica.drop_rescued(&all).unwrap();
    driver.replica.drop_set_aside().unwrap();
    driver.replica.release_unread().unwrap();
    assert_eq!(driver.replica.rescued(), []);
    assert!(driver.replica.report().rescued.is_empty());
    assert!(files.allocated(&path("vda.qcow2")) < before);
    assert_eq!(driver.replica.check_tables().unwrap(), []);
    for id in &ids[..2] {
        farshore_sim::driver::check_point(&driver.replica, *id, history.state_of(*id)).unwrap();
    }
    driver.write(&[(0, 0, 300_000, 90)]);
    let sealed = driver.point().unwrap();
    farshore_sim::driver::check_point(&driver.replica, sealed.id, &driver.acknowledged[&sealed.id]).unwrap();
    drop(driver);
    assert_eq!(reopen(&files).unwrap().report(), &farshore_replica::OpenReport::default());
}

#[test]
fn rescued_points_expire_as_the_oldest_that_are_kept_do() {
    let (files, history, ids, newest) = with_rescued();
    let clock = ManualClock::at(1_700_000_010_000);
    let replica = crate::history::open(&files, &clock).unwrap();
    let mut driver = Driver::resume(replica, history.state_of(ids[1]).clone()).unwrap();
    driver.point().unwrap();
    let hour = Retention { every_point_secs: 60, hourly_secs: 3600, daily_secs: 0, points_max: 100 };
    driver.replica.prune_all(&hour).unwrap();
    assert!(driver.replica.rescued().contains(&newest));
    clock.advance(2 * 3600 * 1000);
    driver.point().unwrap();
    driver.replica.prune_all(&hour).unwrap();
    assert_eq!(driver.replica.rescued(), []);
    assert_eq!(driver.replica.check_tables().unwrap(), []);
}

#[test]
fn an_image_beside_a_quarantine_is_never_removed() {
    let mut run = two_then_one();
    run.driver.replica.prune_all(&last(3)).unwrap();
    let quarantine = PathBuf::from(DIR).join("quarantine");
    run.files.create_dir_all(&quarantine).unwrap();
    run.files.put(&quarantine.join("1-1.delta"), b"damaged");
    for _ in 0..2 {
        run.driver.replica.prune_all(&last(1)).unwrap();
        run.driver.replica.release_unread().unwrap();
    }
    assert!(run.files.content(&path(VDB)).is_ok(), "someone may yet put the chain together by hand");
    run.files.remove(&quarantine.join("1-1.delta")).unwrap();
    run.driver.replica.prune_all(&last(1)).unwrap();
    assert!(run.files.content(&path(VDB)).is_err());
}
