//! The demo, act by act.

use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use farshore_e2e::host::Outcome;

use crate::{
    lost::{Loss, fail_over},
    report::{Report, Traffic},
    stage::{Cast, EAST, Stage, WEST, say, wait},
};

/// How long the guests are replicated and watched before their site is lost.
const WATCHED: Duration = Duration::from_secs(20);
/// Between two looks at the status.
const LOOK: Duration = Duration::from_secs(5);

/// Runs the whole demo with the two programs.
pub(crate) fn demo(farshore: &Path, agent: &Path) -> Outcome<()> {
    say("Building the guests' disks (kernel and busybox from the distribution's packages)");
    let image = farshore_guest::build(&farshore_guest::default_out_dir()).map_err(|e| e.to_string())?;
    let dir = tempfile::Builder::new().prefix("farshore-demo-").tempdir().map_err(|e| e.to_string())?;
    say("A vault, two sites, two hosts each. (All on this machine, so each command also names its");
    say("configuration by --config; that is left out here. In front: where a command is run.)");
    let mut stage = Stage::set(farshore, agent, dir.path())?;
    let cast = Cast::place(&image, &stage, dir.path())?;
    stage.start_agents()?;

    say("What runs where; which site stands in for which; how");
    wait("the vault to know both guests", || known(&stage) == 2)?;
    stage.show(&["machines"])?;
    stage.order(&["cloud", "pair", EAST, WEST])?;
    stage.order(&["policy", "add", "gold", "copy-frequency=2s"])?;
    stage.order(&["cloud", "associate", EAST, "--policy", "gold"])?;
    say("Both guests are protected");
    let begun = Instant::now();
    stage.order(&["protect", "--all"])?;
    wait("points of both guests", || cast.guests.iter().all(|guest| stage.has_points(&guest.name)))?;
    println!("  first points of both after {:.1} s", begun.elapsed().as_secs_f64());

    say("Cycles every 2 s while the guests write");
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        sleep(LOOK);
        stage.show(&["status"])?;
    }

    let traffic = Traffic { written: stage.written_by_machines(), sent: stage.sent() };
    say("Site east is lost: its machines, its agents, its server are killed (SIGKILL)");
    let loss = Loss::strike(&mut stage, &cast, dir.path())?;
    say("Each guest is failed over to west: to the newest point, then to an older one; then committed");
    let mut report = Report { traffic, stored: 0, guests: Vec::new() };
    for guest in &cast.guests {
        let (came_back, stored) = fail_over(&stage, guest, &loss)?;
        report.guests.push(came_back);
        report.stored += stored;
    }
    println!();
    print!("{}", report.text());
    let path = PathBuf::from("target/demo-report.txt");
    report.save(&path)?;
    println!("report             {}", path.display());
    if report.is_good() { Ok(()) } else { Err("a guest did not find its data whole".to_owned()) }
}

/// How many machines the vault knows.
fn known(stage: &Stage) -> usize {
    let machines = stage.plane.json(&["machines"]).unwrap_or_default();
    machines.as_array().map_or(0, Vec::len)
}
