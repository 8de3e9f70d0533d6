//! What damage sets aside is kept with its data, and comes back with the right file.

use farshore_env::Files;
use farshore_replica::Replica;
use farshore_sim::{
    MemoryFiles,
    driver::{Driver, check_point},
};
use farshore_types::PointId;

use crate::{
    damage::{closed, flip, path, reopen, store},
    history::{Disks, History, told},
    points::last,
};

fn delta(id: PointId) -> std::path::PathBuf {
    path(&format!("chain/{id}.delta"))
}

/// Cycles that write much, publish and prune: whatever is free is written over.
fn go_on(replica: Replica, now: Disks) -> Result<Driver, String> {
    let mut driver = Driver::resume(replica, now).map_err(|e| told(&e))?;
    for salt in 0..6 {
        driver.write(&[(0, 0, 500_000, 4 * salt + 402), (1, 0, 300_000, 4 * salt + 402)]);
        let sealed = driver.point().map_err(|e| told(&e))?;
        driver.replica.publish(sealed.id).map_err(|e| told(&e))?;
        driver.replica.prune_all(&last(3)).map_err(|e| told(&e))?;
        driver.replica.release_unread().map_err(|e| told(&e))?;
    }
    Ok(driver)
}

fn check(replica: &Replica, history: &History, ids: &[PointId]) -> Result<(), String> {
    for id in ids {
        check_point(replica, *id, history.state_of(*id))?;
    }
    Ok(())
}

/// One byte of the oldest delta is flipped; cycles go on; the right file is put back.
///
/// # Errors
/// What is not as it was.
pub(crate) fn right_file_put_back() -> Result<(), String> {
    let (whole, history, ids) = closed(store());
    let right = whole.content(&delta(ids[0])).unwrap();
    for (at, restarts) in [(100, 0), (100, 2), (right.len() - 400, 1)] {
        let files = whole.copy();
        flip(&files, &delta(ids[0]), at);
        let mut replica = reopen(&files).map_err(|e| told(&e))?;
        assert_eq!(replica.points(), []);
        assert_eq!(replica.set_aside(), ids);
        for _ in 0..restarts {
            drop(replica);
            replica = reopen(&files).map_err(|e| told(&e))?;
        }
        let driver = go_on(replica, history.state_of(ids[6]).clone())?;
        let new: Vec<PointId> = driver.replica.points().iter().map(|p| p.id).collect();
        assert!(new.len() == 3 && new.iter().all(|id| !ids.contains(id)), "{new:?}");
        let acknowledged = driver.acknowledged.clone();
        drop(driver);
        files.put(&delta(ids[0]), &right);
        let mut replica = reopen(&files).map_err(|e| told(&e))?;
        let shown: Vec<PointId> = replica.points().iter().map(|p| p.id).collect();
        if shown != [ids.clone(), new.clone()].concat() {
            return Err(format!("shown are {shown:?}, {:?}", replica.report()));
        }
        check(&replica, &history, &ids)?;
        new.iter().try_for_each(|id| check_point(&replica, *id, &acknowledged[id]))?;
        assert_eq!(replica.set_aside(), []);
        assert_eq!(replica.check_tables().unwrap(), []);
        replica.prune_all(&last(2)).map_err(|e| told(&e))?;
        replica.release_unread().map_err(|e| told(&e))?;
        check(&replica, &History::default(), &[])?;
        new[1..].iter().try_for_each(|id| check_point(&replica, *id, &acknowledged[id]))?;
    }
    Ok(())
}

#[test]
fn all_points_are_whole_again_when_the_right_file_is_put_back() {
    right_file_put_back().unwrap();
}

#[test]
fn a_file_put_back_at_once_undoes_all() {
    let (files, history, ids) = closed(store());
    let right = files.content(&delta(ids[3])).unwrap();
    flip(&files, &delta(ids[3]), 100);
    let replica = reopen(&files).unwrap();
    assert_eq!(replica.points().len(), 3);
    let stepped = replica.last().unwrap().id;
    drop(replica);
    files.put(&delta(ids[3]), &right);
    let replica = reopen(&files).unwrap();
    assert_eq!(replica.points().iter().map(|p| p.id).collect::<Vec<_>>(), ids);
    check(&replica, &history, &ids).unwrap();
    // The source may have gone by that number already.
    assert!(replica.last().unwrap().id > stepped);
    go_on(replica, history.state_of(ids[6]).clone()).unwrap();
}

#[test]
fn what_other_cycles_have_followed_stays_aside_whole_until_it_is_dropped() {
    let (files, history, ids) = closed(store());
    let right = files.content(&delta(ids[3])).unwrap();
    flip(&files, &delta(ids[3]), 100);
    let driver = go_on(reopen(&files).unwrap(), history.state_of(ids[6]).clone()).unwrap();
    drop(driver);
    files.put(&delta(ids[3]), &right);
    let replica = reopen(&files).unwrap();
    assert_eq!(replica.set_aside(), ids[3..]);
    drop(replica);
    // By hand: the newer branch away, and the older points are all there.
    let other = files.copy();
    for name in other.list(&path("chain")).unwrap() {
        let id: PointId = name.trim_end_matches(".delta").parse().unwrap();
        if !ids.contains(&id) {
            other.remove(&path("chain").join(name)).unwrap();
        }
    }
    let replica = reopen(&other).unwrap();
    check(&replica, &history, &ids).unwrap();
    drop(replica);
    let mut replica = reopen(&files).unwrap();
    replica.drop_set_aside().unwrap();
    assert_eq!(replica.set_aside(), []);
    assert!(replica.release_unread().unwrap() > 0);
    assert!(files.list(&path("quarantine")).unwrap().is_empty());
    drop(replica);
    go_on(reopen(&files).unwrap(), history.state_of(ids[6]).clone()).unwrap();
}

fn with_bad_reads(times: u64) -> (MemoryFiles, Replica, History, Vec<PointId>) {
    let (files, history, ids) = closed(store());
    files.fail_reads(&delta(ids[4]), times);
    let replica = reopen(&files).unwrap();
    (files, replica, history, ids)
}

#[test]
fn a_delta_that_the_disk_gives_back_the_second_time_is_whole() {
    let (_, replica, history, ids) = with_bad_reads(2);
    assert_eq!(replica.set_aside(), []);
    check(&replica, &history, &ids).unwrap();
}

#[test]
fn a_delta_that_the_disk_does_not_give_back_costs_no_older_point_and_none_for_ever() {
    let (files, replica, history, ids) = with_bad_reads(1000);
    assert_eq!(replica.points().len(), 4);
    check(&replica, &history, &ids[..4]).unwrap();
    drop(replica);
    files.fail_reads(&path(&format!("quarantine/{}.delta", ids[4])), 0);
    let replica = reopen(&files).unwrap();
    check(&replica, &history, &ids).unwrap();
    assert_eq!(replica.set_aside(), []);
}
