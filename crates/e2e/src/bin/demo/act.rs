//! The demo, act by act.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use farshore_agent::control::{self, SourceLine};
use farshore_e2e::host::{Outcome, Replicates, TestHost, make_authority, run};
use farshore_guest::{Accelerator, Guest, Load, Verdict, domain_xml, read_verdicts};
use farshore_hypervisor::Start;
use farshore_ledger::{slots_on, survey};
use farshore_types::PointId;
use indicatif::{ProgressBar, ProgressStyle};

use crate::report::{BroughtUp, Report};

const MACHINE: &str = "demo";
/// How long the guest is replicated and watched before its host is lost.
const WATCHED: Duration = Duration::from_secs(24);
/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs the whole demo with the agent's program.
pub(crate) fn demo(program: &Path) -> Outcome<()> {
    say("Building the guest's disks (kernel and busybox from the distribution's packages)");
    let image = farshore_guest::build(&farshore_guest::default_out_dir()).map_err(|e| e.to_string())?;
    let dir = tempfile::Builder::new().prefix("farshore-demo-").tempdir().map_err(|e| e.to_string())?;
    let ca = make_authority(program, dir.path())?;
    let mut home = TestHost::new(program, dir.path(), "home", &ca)?;
    let mut away = TestHost::new(program, dir.path(), "away", &ca)?;

    say("Two hosts: 'home' runs the guest, 'away' keeps its replica");
    let disks = image.copy_to(&home.dir.join("images")).map_err(|e| e.to_string())?;
    let (console, ledger) = (dir.path().join("console.log"), disks.disk2);
    let xml = domain_xml(&Guest {
        name: MACHINE.to_owned(),
        uuid: uuid::Uuid::new_v4().to_string(),
        disk1: disks.disk1,
        disk2: ledger.clone(),
        console: console.clone(),
        accelerator: Accelerator::from_environment(),
        load: Load::default(),
    });
    home.place(&xml, Start::Running)?;
    wait("the guest to boot and write", || !verdicts(&console).is_empty())?;
    say("The guest has booted from its disk and keeps its ledger");

    away.start_agent()?;
    home.configure(&[Replicates {
        machine: MACHINE,
        to: &away,
        frequency: "2s",
        compression: "on",
        small_writes: "on",
    }])?;
    home.start_agent()?;
    show_initial(&home)?;
    show_cycles(&home)?;

    let source = home.source()?;
    let written = written_by_qemu(&home);
    say("Home is lost: its QEMU and its agent are killed (SIGKILL)");
    let _ = home.kill_machines();
    home.kill_agent();
    let lost_at = now_ms();
    let last_written = last_record(&ledger, dir.path())?;

    let points = points(&away)?;
    let (newest, older) = (points.last(), points.get(points.len() / 2));
    let (Some(newest), Some(older)) = (newest, older) else { return Err("no point arrived".to_owned()) };
    let mut report = Report {
        machine: MACHINE.to_owned(),
        points: points.len(),
        missed: total(&source, "missed"),
        last_written,
        rpo: Duration::from_millis(lost_at.saturating_sub(newest.1)),
        written,
        sent: total(&source, "sent"),
        stored: stored(&away)?,
        brought_up: Vec::new(),
    };
    for (point, captured) in [newest, older] {
        let age = Duration::from_millis(lost_at.saturating_sub(*captured));
        report.brought_up.push(bring_up(&away, *point, age, &console)?);
    }
    let _: control::Discarded = away.command(&["discard", MACHINE, "--force"])?;
    println!();
    print!("{}", report.text());
    let path = PathBuf::from("target/demo-report.txt");
    report.save(&path)?;
    println!("report             {}", path.display());
    if report.is_good() { Ok(()) } else { Err("the guest did not find its data whole".to_owned()) }
}

/// The last record that the guest had written: read from its own disk, which a demo, unlike
/// a disaster, still has.
fn last_record(disk: &Path, dir: &Path) -> Outcome<u64> {
    let raw = dir.join("ledger-at-the-loss.raw");
    run(Command::new("qemu-img").args(["convert", "-O", "raw"]).args([disk, &raw]))?;
    let wrong = |e: std::io::Error| format!("reading the guest's own ledger: {e}");
    let mut file = fs::File::open(&raw).map_err(wrong)?;
    let slots = slots_on(file.metadata().map_err(wrong)?.len());
    let newest = survey(&mut file, slots).map_err(wrong)?.newest;
    fs::remove_file(&raw).map_err(wrong)?;
    newest.map(|record| record.number).ok_or_else(|| "the guest has written no record".to_owned())
}

