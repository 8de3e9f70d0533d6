//! Scrubbing data: decay is found wherever any point shows it, by whatever steps, and named
//! by the points that show it.

use std::collections::BTreeSet;

use farshore_replica::{Decay, Replica, ReplicaError, ScrubPlace};
use farshore_sim::MemoryFiles;
use farshore_types::{DiskKey, PointId};

use crate::{
    damage::{closed, flip, goes_on, path, reopen, store},
    history::{History, told},
    points::last,
};

fn vda() -> DiskKey {
    "vda".parse().unwrap()
}

/// Reads all, in steps of so many clusters.
fn scrub(replica: &Replica, step: usize) -> Result<(Vec<Decay>, usize), ReplicaError> {
    let (mut place, mut found, mut clusters): (Option<ScrubPlace>, _, _) = (None, Vec::new(), 0);
    loop {
        let mut left = step;
        let scrub = replica.scrub().unwrap();
        let next = scrub.run(
            place.as_ref(),
            &mut |_| {
                (clusters, left) = (clusters + 1, left - 1);
                left > 0
            },
            &mut |decay| found.push(decay),
        )?;
        match next {
            None => return Ok((found, clusters)),
            next => place = next,
        }
    }
}

/// Damages the bytes of one cluster as a point has it.
fn damage(files: &MemoryFiles, id: PointId, cluster: u64) {
    let replica = reopen(files).unwrap();
    let reader = replica.reader(id).unwrap();
    let entry = reader.map(&vda()).unwrap().map(Result::unwrap).find(|e| e.cluster == cluster).unwrap();
    let at = usize::try_from(entry.place.range().unwrap().start).unwrap();
    drop((reader, replica));
    flip(files, &path("vda.qcow2"), at + 6);
}

/// Cluster 7 is written by every point, cluster 4 from the fifth on stays.
///
/// # Errors
/// What was not found.
pub(crate) fn decay_in_any_point() -> Result<(), String> {
    let (files, _, ids): (_, History, _) = closed(store());
    damage(&files, ids[2], 7);
    damage(&files, ids[4], 4);
    let replica = reopen(&files).map_err(|e| told(&e))?;
    let (whole, clusters) = scrub(&replica, usize::MAX).map_err(|e| told(&e))?;
    let shown: BTreeSet<(PointId, PointId, u64)> =
        whole.iter().map(|d| (d.first, d.last, d.cluster)).collect();
    let want = BTreeSet::from([(ids[2], ids[2], 7), (ids[4], ids[6], 4)]);
    if shown != want {
        return Err(format!("found {shown:?}, not {want:?}"));
    }
    for step in [1, 2, 5] {
        let (found, again) = scrub(&replica, step).map_err(|e| told(&e))?;
        assert_eq!((found, again), (whole.clone(), clusters), "in steps of {step}");
    }
    Ok(())
}

#[test]
fn decay_is_found_in_any_point_and_each_byte_is_read_once() {
    decay_in_any_point().unwrap();
}

#[test]
fn a_scrub_of_a_sound_store_finds_nothing_and_holds_no_space_back_afterwards() {
    let mut run = store();
    let (found, clusters) = scrub(&run.driver.replica, 3).unwrap();
    assert_eq!(found, []);
    assert!(clusters > 7);
    run.prune(1).unwrap();
    assert!(run.driver.replica.release_unread().unwrap() > 0);
}

#[test]
fn a_delta_that_decays_under_the_open_store_is_named_and_nothing_is_moved_or_pruned() {
    let run = store();
    let ids: Vec<PointId> = run.driver.replica.points().iter().map(|p| p.id).collect();
    let (files, mut replica) = (run.files.clone(), run.driver.replica);
    let delta = path(&format!("chain/{}.delta", ids[3]));
    flip(&files, &delta, 100);
    let error = scrub(&replica, usize::MAX).unwrap_err();
    assert!(matches!(&error, ReplicaError::Delta { id, .. } if *id == ids[3]), "{error}");
    replica.note_decayed(&error);
    assert!(replica.report().decayed.iter().any(|d| d.path == delta), "{:?}", replica.report());
    assert!(files.content(&delta).is_ok());
    assert_eq!(replica.prune_all(&last(1)).unwrap(), []);
    assert_eq!(replica.points().iter().map(|p| p.id).collect::<Vec<_>>(), ids);
    drop(replica);
    let replica = reopen(&files).unwrap();
    assert_eq!(replica.points().iter().map(|p| p.id).collect::<Vec<_>>(), ids[..3]);
    assert_eq!(scrub(&replica, usize::MAX).unwrap().0, []);
    goes_on(replica, &run.history);
}

#[test]
fn a_reader_that_is_told_to_stop_reads_no_more() {
    let run = store();
    let point = run.driver.replica.newest().unwrap().id;
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    let stop = move || count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 3;
    let reader = run.driver.replica.reader(point).unwrap().stopping_when(stop);
    assert!(matches!(reader.verify(&mut |_, _| ()), Err(ReplicaError::Stopped)));
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 4);
}
