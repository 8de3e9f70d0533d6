//! A file system that fails at the N-th operation, for every N: nothing is acknowledged
//! that is not durable, nothing acknowledged is lost, and replication goes on afterwards.

use std::io::ErrorKind;

use farshore_replica::ReplicaError;
use farshore_sim::{Fate, MemoryFiles, Replay, driver::DISK_FAULTS};

use crate::history::{CLUSTER, History, Noise, Run, step, told};

/// Steps before the fault can come, and after it is healed.
const STEPS: u64 = 15;
const SIZES: [u64; 2] = [8 * CLUSTER, 6 * CLUSTER];

/// How a fault shows.
#[derive(Clone, Copy, Debug)]
struct Fault {
    at: u64,
    kind: ErrorKind,
    stays: bool,
    /// Whether the agent is started anew once it is healed, or goes on as it is.
    restart: bool,
}

/// Plays the workload into the fault and out of it. `None` where the fault never came.
///
/// # Errors
/// The first promise that was broken.
fn play(at: u64, kind: ErrorKind, stays: bool, restart: bool) -> Result<Option<Run>, String> {
    let fault = Fault { at, kind, stays, restart };
    let files = MemoryFiles::new();
    let failing = files.failing(fault.at, fault.kind, fault.stays);
    let mut came = false;
    let mut run = match Run::start_on(&files, &failing, &SIZES) {
        Ok(run) => run,
        Err(e) => {
            check_told(&e, &fault)?;
            failing.heal();
            came = true;
            Run::start_on(&files, &failing, &SIZES)
                .map_err(|e| format!("{fault:?}: not healed: {}", told(&e)))?
        }
    };
    let (mut noise, mut n) = (Noise(11), 0);
    while n < STEPS && !came {
        if let Err(e) = step(&mut run, &mut noise, n) {
            check_told(&e, &fault)?;
        }
        (n, came) = (n + 1, failing.has_failed());
    }
    if !came {
        return Ok(None);
    }
    let broken = |e: String| format!("{fault:?}, step {n}: {e}");
    run.history.judge_points(files.recorded(), &files, &run.driver.replica).map_err(broken)?;
    check_crashes(&run, false).map_err(broken)?;
    failing.heal();
    heal(&mut run, &mut noise, n, &fault).map_err(broken)?;
    check_crashes(&run, true).map_err(broken)?;
    Ok(Some(run))
}

/// A full disk is told as one.
fn check_told(error: &ReplicaError, fault: &Fault) -> Result<(), String> {
    let same = error.is_no_space() == (fault.kind == ErrorKind::StorageFull);
    // What follows from the fault is told by its own name.
    let follows = matches!(
        error,
        ReplicaError::Uncertain { .. } | ReplicaError::BroughtUp { .. } | ReplicaError::Cycle { .. }
    );
    if same || follows { Ok(()) } else { Err(format!("{fault:?} was told as {}", told(error))) }
}

fn heal(run: &mut Run, noise: &mut Noise, n: u64, fault: &Fault) -> Result<(), String> {
    let told = |e: ReplicaError| told(&e);
    if fault.restart {
        run.restart().map_err(told)?;
    }
    run.discard().map_err(told)?;
    for n in [n, n + 1, 6] {
        step(run, noise, n).map_err(told)?;
    }
    run.history.judge_points(run.files.recorded(), &run.files, &run.driver.replica)?;
    run.history.judge_tables(&run.driver.replica)
}

/// A power cut now, with all lost or nothing lost that was not durable.
fn check_crashes(run: &Run, go_on: bool) -> Result<(), String> {
    let mut replay = Replay::default();
    run.files.log().iter().for_each(|op| replay.step(op));
    for fate in [Fate::Drop, Fate::Keep] {
        let go_on = go_on && fate == Fate::Drop;
        let left = replay.crash(|_| fate);
        crash_now(&run.history, run.files.recorded(), &left, go_on).map_err(|e| format!("{fate:?}: {e}"))?;
    }
    Ok(())
}

fn crash_now(history: &History, at: usize, left: &MemoryFiles, go_on: bool) -> Result<(), String> {
    let replica = history.judge(at, left)?;
    history.judge_tables(&replica)?;
    if go_on { history.judge_going_on(at, replica) } else { Ok(()) }
}

/// Fails the first operation, and each `every`-th after it.
fn operations_fail(every: usize, stays: bool, restart: bool) {
    let mut tried = 0;
    for at in (0..).step_by(every) {
        let kind = DISK_FAULTS[usize::try_from(at % 2).unwrap()];
        match play(at, kind, stays, restart).unwrap() {
            Some(_) => tried += 1,
            None => break,
        }
    }
    println!("{tried} faults");
    assert!(tried > 200 / every, "only {tried} faults came");
}

#[test]
fn any_operation_may_fail_and_the_store_goes_on() {
    operations_fail(1, false, false);
}

#[test]
fn any_operation_may_fail_and_the_store_is_opened_anew() {
    operations_fail(3, false, true);
}

#[test]
fn a_file_system_may_break_at_any_operation_and_heal() {
    operations_fail(1, true, true);
    operations_fail(3, true, false);
}

/// The store of a killed agent may show names and bytes that are not durable; what the next
/// agent builds on them must survive every power cut.
#[test]
fn an_agent_killed_at_any_operation_leaves_nothing_that_a_later_power_cut_breaks() {
    let mut states = 0;
    for at in (0..).step_by(37) {
        let Some(run) = play(at, ErrorKind::Other, true, true).unwrap() else { break };
        let log = run.files.log();
        states +=
            crate::crash::try_crashes(Replay::default(), &log, 0, &run.history, |i| i % 11 == 0).unwrap();
    }
    println!("{states} states");
    assert!(states > 2000, "only {states} states were tried");
}
