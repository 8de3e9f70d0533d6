//! There and home: what a planned failover costs besides the guest's own shutdown, what is sent
//! then, what ten circles leave on the disks; and the way home after a disaster, where both sides
//! have written. A machine without a guest does not heed a shutdown: its deadline is short, and
//! taken off.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use farshore_e2e::{
    host::{Outcome, run},
    plane::until,
};
use serde_json::Value;

use crate::{
    lab::{Lab, text},
    machine::{MACHINE, Machine, definition},
    sites::{SHUTDOWN, Sites},
    table::{Row, median, mib, over, secs},
};

/// Circles, there and home.
const CIRCLES: usize = 10;
/// Bytes written between two moves.
const WRITTEN: u64 = 4 << 20;
/// Bytes that each side writes before it hears of the other one again.
const APART: u64 = 50 << 20;
/// Where that is written.
const PLACES: u64 = 1 << 30;

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut circles = Circles::new(lab)?;
    let mut rows = circles.planned()?;
    rows.extend(circles.after_a_disaster()?);
    Ok(rows)
}

struct Circles {
    sites: Sites,
    piece: PathBuf,
    apart: PathBuf,
    written: u64,
    /// Bytes of the disk with files that it began with.
    files: u64,
}

impl Circles {
    fn new(lab: &Lab) -> Outcome<Circles> {
        let files = lab.disk_of_files()?;
        let keep = ["copy-frequency=1s", "keep-every-point=5m", "keep-hourly=5m", "keep-daily=5m"];
        let sites = Sites::new(lab, &[&keep[..], &["points-max=20"]].concat(), |dir| {
            let disk = dir.join("disk.qcow2");
            fs::copy(&files, &disk).map_err(text)?;
            run(Command::new("qemu-img").args(["resize", "-q"]).arg(&disk).arg("10G"))?;
            Ok(definition(&disk, Some(&dir.join("home/qmp.sock"))))
        })?;
        let (piece, apart) = (sites.home.dir.join("piece"), sites.home.dir.join("apart"));
        for (path, len) in [(&piece, WRITTEN), (&apart, APART)] {
            let mut noise = Vec::new();
            fs::File::open("/dev/urandom").map_err(text)?.take(len).read_to_end(&mut noise).map_err(text)?;
            fs::write(path, noise).map_err(text)?;
        }
        sites.plane.quietly(&["protect", MACHINE])?;
        let files = fs::metadata(&files).map_err(text)?.blocks() * 512;
        let circles = Circles { sites, piece, apart, written: 0, files };
        circles.until_replicating()?;
        Ok(circles)
    }

    fn shown(&self) -> Outcome<Value> {
        self.sites.plane.json(&["protection", "show", MACHINE])
    }

    fn until_replicating(&self) -> Outcome<()> {
        until("replication", || {
            self.shown().is_ok_and(|shown| {
                shown["state"] == "replicating" && shown["rpo_ms"].as_u64().is_some_and(|rpo| rpo < 3_000)
            })
        })
    }

    /// Writes where the machine runs now, and waits until the other side has it.
    fn write(&mut self) -> Outcome<()> {
        // The same places again and again: what there is to keep does not grow.
        let at = self.written % 2 * WRITTEN;
        self.written += 1;
        Machine::attach(&self.sites.home)?.write(&self.piece, at, WRITTEN)?;
        let newest = self.shown()?["newest"].clone();
        until("the next points", || self.shown().is_ok_and(|shown| shown["newest"] != newest))?;
        self.until_replicating()
    }

    /// Moves the machine; how long that took besides its shutdown, and the bytes that were sent in
    /// reverse until the first points were there.
    fn moved(&self, verb: &str) -> Outcome<(Duration, u64)> {
        let begun = Instant::now();
        self.sites.plane.quietly(&["protection", verb, MACHINE, "--power-off"])?;
        let took = begun.elapsed().saturating_sub(SHUTDOWN);
        self.sites.plane.quietly(&["protection", "commit", MACHINE])?;
        self.until_replicating()?;
        Ok((took, self.shown()?["cycles"]["sent"].as_u64().unwrap_or(0)))
    }

