//! Power cuts, enumerated: after every single operation, with every part of what was not
//! yet durable lost or torn, the store opens and keeps its promises.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use farshore_sim::{Fate, MemoryFiles, Op, Replay};

use crate::{
    history::{CLUSTER, History, Noise, Run, step},
    points::DIR,
    tool,
};

/// Sectors that survive in a torn write.
const TORN: [u64; 4] = [0x5555_5555_5555_5555, 1, !1, 0x0000_ffff_0000_ffff];

/// Random subsets tried after each operation.
const RANDOM: usize = 24;

/// Every how many states the tables are checked, and replication is taken up again.
const TABLES_EVERY: usize = 5;
const GO_ON_EVERY: usize = 97;

/// What could become of the operations that are not durable: each a crash to be tried.
fn fates(pending: &[Op], noise: &mut Noise) -> Vec<Vec<Fate>> {
    let n = pending.len();
    let all = |fate| vec![fate; n];
    let mut out = vec![all(Fate::Keep), all(Fate::Drop)];
    let but = |rest: Fate, i: usize, fate| {
        let mut fates = vec![rest; n];
        fates[i] = fate;
        fates
    };
    for (i, op) in pending.iter().enumerate() {
        out.push(but(Fate::Keep, i, Fate::Drop));
        out.push(but(Fate::Drop, i, Fate::Keep));
        out.push((0..n).map(|k| if k < i { Fate::Keep } else { Fate::Drop }).collect());
        if matches!(op, Op::Write(_, _, data) if data.len() > 512) {
            out.extend(TORN.iter().map(|t| but(Fate::Keep, i, Fate::Torn(*t))));
        }
    }
    for _ in 0..if n > 2 { RANDOM } else { 0 } {
        out.push(
            (0..n)
                .map(|_| [Fate::Keep, Fate::Drop, Fate::Torn(noise.next(u64::MAX))][noise_index(noise)])
                .collect(),
        );
    }
    out.sort_unstable();
    out.dedup();
    out
}

fn noise_index(noise: &mut Noise) -> usize {
    [0, 0, 1, 1, 2][usize::try_from(noise.next(5)).unwrap()]
}

/// Tries crashes after those operations that `mine` picks, and returns how many.
///
/// # Errors
/// The first promise that is broken, and where.
pub(crate) fn try_crashes(
    start: Replay,
    log: &[Op],
    first: usize,
    history: &History,
    mine: impl Fn(usize) -> bool,
) -> Result<usize, String> {
    let (mut replay, mut states) = (start, 0);
    for (at, op) in log.iter().enumerate() {
        replay.step(op);
        if !mine(at) {
            continue;
        }
        let done = first + at + 1;
        for fates in fates(replay.unsynced(), &mut Noise(done as u64)) {
            states += 1;
            let left = replay.crash(|i| fates[i]);
            try_state(history, done, &left, states).map_err(|e| {
                let lost: Vec<String> = replay
                    .unsynced()
                    .iter()
                    .zip(&fates)
                    .map(|(op, f)| format!("{f:?} {}", brief(op)))
                    .collect();
                format!("crash after operation {done} ({}), of which {lost:#?}: {e}", brief(op))
            })?;
        }
    }
    Ok(states)
}

fn try_state(history: &History, done: usize, left: &MemoryFiles, n: usize) -> Result<(), String> {
    let replica = history.judge(done, left)?;
    if n.is_multiple_of(TABLES_EVERY) {
        history.judge_tables(&replica)?;
    }
    if n.is_multiple_of(GO_ON_EVERY) {
        history.judge_going_on(done, replica)?;
    }
    Ok(())
}

fn brief(op: &Op) -> String {
    match op {
        Op::Write(file, at, data) => format!("Write(file {file}, at {at}, {} bytes)", data.len()),
        other => format!("{other:?}"),
    }
}

/// A workload through everything, and its operations.
pub(crate) fn workload(seed: u64, steps: u64) -> Run {
    let mut run = Run::start(&[8 * CLUSTER, 6 * CLUSTER - 512]);
    let mut noise = Noise(seed);
    for n in 0..steps {
        step(&mut run, &mut noise, n).unwrap();
    }
    run
}

#[test]
fn no_power_cut_at_any_operation_breaks_a_promise() {
    let states = AtomicUsize::new(0);
    for seed in [1, 2, 3] {
        let run = workload(seed, 34);
        let (log, history) = (run.files.log(), &run.history);
        std::thread::scope(|scope| {
            for half in 0..2 {
                let (log, states) = (&log, &states);
                scope.spawn(move || {
                    let tried = try_crashes(Replay::default(), log, 0, history, |at| at % 2 == half);
                    states.fetch_add(tried.unwrap_or_else(|e| panic!("seed {seed}: {e}")), Ordering::Relaxed);
                });
            }
        });
    }
    let states = states.into_inner();
    println!("{states} states");
    assert!(states >= 50_000, "only {states} states were tried");
}

/// What recovery does is itself cut, and recovered from.
#[test]
fn a_second_power_cut_during_recovery_breaks_no_promise() {
    let run = workload(3, 17);
    let (log, mut replay, mut states) = (run.files.log(), Replay::default(), 0);
    for (at, op) in log.iter().enumerate() {
        replay.step(op);
        if replay.pending() == 0 || at % 3 != 0 {
            continue;
        }
        for fates in [Fate::Keep, Fate::Drop].map(|f| vec![f; replay.pending()]) {
            let left = replay.crash(|i| fates[i]);
            let again = Replay::over(&left);
            drop(run.history.judge(at + 1, &left).unwrap());
            let recovery = left.log();
            // All at the same place of the history: recovery is no answer to anybody.
            for cut in 1..=recovery.len() {
                let mut again = again.clone();
                recovery[..cut].iter().for_each(|op| again.step(op));
                for fate in [Fate::Keep, Fate::Drop, Fate::Torn(1)] {
                    states += 1;
                    run.history.judge(at + 1, &again.crash(|_| fate)).unwrap();
                }
            }
        }
    }
    println!("{states} states");
    assert!(states > 500, "only {states} states were tried");
}

/// Stock tools judge a sample of what crashes leave, before and after recovery.
#[test]
fn what_a_power_cut_leaves_is_sound_by_stock_tools() {
    let run = workload(4, 26);
    let log = run.files.log();
    let (mut replay, mut noise, mut judged, mut points) = (Replay::default(), Noise(7), 0, 0);
    let every = log.len() / 44;
    for (at, op) in log.iter().enumerate() {
        replay.step(op);
        if at % every != every - 1 {
            continue;
        }
        let all = fates(replay.unsynced(), &mut noise);
        let fates = &all[usize::try_from(noise.next(all.len() as u64)).unwrap()];
        let left = replay.crash(|i| fates[i]);
        let before = left.copy();
        let judged_as = run.history.judge(at + 1, &left);
        let replica =
            judged_as.unwrap_or_else(|e| panic!("after operation {at} ({}), {fates:?}: {e}", brief(op)));
        if replica.points().is_empty() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        tool::write_out(&before, Path::new(DIR), dir.path());
        tool::check_images(dir.path());
        tool::write_out(&left, Path::new(DIR), dir.path());
        tool::check_images(dir.path());
        for point in replica.points().into_iter().filter(|p| p.published) {
            for (disk, size, model) in run.history.state_of(point.id) {
                tool::compare(dir.path(), disk.as_str(), &point.id.to_string(), model, *size);
                points += 1;
            }
        }
        judged += 1;
    }
    println!("{judged} stores, {points} published disks");
    assert!(judged >= 38 && points >= 60, "{judged} stores, {points} published disks");
}
