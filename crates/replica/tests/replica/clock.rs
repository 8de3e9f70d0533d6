//! Clocks that jump: nothing is pruned, published or kept by a wrong hour.

use std::{path::Path, sync::Arc, time::Duration};

use farshore_replica::{Options, Retention};
use farshore_sim::{
    ManualClock, MemoryFiles,
    driver::{self, Driver},
};

use crate::points::DIR;

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const YEAR: i64 = 365 * 24 * HOUR;

/// Half an hour of points, with the clock set wrong in between and right again, with and
/// without a restart at the time.
///
/// # Errors
/// What was pruned, or not published.
pub(crate) fn jumps() -> Result<(), String> {
    for by in [SECOND, -SECOND, HOUR, -HOUR, YEAR, -YEAR] {
        for restarts in [false, true] {
            jump(by, restarts).map_err(|e| format!("{by} ms, restarted: {restarts}: {e}"))?;
        }
    }
    Ok(())
}

fn jump(by: i64, restarts: bool) -> Result<(), String> {
    // Long enough that no cap on a jump hides in it.
    let retention = Retention { every_point_secs: 3 * 3600, ..Retention::default() };
    let (files, clock) = (MemoryFiles::new(), ManualClock::at(1_700_000_000_000));
    let open = || driver::open(Arc::new(files.clone()), clock.clone(), Path::new(DIR), Options::default());
    let mut driver = Driver::start(open().unwrap(), &[4 << 16]).unwrap();
    let (mut sealed, mut published) = (Vec::new(), 0);
    for minute in 0..30 {
        clock.advance(60_000);
        match minute {
            10 => clock.set(by),
            20 => clock.set(-by),
            _ => {}
        }
        if restarts && minute == 10 {
            // Closed first: it is locked.
            let Driver { replica, now, .. } = driver;
            let now = replica.disks().into_iter().zip(now).map(|((k, s), d)| (k, s, d)).collect();
            drop(replica);
            driver = Driver::resume(open().unwrap(), now).unwrap();
        }
        driver.write(&[(0, 0, 9000, minute)]);
        sealed.push(driver.point().unwrap().id);
        published += usize::from(driver.replica.publish_if_due().unwrap());
        let gone = driver.replica.prune_all(&retention).unwrap();
        if !gone.is_empty() {
            return Err(format!("{gone:?} were pruned in minute {minute}"));
        }
    }
    let shown: Vec<_> = driver.replica.points().iter().map(|p| p.id).collect();
    assert_eq!(shown, sealed);
    // Each five minutes, and once more where a restart saw the hour that the clock lost.
    if (5..=8).contains(&published) { Ok(()) } else { Err(format!("{published} publications")) }
}

#[test]
fn a_clock_that_jumps_prunes_nothing_and_stops_no_publication() {
    jumps().unwrap();
}

/// Points every ten minutes for so many hours; how many are published.
fn published_over(hours: u64) -> usize {
    let (files, clock) = (MemoryFiles::new(), ManualClock::at(1_700_000_000_000));
    let options = Options { publish_every: Duration::from_secs(300), ..Options::default() };
    let replica = driver::open(Arc::new(files), clock.clone(), Path::new(DIR), options).unwrap();
    let mut driver = Driver::start(replica, &[4 << 16]).unwrap();
    for n in 0..6 * hours {
        clock.advance(600_000);
        driver.write(&[(0, 0, 9000, n)]);
        driver.point().unwrap();
        driver.replica.publish_if_due().unwrap();
    }
    driver.replica.points().iter().filter(|p| p.published).count()
}

#[test]
fn the_last_point_of_each_hour_stays_published() {
    let hours = published_over(8);
    assert!((8..=10).contains(&hours), "{hours} points are published after 8 hours");
}
