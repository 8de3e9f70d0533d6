//! The loss of a site, and each guest's way back on the other.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use farshore_agent::control;
use farshore_e2e::host::{Outcome, TestHost, run};
use farshore_ledger::{slots_on, survey};
use farshore_types::PointId;

use crate::{
    report::{BroughtUp, CameBack},
    stage::{Cast, EAST, Member, Stage, wait},
};

/// What there was when the site was lost.
pub(crate) struct Loss {
    /// Milliseconds since the Unix epoch.
    at_ms: u64,
    /// The last record of each guest, by the guest's name: read from its own disk, which a
    /// demo, unlike a disaster, still has.
    last: Vec<(String, u64)>,
}

impl Loss {
    /// Kills everything of east.
    pub(crate) fn strike(stage: &mut Stage, cast: &Cast, dir: &Path) -> Outcome<Loss> {
        for host in &mut stage.east {
            let _ = host.kill_machines();
            host.kill_agent();
        }
        stage.plane.kill(EAST);
        let at_ms = now_ms();
        let last = |guest: &Member| Ok((guest.name.clone(), last_record(&guest.ledger, dir)?));
        Ok(Loss { at_ms, last: cast.guests.iter().map(last).collect::<Outcome<_>>()? })
    }
}

/// Fails a guest over to its newest point, changes to an older one, and commits. Says how that
/// went, and the bytes that the replica takes.
pub(crate) fn fail_over(stage: &Stage, guest: &Member, loss: &Loss) -> Outcome<(CameBack, u64)> {
    let keeper = stage.keeper(&guest.name)?;
    let points = points(keeper, &guest.name)?;
    let (newest, older) = (points.last(), points.get(points.len() / 2));
    let (Some(newest), Some(older)) = (newest, older) else {
        return Err(format!("no point of {} arrived", guest.name));
    };
    let status = keeper.status()?;
    let stored = status.replicas.iter().filter(|r| r.machine == guest.name).map(|r| r.stored).sum();
    let age = |captured_ms: u64| Duration::from_millis(loss.at_ms.saturating_sub(captured_ms));
    let mut came_back = CameBack {
        machine: guest.name.clone(),
        points: points.len(),
        last_written: loss.last.iter().find(|(name, _)| *name == guest.name).map_or(0, |(_, last)| *last),
        rpo: age(newest.1),
        brought_up: Vec::new(),
    };
    let id = older.0.to_string();
    let confirmed = ["--accept-data-loss", "--accept-may-still-run"];
    let failover = [&["protection", "failover", &guest.name, "--unplanned"][..], &confirmed].concat();
    let change = ["protection", "change-point", &guest.name, "--point", &id, "--accept-data-loss"];
    for (point, order) in [(newest, &failover[..]), (older, &change)] {
        came_back.brought_up.push(by_order(stage, guest, order, point.0, age(point.1))?);
    }
    stage.order(&["protection", "commit", &guest.name])?;
    Ok((came_back, stored))
}

/// Orders it and waits for the guest's own word.
fn by_order(
    stage: &Stage,
    guest: &Member,
    order: &[&str],
    point: PointId,
    age: Duration,
) -> Outcome<BroughtUp> {
    let before = guest.verdicts().len();
    let begun = Instant::now();
    stage.order(order)?;
    let running = begun.elapsed();
    wait("the guest's verdict", || guest.verdicts().len() > before)?;
    let verdict_after = begun.elapsed();
    let verdict = guest.verdicts().pop().ok_or("the verdict vanished")?;
    println!(
        "  running after {:.2} s; the guest says: last record {}, chain {}, disks {}",
        running.as_secs_f64(),
        verdict.last,
        verdict.chain,
        verdict.disks
    );
    Ok(BroughtUp { point, age, running, verdict_after, verdict })
}

fn points(keeper: &TestHost, machine: &str) -> Outcome<Vec<(PointId, u64)>> {
    let all: Vec<control::ReplicaPoints> = keeper.command(&["points", machine])?;
    Ok(all.into_iter().flat_map(|r| r.points).map(|p| (p.id, p.captured_ms)).collect())
}

/// The last record that a guest had written.
fn last_record(disk: &Path, dir: &Path) -> Outcome<u64> {
    let raw = dir.join("ledger-at-the-loss.raw");
    run(Command::new("qemu-img").args(["convert", "-O", "raw"]).args([disk, &raw]))?;
    let wrong = |e: std::io::Error| format!("reading a guest's own ledger: {e}");
    let mut file = fs::File::open(&raw).map_err(wrong)?;
    let slots = slots_on(file.metadata().map_err(wrong)?.len());
    let newest = survey(&mut file, slots).map_err(wrong)?.newest;
    fs::remove_file(&raw).map_err(wrong)?;
    newest.map(|record| record.number).ok_or_else(|| "a guest has written no record".to_owned())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