/// Shows the initial replication until it is complete.
fn show_initial(home: &TestHost) -> Outcome<()> {
    let begun = Instant::now();
    let style = ProgressStyle::with_template(
        "  initial replication [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
    )
    .map_err(|e| e.to_string())?;
    let bar = ProgressBar::new(1).with_style(style);
    wait("the first recovery point", || {
        let Ok(source) = home.source() else { return false };
        let activity = &source.details["activity"];
        if let (Some(done), Some(total)) = (activity["done"].as_u64(), activity["total"].as_u64()) {
            bar.set_length(total);
            bar.set_position(done);
        }
        source.rpo_ms.is_some()
    })?;
    bar.finish_and_clear();
    let source = home.source()?;
    println!(
        "  initial replication complete after {:.1} s, {:.1} MiB sent",
        begun.elapsed().as_secs_f64(),
        total(&source, "sent") as f64 / 1_048_576.0
    );
    Ok(())
}

/// Shows the cycles live for a while.
fn show_cycles(home: &TestHost) -> Outcome<()> {
    say("Cycles every 2 s while the guest writes");
    let begun = Instant::now();
    let mut last = String::new();
    while begun.elapsed() < WATCHED {
        let source = home.source()?;
        let cycle = &source.details["last_cycle"];
        let id = cycle["id"].as_str().unwrap_or_default().to_owned();
        if id != last && !id.is_empty() {
            let kib = |field: &str| cycle[field].as_u64().unwrap_or(0) / 1024;
            println!(
                "  point {id:<6} dirty {:>6} KiB, sent {:>6} KiB, {:>4} ms, RPO {:.1} s",
                kib("dirty"),
                kib("sent"),
                cycle["took_ms"].as_u64().unwrap_or(0),
                Duration::from_millis(source.rpo_ms.unwrap_or(0)).as_secs_f64()
            );
            last = id;
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Brings a point up and waits for the guest's own word.
fn bring_up(away: &TestHost, point: PointId, age: Duration, console: &Path) -> Outcome<BroughtUp> {
    say(&format!("farshore-agent bring-up {MACHINE} --point {point} --force   (on 'away')"));
    let before = verdicts(console).len();
    let begun = Instant::now();
    let up: control::BroughtUp =
        away.command(&["bring-up", MACHINE, "--point", &point.to_string(), "--replace", "--force"])?;
    let running = begun.elapsed();
    if up.point != point {
        return Err(format!("brought up at {} instead", up.point));
    }
    println!("  running after {:.2} s; waiting for the guest's verdict", running.as_secs_f64());
    wait("the guest's verdict", || verdicts(console).len() > before)?;
    let verdict_after = begun.elapsed();
    let verdict = verdicts(console).pop().ok_or("the verdict vanished")?;
    println!("  guest: last record {}, chain {}, disks {}", verdict.last, verdict.chain, verdict.disks);
    Ok(BroughtUp { point, age, running, verdict_after, verdict })
}

fn points(away: &TestHost) -> Outcome<Vec<(PointId, u64)>> {
    let all: Vec<control::ReplicaPoints> = away.command(&["points", MACHINE])?;
    Ok(all.into_iter().flat_map(|r| r.points).map(|p| (p.id, p.captured_ms)).collect())
}

fn stored(away: &TestHost) -> Outcome<u64> {
    Ok(away.status()?.replicas.first().map_or(0, |r| r.stored))
}

fn total(source: &SourceLine, field: &str) -> u64 {
    source.details["totals"][field].as_u64().unwrap_or(0)
}

/// Bytes that the host's QEMU wrote to files since it was started, by the kernel's count.
fn written_by_qemu(host: &TestHost) -> u64 {
    let of = |pid: u32| -> Option<u64> {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
        io.lines().find_map(|l| l.strip_prefix("wchar: "))?.trim().parse().ok()
    };
    host.machine_pids().into_iter().filter_map(of).sum()
}

fn verdicts(console: &Path) -> Vec<Verdict> {
    read_verdicts(console).unwrap_or_default()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Outcome<()> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("waited {} s in vain for {what}", PATIENCE.as_secs()));
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn say(what: &str) {
    println!("==> {what}");
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