    fn planned(&mut self) -> Outcome<Vec<Row>> {
        let (mut took, mut sent, mut sizes) = (Vec::new(), 0, Vec::new());
        for circle in 0..CIRCLES {
            for verb in ["failover", "failback"] {
                self.write()?;
                let before = self.shown()?["cycles"]["sent"].as_u64().unwrap_or(0);
                let (moved, after) = self.moved(verb)?;
                took.push(moved);
                // Of a source that was one before, its agent counts on.
                sent = sent.max(if circle == 0 { after } else { after.saturating_sub(before.min(after)) });
            }
            sizes.push(self.size()?);
            println!("    circle {circle}: {took:.2?}, {}", mib(sizes[circle]));
        }
        let (first, last) = (sizes[0], sizes[CIRCLES - 1]);
        let moved = median(&took);
        Ok(vec![
            Row {
                measure: "planned failover by one command, besides the guest's own shutdown and boot"
                    .to_owned(),
                ours: secs(moved),
                against: format!(
                    "slowest of {}: {}",
                    took.len(),
                    secs(took.iter().copied().max().unwrap_or_default())
                ),
                figure: secs(moved),
                reach: "≤ 3 s",
                reached: Some(moved <= Duration::from_secs(3)),
            },
            Row {
                measure: "… sent in reverse afterwards, of a disk with 1 GiB of files, nothing written"
                    .to_owned(),
                ours: mib(sent),
                against: String::new(),
                figure: mib(sent),
                reach: "only what was written since",
                reached: Some(sent <= WRITTEN),
            },
            Row::ratio(
                "ten circles there and home, 8 MiB overwritten in each: all disks and replicas, after the last against the first",
                (mib(last), mib(first)),
                over_bytes(last, first),
                ("≤ 1.1 ×", 1.1),
            ),
        ])
    }

    /// Bytes that everything of the machine takes on both hosts.
    fn size(&self) -> Outcome<u64> {
        let dir = self.sites.home.dir.parent().ok_or("no directory")?;
        allocated(dir)
    }

    fn after_a_disaster(&mut self) -> Outcome<Vec<Row>> {
        self.write()?;
        self.sites.plane.quietly(&["pause", MACHINE])?;
        until("replication to pause", || self.shown().is_ok_and(|shown| shown["state"] == "paused"))?;
        // What only home has, and then what only the other side has.
        Machine::attach(&self.sites.home)?.write(&self.apart, PLACES, APART)?;
        self.sites.home.kill_agent();
        let _ = self.sites.home.kill_machines();
        let confirmed = ["--accept-data-loss", "--accept-may-still-run"];
        let failover = ["protection", "failover", MACHINE, "--unplanned"];
        self.sites.plane.quietly(&[&failover[..], &confirmed].concat())?;
        Machine::attach(&self.sites.home)?.write(&self.apart, PLACES * 2, APART)?;
        let before = self.by_away("sent");
        self.sites.home.start_agent()?;
        self.sites.home.settle()?;
        let read_before = [self.read_by_home()?, self.by_away("read")];
        self.sites.plane.quietly(&["protection", "commit", MACHINE])?;
        let begun = Instant::now();
        until("home to be heard of", || {
            self.sites.plane.quietly(&["protection", "reverse", MACHINE]).is_ok()
        })?;
        self.until_replicating()?;
        let (took, sent) = (begun.elapsed(), self.by_away("sent").saturating_sub(before));
        let home = self.read_by_home()?.saturating_sub(read_before[0]);
        let away = self.by_away("read").saturating_sub(read_before[1]);
        println!("    reversed in {took:?}, {} sent; read: {}, {}", mib(sent), mib(home), mib(away));
        let sent = Row {
            measure: "reverse after an unplanned failover, 10 GiB disk, 50 MiB written on each side"
                .to_owned(),
            ours: format!("{} in {}", mib(sent), secs(took)),
            against: mib(2 * APART),
            figure: format!("{:.2} ×", over_bytes(sent, 2 * APART)),
            reach: "≤ 110 MiB",
            reached: Some(sent <= 110 << 20),
        };
        // What each of them has: the files, what the circles wrote, and its own writes.
        let data = self.files + 2 * WRITTEN + APART;
        let most = home.max(away);
        let read = Row::ratio(
            "… read for that by home and by the other side, against the data of the disk",
            (format!("{}, {}", mib(home), mib(away)), mib(data)),
            over_bytes(most, data),
            ("each once", 1.1),
        );
        Ok(vec![sent, read])
    }

    /// A sum that the agent of the other side has kept since it replicates the machine.
    fn by_away(&self, what: &str) -> u64 {
        let source = self.sites.away.source().ok();
        source.and_then(|source| source.details["totals"][what].as_u64()).unwrap_or(0)
    }

    /// Bytes that the agent of home has read since it began to run, by the system's count: files
    /// and nothing of the network.
    fn read_by_home(&self) -> Outcome<u64> {
        let pid = self.sites.home.agent_pid().ok_or("no agent")?;
        let io = fs::read_to_string(format!("/proc/{pid}/io")).map_err(text)?;
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).ok_or("no count of reads")?;
        line.parse().map_err(text)
    }
}

fn over_bytes(one: u64, other: u64) -> f64 {
    over(Duration::from_micros(one), Duration::from_micros(other.max(1)))
}

/// Bytes that disks and replicas below a directory take.
fn allocated(dir: &Path) -> Outcome<u64> {
    let mut all = 0;
    for entry in fs::read_dir(dir).map_err(text)?.flatten() {
        let (path, facts) = (entry.path(), entry.metadata().map_err(text)?);
        if facts.is_dir() {
            all += allocated(&path)?;
        } else if path.extension().is_some_and(|e| e == "qcow2" || e == "delta") {
            all += facts.blocks() * 512;
        }
    }
    Ok(all)
}
