//! Every point equals the model at its instant, whatever is pruned, published, brought up.

use std::{path::Path, sync::Arc, time::Duration};

use farshore_delta::ElementKind;
use farshore_replica::{Options, Phase, Pin, Replica, ReplicaError, Retention};
use farshore_sim::{
    ManualClock, MemoryFiles,
    driver::{self, Driver, Write, check_point},
};
use farshore_types::Epoch;
use proptest::prelude::*;

pub(crate) const DIR: &str = "/store";

/// Publishes at every chance, so that small workloads go through it all.
pub(crate) fn eager() -> Options {
    Options {
        publish_every: Duration::from_secs(3),
        keep_published_every: Duration::from_secs(20),
        merge_ratio: 8,
        reserve: 0,
    }
}

pub(crate) fn last(count: usize) -> Retention {
    Retention { every_point_secs: u64::MAX, hourly_secs: 0, daily_secs: 0, points_max: count }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Write>),
    Point,
    Stage,
    Upkeep,
    Prune(usize),
    Pin(usize),
    Unpin,
    Reopen,
    Resize(usize, u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let write = (0usize..2, 0u64..40 * 65536, 1usize..200_000, 0u64..50);
    prop_oneof![
        4 => prop::collection::vec(write, 1..4).prop_map(Step::Write),
        6 => Just(Step::Point),
        1 => Just(Step::Stage),
        3 => Just(Step::Upkeep),
        2 => (1usize..6).prop_map(Step::Prune),
        1 => (0usize..5).prop_map(Step::Pin),
        1 => Just(Step::Unpin),
        1 => Just(Step::Reopen),
        1 => (0usize..2, 1u64..40).prop_map(|(disk, clusters)| Step::Resize(disk, clusters * 65536 - 512)),
    ]
}

fn reopen(files: &MemoryFiles, clock: &Arc<ManualClock>, driver: &mut Driver) {
    let placeholder = MemoryFiles::new();
    let empty = driver::open(Arc::new(placeholder), clock.clone(), Path::new(DIR), eager()).unwrap();
    drop(std::mem::replace(&mut driver.replica, empty));
    let opened = driver::open(Arc::new(files.clone()), clock.clone(), Path::new(DIR), eager()).unwrap();
    assert_eq!(opened.report(), &farshore_replica::OpenReport::default());
    driver.resync(opened);
}

fn check_all(driver: &mut Driver) {
    let listed: Vec<_> = driver.replica.points().iter().map(|p| p.id).collect();
    driver.acknowledged.retain(|id, _| listed.contains(id));
    assert_eq!(driver.acknowledged.len(), listed.len(), "points that nobody acknowledged are shown");
    for (id, want) in &driver.acknowledged {
        check_point(&driver.replica, *id, want).unwrap();
    }
}

fn take(step: Step, files: &MemoryFiles, clock: &Arc<ManualClock>, driver: &mut Driver, pins: &mut Vec<Pin>) {
    match step {
        Step::Write(writes) => driver.write(&writes),
        Step::Point => drop(driver.point().unwrap()),
        Step::Stage => drop(driver.cycle(ElementKind::Stage).unwrap()),
        Step::Upkeep => drop(driver.replica.publish_if_due().unwrap()),
        Step::Reopen => reopen(files, clock, driver),
        Step::Resize(disk, size) => {
            if size < driver.disks[disk].1 {
                driver.write(&[(disk, size, 40 * 65536, 0)]);
            }
            driver.disks[disk].1 = size;
        }
        Step::Prune(count) => {
            let before = driver.replica.points();
            let gone = driver.replica.prune_all(&last(count)).unwrap();
            assert!(gone.iter().all(|g| pins.iter().all(|p| p.point != *g)), "a pinned point went");
            assert_eq!(driver.replica.points().len(), before.len() - gone.len());
        }
        Step::Pin(at) => {
            let points = driver.replica.points();
            if let Some(point) = points.get(at) {
                let pin = Pin { point: point.id, holder: "a drill".into() };
                driver.replica.pin(pin.clone()).unwrap();
                pins.push(pin);
            }
        }
        Step::Unpin => {
            for pin in pins.drain(..) {
                driver.replica.unpin(&pin).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("CASES").ok().and_then(|c| c.parse().ok()).unwrap_or(96)))]

    #[test]
    fn every_point_equals_the_source_at_its_instant(steps in prop::collection::vec(any_step(), 1..60)) {
        let (files, clock) = (MemoryFiles::new(), ManualClock::at(1_700_000_000_000));
        let replica = driver::open(Arc::new(files.clone()), clock.clone(), Path::new(DIR), eager()).unwrap();
        let mut driver = Driver::start(replica, &[40 * 65536, 20 * 65536]).unwrap();
        let mut pins = Vec::new();
        for step in steps {
            clock.advance(1000);
            take(step, &files, &clock, &mut driver, &mut pins);
            check_all(&mut driver);
        }
        prop_assert_eq!(driver.replica.check_tables().unwrap(), vec![], "stock tools are shown something else");
    }
}

fn small() -> (MemoryFiles, Arc<ManualClock>, Driver) {
    let (files, clock) = (MemoryFiles::new(), ManualClock::at(1_700_000_000_000));
    let replica = driver::open(Arc::new(files.clone()), clock.clone(), Path::new(DIR), eager()).unwrap();
    (files, clock, Driver::start(replica, &[40 * 65536]).unwrap())
}

