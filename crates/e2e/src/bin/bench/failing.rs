//! Failover through the API: command to running domain, of a machine with a disk of a TiB, 100 GiB
//! of it written, and a thousand points; and the change to another point. Vault, site servers and
//! agents are programs of their own. The points are made through the store itself, of clusters
//! that compress to almost nothing: what counts here is how many there are.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use farshore_e2e::{
    host::{Outcome, run},
    plane::until,
};

use crate::{
    lab::Lab,
    machine::{MACHINE, definition},
    points::fill,
    sites::Sites,
    table::{Row, median, secs},
};

/// Bytes of the disk.
const DISK: &str = "1T";
/// Recovery points.
const POINTS: u64 = 1000;
/// Clusters written for each: 100 GiB in all.
const CHANGED: u64 = (100 << 30) / (64 << 10) / POINTS;
/// What each may take.
const MOST: Duration = Duration::from_secs(2);

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let keep = ["copy-frequency=1s", "keep-every-point=30d", "keep-hourly=30d", "keep-daily=30d"];
    let mut sites = Sites::new(lab, &keep, |dir| Ok(definition(&disk(dir)?, None)))?;
    sites.plane.quietly(&["protect", MACHINE])?;
    // Home is lost: nothing of it answers any more.
    sites.home.kill_agent();
    let _ = sites.home.kill_machines();
    sites.away.kill_agent();
    let made = Instant::now();
    fill(&sites.away, POINTS, CHANGED)?;
    println!("    {POINTS} points of {CHANGED} clusters in {:.0} s", made.elapsed().as_secs_f64());
    sites.away.start_agent()?;
    until("the vault to know the points", || {
        points(&sites).is_ok_and(|points| points.len() > usize::try_from(POINTS).unwrap_or(0))
    })?;
    let points = points(&sites)?;
    let begun = Instant::now();
    let confirmed = ["--accept-data-loss", "--accept-may-still-run"];
    sites.plane.quietly(&[&["protection", "failover", MACHINE, "--unplanned"], &confirmed[..]].concat())?;
    let failed_over = begun.elapsed();
    println!("    failed over in {failed_over:?}");
    let mut changes = Vec::new();
    // The first also warms up; then from one end to the other, each to one it was not at.
    for change in 0..=lab.arguments.rounds as usize {
        let at = points[(change * 397 + 1) % points.len()].as_str();
        let begun = Instant::now();
        sites.plane.quietly(&["protection", "change-point", MACHINE, "--point", at, "--accept-data-loss"])?;
        changes.push(begun.elapsed());
    }
    println!("    changes of point {changes:?}");
    let changed = median(&changes[1..]);
    let row = |measure: &str, took: Duration| Row {
        measure: measure.to_owned(),
        ours: secs(took),
        against: String::new(),
        figure: secs(took),
        reach: "≤ 2 s",
        reached: Some(took <= MOST),
    };
    Ok(vec![
        row("unplanned failover by one command, 1 TiB disk, 100 GiB written, 1,000 points", failed_over),
        row("… change of recovery point by one command", changed),
    ])
}

/// The recovery points, the newest first.
fn points(sites: &Sites) -> Outcome<Vec<String>> {
    let all = sites.plane.json(&["protection", "points", MACHINE, "--all"])?;
    let all = all.as_array().ok_or("no list of points")?;
    Ok(all.iter().filter_map(|point| point["id"].as_str().map(str::to_owned)).collect())
}

fn disk(dir: &Path) -> Outcome<PathBuf> {
    let disk = dir.join("disk.qcow2");
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg(DISK))?;
    Ok(disk)
}
