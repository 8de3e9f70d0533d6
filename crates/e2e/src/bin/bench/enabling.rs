//! From an operator's order to protect a machine to the instant of its first recovery point:
//! vault, two site servers and two agents, each a program of its own. The machine stands still
//! and its disk is small, so that the copy in between is a small part of it.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use farshore_agent::control::ReplicaPoints;
use farshore_e2e::{
    host::{Outcome, TestHost, run},
    plane::Plane,
};

use crate::{
    lab::{Lab, text},
    machine::{MACHINE, definition},
    sites::Sites,
    table::{Row, median},
};

/// Bytes of the disk, and of it those that are not zero: of a file that every machine has.
const DISK: u64 = 64 << 20;
const CONTENT: u64 = 16 << 20;
/// In which the first cycle must have begun, in seconds.
const MOST: f64 = 2.0;
/// Longest wait for a point.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let sites = Sites::new(lab, &[], |dir| Ok(definition(&disk(dir)?, None)))?;
    let (plane, away) = (&sites.plane, &sites.away);
    let took = (0..lab.arguments.rounds).map(|_| enabled(plane, away)).collect::<Outcome<Vec<_>>>()?;
    println!("    {took:.2?} s");
    let (middle, most) = (median(&took), took.iter().copied().fold(0.0, f64::max));
    Ok(vec![Row {
        measure: "from the order to protect to the first cycle's instant, a copy of 64 MiB included"
            .to_owned(),
        ours: format!("{middle:.2} s"),
        against: format!("slowest of {}: {most:.2} s", took.len()),
        reach: "≤ 2 s besides the copy",
        figure: format!("{middle:.2} s"),
        reached: Some(middle <= MOST),
    }])
}

/// Protects the machine; seconds to its first point's instant. Then all of it is taken back.
fn enabled(plane: &Plane, away: &TestHost) -> Outcome<f64> {
    let (begun, since) = (wall(), Instant::now());
    plane.quietly(&["protect", MACHINE, "--no-wait"])?;
    let first = loop {
        let all: Vec<ReplicaPoints> = away.command(&["points"]).unwrap_or_default();
        if let Some(point) = all.iter().flat_map(|replica| &replica.points).next() {
            break point.captured_ms;
        }
        if since.elapsed() > PATIENCE {
            return Err(format!("waited {} s in vain for a point", PATIENCE.as_secs()));
        }
        sleep(Duration::from_millis(200));
    };
    plane.quietly(&["unprotect", MACHINE, "--delete-replica"])?;
    Ok(Duration::from_millis(first).saturating_sub(begun).as_secs_f64())
}

/// Since the Unix epoch: both hosts and this program have one clock.
fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn disk(dir: &Path) -> Outcome<PathBuf> {
    let (raw, disk) = (dir.join("disk.raw"), dir.join("disk.qcow2"));
    let mut content = Vec::new();
    let own = fs::File::open(std::env::current_exe().map_err(text)?).map_err(text)?;
    own.take(CONTENT).read_to_end(&mut content).map_err(text)?;
    fs::write(&raw, content).map_err(text)?;
    fs::OpenOptions::new().write(true).open(&raw).and_then(|file| file.set_len(DISK)).map_err(text)?;
    run(Command::new("qemu-img").args(["convert", "-O", "qcow2"]).args([&raw, &disk]))?;
    Ok(disk)
}
