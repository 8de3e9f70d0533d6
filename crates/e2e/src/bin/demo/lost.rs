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
    stage::{Cast, EAST, Member, Stage, tell, wait},
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

/// Brings a guest up from its newest point, then from an older one; ends that again. Says how
/// that went, and the bytes that the replica takes.
pub(crate) fn bring_up(stage: &Stage, guest: &Member, loss: &Loss) -> Outcome<(CameBack, u64)> {
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
    for (point, captured_ms) in [newest, older] {
        came_back.brought_up.push(at_point(keeper, guest, *point, age(*captured_ms))?);
    }
    let _: control::Discarded = keeper.command(&["discard", &guest.name, "--force"])?;
    Ok((came_back, stored))
}

/// Brings one point up and waits for the guest's own word.
fn at_point(keeper: &TestHost, guest: &Member, point: PointId, age: Duration) -> Outcome<BroughtUp> {
    let (before, id) = (guest.verdicts().len(), point.to_string());
    let args = ["bring-up", &guest.name, "--point", &id, "--replace", "--force"];
    tell(&keeper.name, &format!("farshore-agent {}", args.join(" ")));
    let begun = Instant::now();
    let up: control::BroughtUp = keeper.command(&args)?;
    let running = begun.elapsed();
    if up.point != point {
        return Err(format!("brought up at {} instead", up.point));
    }
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
