//! A full Linux guest goes there and home again: shut down through its own agent, started from
//! exactly what it stopped with, and frozen for application-consistent points on either side.

use std::time::Instant;

use farshore_protection::{Operation, State};
use farshore_types::Consistency;

use crate::{
    handed::Above,
    site::{PATIENCE, Site},
};

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
        assert!(begun.elapsed() < PATIENCE, "no application-consistent point: {:?}", above.life);
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
