//! The tests are tested: each deliberate bug is caught by the check that is there for it.

use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
};

use farshore_delta::{ElementKind, RootBuilder, SourceChange};
use farshore_replica::{
    CycleStart, Incoming, ReplicaError, SealRequest, Stored,
    bug::{self, Bug},
};
use farshore_sim::{Fate, MemoryFiles, Replay, driver};
use farshore_types::{Consistency, Digest, DiskKey, RootDigest};

use crate::{
    crash::{try_crashes, workload},
    history::{CLUSTER, Noise, Run, open, step, told},
    points::DIR,
};

/// Steps of a workload that go through prune, bring-up and restart.
const STEPS: u64 = 15;

/// With the bug, the check fails, and says one of these; without it, it passes.
fn is_caught(planted: Bug, check: fn() -> Result<(), String>, says: &[&str]) {
    check().unwrap();
    let guard = bug::plant(planted);
    let outcome = catch_unwind(AssertUnwindSafe(check));
    drop(guard);
    let said = match outcome {
        Ok(Ok(())) => panic!("{planted:?} was not caught"),
        Ok(Err(said)) => said,
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    };
    println!("{planted:?}: {said}");
    assert!(says.iter().any(|s| said.contains(s)), "{planted:?} was caught, but not for what it is: {said}");
}

/// Power cuts after every seventh operation, and after all those in which bugs may hide.
fn power_cuts() -> Result<(), String> {
    let run = workload(1, STEPS);
    try_crashes(Replay::default(), &run.files.log(), 0, &run.history, |at| at % 7 < 2).map(drop)
}

/// Power cuts while points of whole clusters are pruned.
fn power_cuts_in_a_prune() -> Result<(), String> {
    let mut run = Run::start(&[4 * CLUSTER, CLUSTER]);
    for salt in 0..4 {
        run.driver.write(&[(0, 0, 3 * 65536, 4 * salt + 2)]);
        run.point().unwrap();
    }
    run.prune(1).unwrap();
    try_crashes(Replay::default(), &run.files.log(), 0, &run.history, |_| true).map(drop)
}

#[test]
fn an_acknowledgement_without_durable_data_is_caught() {
    is_caught(Bug::SkipImageSync, power_cuts, &["differs", "digest", "decompress", "reading a point"]);
}

#[test]
fn an_acknowledgement_without_a_durable_name_is_caught() {
    is_caught(Bug::SkipDirSync, power_cuts, &["is lost"]);
}

#[test]
fn places_punched_before_the_merge_is_durable_are_caught() {
    is_caught(Bug::FreeBeforeDurable, power_cuts_in_a_prune, &["digest", "decompress", "differs"]);
}

#[test]
fn a_header_before_its_tables_is_caught() {
    is_caught(Bug::HeaderBeforeTables, power_cuts, &["taken for damage", "wrong tables"]);
}

#[test]
fn a_pruned_point_that_stays_is_caught() {
    is_caught(Bug::KeepPruned, power_cuts, &["is back"]);
}

#[test]
fn a_place_in_use_that_is_used_again_is_caught() {
    is_caught(Bug::ReuseInUse, power_cuts, &["digest", "decompress", "differs", "freed twice"]);
}

#[test]
fn a_bring_up_that_is_not_finished_is_caught() {
    is_caught(Bug::SkipRedo, power_cuts, &["its phase is"]);
}

/// A publication fails while a cycle is open, at each of its operations, and the cycle is
/// sealed all the same: what the failed sync let go must not be acknowledged.
fn faults_under_an_open_cycle() -> Result<(), String> {
    for at in 0.. {
        let files = MemoryFiles::new();
        let through = files.failing(at, ErrorKind::Other, false);
        let Ok(mut run) = Run::start_on(&files, &through, &[4 * CLUSTER]) else { continue };
        run.driver.write(&[(0, 0, 100_000, 2)]);
        let Ok(first) = run.point() else { continue };
        let request = open_cycle(&mut run);
        let published = request.is_ok() && run.driver.replica.publish(first).is_err();
        let sealed = request.and_then(|request| run.driver.replica.seal(&request));
        if !through.has_failed() {
            return Ok(());
        }
        if let (true, Ok(sealed)) = (published, sealed) {
            let mut replay = Replay::default();
            files.log().iter().for_each(|op| replay.step(op));
            let left = open(&replay.crash(|_| Fate::Drop), &run.clock).map_err(|e| told(&e))?;
            let reader = left.reader(sealed.id).map_err(|e| told(&e))?;
            reader
                .verify(&mut |_, _| ())
                .map_err(|e| format!("a lost write was acknowledged: {}", told(&e)))?;
        }
    }
    Ok(())
}

/// Sends one cluster of a cycle, and returns what would seal it.
fn open_cycle(run: &mut Run) -> Result<SealRequest, ReplicaError> {
    let (base, disks) = (run.driver.replica.last(), run.driver.disks.clone());
    let id = run.driver.next_id();
    run.driver.replica.begin_cycle(CycleStart { number: id.number, base, disks: disks.clone() })?;
    let bytes = driver::content(22, 65536);
    let digest = Digest::of(&bytes);
    run.driver.replica.append(0, &[Incoming { cluster: 1, digest, stored: Stored::Raw(&bytes) }])?;
    let mut root = RootBuilder::new(base.map_or(RootDigest::NONE, |b| b.root), id);
    root.disk(&disks[0].0, disks[0].1, [SourceChange { cluster: 1, digest }].into_iter());
    Ok(SealRequest { kind: POINT, age_ms: 0, root: root.finish(), definition: Vec::new() })
}

const POINT: ElementKind = ElementKind::Point(Consistency::Crash);

