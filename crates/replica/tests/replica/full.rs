//! A full disk: cycles stop before its end, what they took is given back, and the ways out
//! stay open.

use std::{path::Path, sync::Arc};

use farshore_replica::{CycleStart, Incoming, Options, Stored};
use farshore_sim::{
    ManualClock, MemoryFiles,
    driver::{self, Driver, check_point},
};
use farshore_types::{Digest, Epoch};

use crate::{
    damage::path,
    history::told,
    points::{DIR, eager, last},
};

const MIB: u64 = 1 << 20;

/// The disk fills up; then a point is brought up, discarded, pruned; then there is room again.
///
/// # Errors
/// What does not go as it must.
pub(crate) fn filled_up() -> Result<(), String> {
    let (files, clock) = (MemoryFiles::new(), ManualClock::at(1_700_000_000_000));
    let options = Options { reserve: 64 * MIB, ..eager() };
    let replica = driver::open(Arc::new(files.clone()), clock, Path::new(DIR), options).unwrap();
    let mut driver = Driver::start(replica, &[64 * MIB]).unwrap();
    let mut points = Vec::new();
    for salt in 0..4 {
        driver.write(&[(0, salt * MIB, 900_000, 4 * salt + 2)]);
        points.push(driver.point().unwrap().id);
    }
    let taken = files.allocated(&path("vda.qcow2"));
    driver.write(&[(0, 8 * MIB, 3_000_000, 94)]);
    files.set_free(64 * MIB);
    let error = match driver.point() {
        Ok(_) => return Err("the reserve was used up".to_owned()),
        Err(error) => error,
    };
    assert!(error.is_no_space(), "{}", told(&error));
    assert_eq!(files.allocated(&path("vda.qcow2")), taken);
    driver.replica.bring_up(points[1], Epoch { number: 2, token: 1 }).map_err(|e| told(&e))?;
    driver.replica.discard().map_err(|e| told(&e))?;
    driver.own(Epoch { number: 2, token: 1 }).map_err(|e| told(&e))?;
    driver.replica.prune_all(&last(1)).map_err(|e| told(&e))?;
    driver.replica.release_unread().map_err(|e| told(&e))?;
    files.set_free(65 * MIB);
    let sealed = driver.point().map_err(|e| told(&e))?;
    check_point(&driver.replica, sealed.id, &driver.acknowledged[&sealed.id])
}

#[test]
fn cycles_stop_at_the_reserve_and_bring_up_discard_and_prune_use_it() {
    filled_up().unwrap();
}

/// Stores raw clusters in a cycle that is not sealed.
fn send(driver: &mut Driver) {
    let (base, disks) = (driver.replica.last(), driver.disks.clone());
    driver.replica.begin_cycle(CycleStart { number: 2, base, disks }).unwrap();
    for cluster in 128..173 {
        let bytes = driver.now[0].cluster(cluster);
        let (digest, stored) = (Digest::of(&bytes), Stored::Raw(&bytes));
        driver.replica.append(0, &[Incoming { cluster, digest, stored }]).unwrap();
    }
}

/// A cycle is given up after it has stored much.
///
/// # Errors
/// How much stays taken.
pub(crate) fn given_up() -> Result<(), String> {
    let (files, clock) = (MemoryFiles::new(), ManualClock::at(1_700_000_000_000));
    let replica = driver::open(Arc::new(files.clone()), clock, Path::new(DIR), eager()).unwrap();
    let mut driver = Driver::start(replica, &[64 * MIB]).unwrap();
    driver.write(&[(0, 0, 900_000, 2)]);
    driver.point().unwrap();
    let taken = files.allocated(&path("vda.qcow2"));
    driver.write(&[(0, 8 * MIB, 3_000_000, 94)]);
    send(&mut driver);
    let stored = files.allocated(&path("vda.qcow2"));
    assert!(stored >= taken + 2_900_000, "{taken} to {stored}");
    driver.replica.give_up_cycle();
    let left = files.allocated(&path("vda.qcow2"));
    if left == taken { Ok(()) } else { Err(format!("{} bytes stay taken", left - taken)) }
}

#[test]
fn the_space_of_a_cycle_that_was_given_up_is_free_at_once() {
    given_up().unwrap();
}