#[test]
fn a_second_agent_is_kept_out() {
    let (files, clock, _driver) = small();
    let again = driver::open(Arc::new(files), clock, Path::new(DIR), eager());
    assert!(matches!(again, Err(ReplicaError::Locked { .. })));
}

#[test]
fn a_directory_of_another_machine_is_refused_by_name() {
    let (files, clock, driver) = small();
    drop(driver);
    let other = "00000000-0000-0000-0000-000000000001".parse().unwrap();
    let error =
        Replica::open(Arc::new(files), clock, Path::new(DIR), other, eager()).err().unwrap().to_string();
    assert!(error.contains("web1") && error.contains(driver::MACHINE), "{error}");
}

#[test]
fn an_older_epoch_cannot_write_and_an_equal_one_of_another_owner_is_a_conflict() {
    let (_, _, mut driver) = small();
    let mut begin = |number, token| driver.replica.begin_session(&Epoch { number, token }, "web1");
    assert!(begin(2, 5).is_ok());
    assert!(matches!(begin(1, 77), Err(ReplicaError::OlderEpoch { arriving: 1, held: 2, .. })));
    assert!(matches!(begin(2, 6), Err(ReplicaError::EpochConflict { number: 2, .. })));
}

#[test]
fn sessions_are_counted_across_restarts() {
    let (files, clock, mut driver) = small();
    let epoch = driver.replica.epoch();
    let before = driver.replica.begin_session(&epoch, "web1").unwrap();
    drop(driver);
    let mut replica = driver::open(Arc::new(files), clock, Path::new(DIR), eager()).unwrap();
    assert_eq!(replica.begin_session(&epoch, "web1").unwrap(), before + 1);
}

#[test]
fn a_root_that_does_not_match_the_records_is_refused_and_nothing_changes() {
    let (_, _, mut driver) = small();
    driver.write(&[(0, 0, 100_000, 1)]);
    driver.point().unwrap();
    let before = driver.replica.last();
    let disks = driver.disks.clone();
    let start = farshore_replica::CycleStart { number: 9, base: before, disks };
    driver.replica.begin_cycle(start).unwrap();
    let root = farshore_types::RootDigest([1; 32]);
    let kind = ElementKind::Point(farshore_types::Consistency::Crash);
    let sealed =
        driver.replica.seal(&farshore_replica::SealRequest { kind, age_ms: 0, root, definition: vec![] });
    assert!(sealed.unwrap_err().to_string().contains("root digest"));
    assert_eq!(driver.replica.last(), before);
}

#[test]
fn a_brought_up_replica_takes_no_cycle_and_keeps_its_points() {
    let (files, clock, mut driver) = small();
    for salt in 1..4 {
        driver.write(&[(0, salt * 65536, 65536, salt)]);
        driver.point().unwrap();
    }
    let points = driver.replica.points();
    let epoch = Epoch { number: 2, token: 9 };
    let disks = driver.replica.bring_up(points[1].id, epoch).unwrap();
    assert_eq!(disks.len(), 1);
    let refused = |driver: &mut Driver| {
        assert!(matches!(driver.point(), Err(ReplicaError::BroughtUp { .. })));
        assert!(matches!(driver.replica.prune_all(&last(1)), Err(ReplicaError::BroughtUp { .. })));
        let session = driver.replica.begin_session(&Epoch { number: 1, token: 77 }, "web1");
        assert!(matches!(session, Err(ReplicaError::BroughtUp { .. })));
    };
    refused(&mut driver);
    drop(driver);
    let mut replica = driver::open(Arc::new(files), clock, Path::new(DIR), eager()).unwrap();
    assert_eq!(replica.phase(), Phase::BroughtUp { point: points[1].id });
    assert_eq!(replica.bring_up(points[1].id, epoch).unwrap(), disks, "repeating it changes nothing");
    replica.discard().unwrap();
    let old = replica.begin_session(&Epoch { number: 1, token: 77 }, "web1");
    assert!(matches!(old, Err(ReplicaError::OlderEpoch { .. })), "the epoch stays raised");
    assert_eq!(replica.points().len(), 3);
}

#[test]
fn tables_forget_what_a_pruned_smaller_size_had_cut_off() {
    let (_files, clock, mut driver) = small();
    driver.write(&[(0, 30 * 65536, 65536, 2)]);
    let first = driver.point().unwrap().id;
    driver.replica.publish(first).unwrap();
    driver.replica.pin(Pin { point: first, holder: "a drill".into() }).unwrap();
    for clusters in [10, 40] {
        if clusters == 10 {
            driver.write(&[(0, 10 * 65536, 30 * 65536, 0)]);
        }
        driver.disks[0].1 = clusters * 65536;
        clock.advance(1000);
        driver.point().unwrap();
    }
    driver.replica.prune_all(&last(1)).unwrap();
    driver.write(&[(0, 0, 65536, 6)]);
    let newest = driver.point().unwrap().id;
    driver.replica.publish(newest).unwrap();
    check_point(&driver.replica, newest, &driver.acknowledged[&newest]).unwrap();
    assert_eq!(driver.replica.check_tables().unwrap(), []);
}