#[test]
fn a_failed_sync_that_is_believed_the_second_time_is_caught() {
    is_caught(Bug::RetryFailedSync, faults_under_an_open_cycle, &["a lost write was acknowledged"]);
}

fn wrong_root() -> Result<(), String> {
    let mut run = Run::start(&[4 * CLUSTER]);
    run.driver.write(&[(0, 0, 100_000, 1)]);
    run.point().unwrap();
    let (base, disks) = (run.driver.replica.last(), run.driver.disks.clone());
    run.driver.replica.begin_cycle(CycleStart { number: 9, base, disks }).unwrap();
    let request = SealRequest { kind: POINT, age_ms: 0, root: RootDigest([7; 32]), definition: Vec::new() };
    match run.driver.replica.seal(&request) {
        Err(_) => Ok(()),
        Ok(sealed) => Err(format!("point {} was acknowledged with a wrong root", sealed.id)),
    }
}

#[test]
fn a_root_that_is_not_compared_is_caught() {
    is_caught(Bug::SkipRootCheck, wrong_root, &["with a wrong root"]);
}

/// A stock program reads a published point, which is pruned under it; the store is even
/// started anew. What it reads must not change while it is there.
fn reader_of_a_pruned_point() -> Result<(), String> {
    let (mut run, mut noise) = (Run::start(&[8 * CLUSTER, 6 * CLUSTER]), Noise(5));
    for salt in 1..4 {
        run.driver.write(&[(0, 0, 8 * 65536, 4 * salt + 2), (1, 0, 6 * 65536, 4 * salt + 2)]);
        run.point().unwrap();
    }
    let point = run.driver.replica.newest().unwrap().id;
    run.driver.replica.publish(point).unwrap();
    let disk: DiskKey = "vda".parse().unwrap();
    let reader = run.driver.replica.reader(point).unwrap();
    let read: Vec<_> = reader.map(&disk).unwrap().filter_map(|e| e.unwrap().place.range()).collect();
    drop(reader);
    let image = std::path::Path::new(DIR).join("vda.qcow2");
    let bytes = |run: &Run| -> Vec<Vec<u8>> {
        let all = run.files.content(&image).unwrap();
        read.iter()
            .map(|r| all[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()].to_vec())
            .collect()
    };
    let before = bytes(&run);
    run.files.set_read_by_others(true);
    for n in 0..12 {
        run.driver.write(&[(0, 0, 8 * 65536, 4 * n + 102)]);
        step(&mut run, &mut noise, if n == 6 { 13 } else { 0 }).unwrap();
        run.prune(1).unwrap();
    }
    let kept = bytes(&run) == before;
    run.files.set_read_by_others(false);
    let freed = run.driver.replica.release_unread().unwrap();
    match (kept, freed > 0) {
        (true, true) => Ok(()),
        (true, false) => Err("nothing was freed when the reader had gone".into()),
        (false, _) => Err("what a program reads changed under it".into()),
    }
}

#[test]
fn freeing_under_a_reader_is_caught() {
    is_caught(Bug::NoQuarantine, reader_of_a_pruned_point, &["changed under it"]);
}

#[test]
fn damaged_tables_that_are_believed_are_caught() {
    is_caught(
        Bug::TrustTables,
        crate::damage::any_table_damaged,
        &["was not noticed", "does not open", "differs", "wrong tables", "digest"],
    );
}

#[test]
fn a_machine_left_over_empty_tables_is_caught() {
    is_caught(Bug::SkipRedo, crate::damage::tables_damaged_under_a_machine, &["its image shows none"]);
}

#[test]
fn an_old_copy_that_shows_through_is_caught() {
    is_caught(Bug::ShowAdopted, crate::adoption::shrink_and_grow, &["no longer has"]);
}

#[test]
fn a_machine_of_an_older_point_that_is_kept_as_if_of_the_newest_is_caught() {
    is_caught(Bug::FoldOnNewest, crate::own::fold_at_older_point, &["differs", "is missing"]);
}

#[test]
fn a_disk_that_a_machine_got_meanwhile_and_that_is_forgotten_is_caught() {
    is_caught(Bug::ForgetAdded, crate::own::a_disk_came, &["vdc"]);
}

#[test]
fn own_writes_that_are_as_old_as_their_point_are_caught() {
    is_caught(Bug::AgeOwnFromNow, crate::own::sealed_late, &["younger than"]);
}

#[test]
fn a_gone_disk_that_keeps_its_space_is_caught() {
    is_caught(Bug::KeepGoneDisks, crate::gone::a_gone_disk, &["still there", "bytes became"]);
}

#[test]
fn rescued_points_that_mending_forgets_are_caught() {
    is_caught(Bug::ForgetRescued, crate::gone::mend_around_rescued, &["became", "find snapshot"]);
}

#[test]
fn a_scrub_of_the_newest_element_alone_is_caught() {
    is_caught(Bug::ScrubNewestOnly, crate::scrub::decay_in_any_point, &["found {"]);
}

#[test]
fn places_of_what_was_set_aside_that_are_used_again_are_caught() {
    is_caught(
        Bug::ReuseSetAside,
        crate::aside::right_file_put_back,
        &["differs", "digest", "decompress", "shown are"],
    );
}

#[test]
fn points_that_age_by_the_wall_clock_are_caught() {
    is_caught(Bug::AgeByWallClock, crate::clock::jumps, &["were pruned", "publications"]);
}

#[test]
fn cycles_that_use_up_the_reserve_are_caught() {
    is_caught(Bug::NoReserve, crate::full::filled_up, &["used up"]);
}

#[test]
fn a_given_up_cycle_that_keeps_its_space_is_caught() {
    is_caught(Bug::KeepGivenUp, crate::full::given_up, &["stay taken"]);
}
