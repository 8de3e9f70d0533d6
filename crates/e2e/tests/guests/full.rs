//! A full Linux guest goes there and home again: shut down through its own agent, started from
//! exactly what it stopped with, and frozen for application-consistent points on either side. And
//! it is tried, is lost with its host, and comes home, while it writes as much as it can.

use std::{process::Command, time::Instant};

use farshore_e2e::host::run;
use farshore_guest::Load;
use farshore_protection::{Operation, State};
use farshore_types::Consistency;

use crate::{
    failover::Operated,
    handed::Above,
    ledger::{last_at, last_of},
    site::{MACHINE, PATIENCE, Site, gave_up, program, verdict_on, wait},
};

/// More than it comes to in emulation, on as much of a disk as it has room for.
const HEAVY: Load =
    Load { records_per_second: 50, write_kib_per_second: 16 << 10, write_area_mib: 24, check_only: false };

/// How often there and home.
const CIRCLES: usize = 3;

/// Waits until the side that keeps the replica has an application-consistent point of this epoch.
fn until_frozen(above: &mut Above) {
    let (begun, epoch) = (Instant::now(), above.life.epoch.number);
    let is_one = |above: &Above| {
        let points = above.points(above.life.target);
        points.iter().any(|p| p.id.epoch == epoch && p.consistency == Consistency::Application)
    };
    while !is_one(above) {
        if begun.elapsed() > PATIENCE {
            gave_up(&format!("an application-consistent point: {:?}", above.life));
        }
        above.hear();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_full_guest_goes_there_and_home_three_times_without_loss() {
    let begun = Instant::now();
    let mut above = Above::of(Site::debian(false), 2, Some(60), "");
    above.until("the first point", |life| life.state() == State::Protected);
    for circle in 1..=CIRCLES {
        for operation in [Operation::PlannedFailover, Operation::Failback] {
            // Once on either side; with an agent that starts with its guest that takes a while.
            if circle == 1 {
                until_frozen(&mut above);
            }
            let down = above.move_over(operation);
            println!("{:?}: {operation:?}, circle {circle}, down for {down} ms", begun.elapsed());
            if operation == Operation::PlannedFailover {
                above.order(Operation::Commit, |_| {});
            }
        }
        above.order(Operation::Commit, |_| {});
    }
    until_frozen(&mut above);
    assert_eq!(above.site.verdicts().len(), 2 * CIRCLES + 1, "it was started once for each move");
    println!("{:?}", begun.elapsed());
}

/// A copy at an older point, while production writes, is replicated, and notices nothing.
fn is_tried(all: &mut Operated) {
    let older = all.site.points().pop().unwrap();
    let last = last_of(&all.site, &older);
    all.site.next_point();
    let (before, copys) = (all.site.traces(), all.site.set_console_aside());
    let point = older.id.to_string();
    all.order(&["protection", "test-failover", MACHINE, "--point", &point, "--hours", "1"]);
    let tried = verdict_on(&copys, 0);
    assert_eq!(tried.last, last, "what the copy has is what that point has");
    // Both write on, each its own, and what production writes is replicated.
    let point = all.site.next_point();
    all.site.until_guest_goes_on();
    assert!(last_of(&all.site, &point) > last);
    assert!(all.site.traces().len() > before.len());
    all.order(&["protection", "clean-up", MACHINE]);
    all.site.until_no_trace_but(&before);
    all.site.take_console_back();
    assert_eq!(all.site.verdicts().len(), 1, "production has never stopped");
    all.site.next_point();
}

#[test]
#[ignore = "takes up to ten minutes: `cargo nextest run --workspace --run-ignored only -E 'test(writes_much)'`"]
fn a_full_guest_that_writes_much_is_tried_and_is_lost_with_its_host_and_comes_home() {
    let begun = Instant::now();
    let mut all = Operated::of(Site::debian_under(HEAVY, false));
    all.until_replicated();
    let home = all.shown()["source"].clone();
    is_tried(&mut all);
    println!("{:?}: tried, and nothing is left of it", begun.elapsed());

    let known = all.home_burns(&["home"]);
    all.fails_over(known);
    all.order(&["protection", "commit", MACHINE]);
    println!("{:?}: failed over", begun.elapsed());

    // The old primary is back, and somebody starts the guest there while the new one runs.
    all.site.set_console_aside();
    let (config, xml) = (all.site.home.config(), all.site.home.dir.join("guest.xml"));
    run(Command::new(program()).arg("place").args([config, xml])).unwrap();
    assert_eq!(all.site.home.machine_pids().len(), 1);
    all.net.join_again(&["home"]);
    all.site.home.start_agent().unwrap();
    wait("the old primary to be fenced", || all.site.home.machine_pids().is_empty().then_some(()));
    all.site.until_guest_goes_on();
    all.site.take_console_back();
    wait("home to be heard of, and its replica reversed", || {
        all.above.operate(&["protection", "reverse", MACHINE]).ok()
    });
    all.until_replicated();
    println!("{:?}: protected in reverse", begun.elapsed());
    let points = all.site.points_at(&all.site.home);
    let own = points.iter().find(|point| !point.pinned_by.is_empty()).expect("its own writes are kept");
    let kept = last_at(&all.site, &all.site.home, own);
    assert!(kept >= known, "{known} was written at home, and {kept} is kept of it");

    let verdict = all.moved(&["protection", "failback", MACHINE]);
    println!("{:?}: home again: {verdict}", begun.elapsed());
    assert_eq!(all.shown()["source"], home);
    all.order(&["protection", "commit", MACHINE]);
    all.until_replicated();
    last_of(&all.site, &all.site.next_point());
    println!("{:?}", begun.elapsed());
}
