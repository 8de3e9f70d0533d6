//! Many points: bringing up the oldest of a thousand beside the newest, and what ten
//! thousand cycles over the same disk leave. Points are made through the store itself:
//! a thousand real cycles would only add waiting.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use farshore_agent::control::{BroughtUp, Discarded, ReplicaPoints};
use farshore_delta::{ElementKind, RootBuilder, SourceChange};
use farshore_e2e::host::{Outcome, TestHost, run};
use farshore_env::{RealFiles, SystemClock};
use farshore_replica::{CycleStart, Incoming, Options, Replica, Retention, SealRequest, Stored};
use farshore_types::{
    CLUSTER_BYTES, CLUSTER_SIZE, Consistency, Digest, DiskKey, Epoch, MachineId, RootDigest,
};

use crate::{
    copying::initial,
    lab::{Lab, Pair, text},
    machine::MACHINE,
    table::{Row, median, mib, over, secs},
    writing::Random,
};

/// Recovery points of the replica whose oldest is brought up.
const POINTS: u64 = 1000;
/// Cycles over the same disk.
const CYCLES: u64 = 10_000;
/// Bytes of that disk.
const OVERWRITTEN: u64 = 1 << 30;
/// Clusters changed in each cycle.
const CHANGED: u64 = 16;
/// Points kept of them.
const KEPT: usize = 10;
/// Cycles between two prunings: the agent prunes every 30 s.
const PRUNE_EVERY: u64 = 30;

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut rows = bring_up(lab)?;
    rows.push(ten_thousand(lab)?);
    Ok(rows)
}

fn bring_up(lab: &Lab) -> Outcome<Vec<Row>> {
    let (mut pair, _, _) = initial(lab, "on")?;
    // Home is lost: nothing of it answers any more.
    let _ = pair.home.kill_machines();
    pair.home.kill_agent();
    add_points(&mut pair)?;
    let all: Vec<ReplicaPoints> = pair.away.command(&["points", MACHINE])?;
    let points = all.into_iter().flat_map(|r| r.points).map(|p| p.id.to_string()).collect::<Vec<_>>();
    let (Some(oldest), Some(newest)) = (points.first(), points.last()) else {
        return Err("no points".to_owned());
    };
    println!("    {} points, {oldest} to {newest}", points.len());
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for _ in 0..=lab.arguments.rounds {
        old.push(brought_up(&pair, oldest)?);
        new.push(brought_up(&pair, newest)?);
    }
    println!("    oldest {old:?}\n    newest {new:?}");
    // The first ones also warm up.
    let (old, new) = (median(&old[1..]), median(&new[1..]));
    let slower = old.max(new);
    Ok(vec![
        Row::ratio(
            "bring-up of the oldest of 1,000 points against the newest",
            (secs(old), secs(new)),
            over(old, new),
            ("≤ 1.2 ×", 1.2),
        ),
        Row {
            measure: "bring-up, command to running domain".to_owned(),
            ours: secs(slower),
            against: String::new(),
            figure: secs(slower),
            reach: "≤ 1.5 s",
            reached: Some(slower <= Duration::from_millis(1500)),
        },
    ])
}

/// How long a bring-up took by an operator's watch; it is discarded again.
fn brought_up(pair: &Pair, point: &str) -> Outcome<Duration> {
    let begun = Instant::now();
    let up: BroughtUp = pair.away.command(&["bring-up", MACHINE, "--point", point, "--force"])?;
    let took = begun.elapsed();
    if up.power != "running" {
        return Err(format!("brought up, it is {}", up.power));
    }
    let _: Discarded = pair.away.command(&["discard", MACHINE, "--force"])?;
    Ok(took)
}

fn add_points(pair: &mut Pair) -> Outcome<()> {
    pair.away.kill_agent();
    let mut writer = Writer::of(&pair.away)?;
    for _ in 1..POINTS {
        writer.cycle(CHANGED)?;
    }
    drop(writer);
    pair.away.start_agent()
}

/// Adds points to the replica of a host whose agent does not run, each with so many clusters that
/// compress to almost nothing.
pub(crate) fn fill(host: &TestHost, points: u64, clusters: u64) -> Outcome<()> {
    let mut writer = Writer::of(host)?;
    writer.noise = false;
    (0..points).try_for_each(|_| writer.cycle(clusters))
}

/// The directory of the one replica that a host has.
fn replica_of(host: &TestHost) -> Outcome<PathBuf> {
    let replicas = host.dir.join("replicas");
    let dir = fs::read_dir(&replicas).map_err(text)?.flatten().map(|e| e.path()).find(|p| p.is_dir());
    dir.ok_or_else(|| "the replica's directory is missing".to_owned())
}

fn ten_thousand(lab: &Lab) -> Outcome<Row> {
    let dir = tempfile::Builder::new().prefix("cycles-").tempdir_in(&lab.dir).map_err(text)?;
    let machine: MachineId = "5d0f3c4e-0a4b-4c53-9f5a-6b656e636832".parse().map_err(text)?;
    let mut writer = Writer::open(dir.path(), machine)?;
    writer.disks = vec![("vda".parse().map_err(text)?, OVERWRITTEN)];
    writer.definition = b"<domain/>".to_vec();
    let begun = Instant::now();
    writer.cycle(OVERWRITTEN / CLUSTER_BYTES)?;
    let keep = Retention { points_max: KEPT, ..Retention::default() };
    for cycle in 1..=CYCLES {
        writer.cycle(CHANGED)?;
        if cycle % PRUNE_EVERY == 0 {
            writer.replica.prune(&keep).map_err(text)?;
            writer.replica.publish_if_due().map_err(text)?;
            writer.replica.release_unread().map_err(text)?;
        }
    }
    writer.replica.prune_all(&keep).map_err(text)?;
    writer.replica.release_unread().map_err(text)?;
    let each = begun.elapsed() / u32::try_from(CYCLES).unwrap_or(1);
    let images: Vec<_> = fs::read_dir(dir.path())
        .map_err(text)?
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|x| x == "qcow2"))
        .collect();
    let allocated: u64 = images.iter().filter_map(|e| e.metadata().ok()).map(|m| m.blocks() * 512).sum();
    let long: u64 = images.iter().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum();
    for image in &images {
        run(Command::new("qemu-img").args(["check", "-q"]).arg(image.path()))?;
    }
    println!("    {CYCLES} cycles, {each:?} each; {} allocated, {} long", mib(allocated), mib(long));
    let live = OVERWRITTEN;
    Ok(Row::ratio(
        "10,000 cycles over the same 1 GiB (1 MiB each), 10 points kept: image size against live data",
        (format!("{} allocated, {} long", mib(allocated), mib(long)), mib(live)),
        allocated.max(long) as f64 / live as f64,
        ("≤ 1.5 ×", 1.5),
    ))
}

/// A source's part, played against a store.
struct Writer {
    replica: Replica,
    disks: Vec<(DiskKey, u64)>,
    definition: Vec<u8>,
    random: Random,
    epoch: Epoch,
    /// Whether clusters are noise; else they are zeros but for a few bytes, and are compressed.
    noise: bool,
}

impl Writer {
    /// Goes on where a host's replica is.
    fn of(host: &TestHost) -> Outcome<Writer> {
        let dir = replica_of(host)?;
        let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let mut writer = Writer::open(&dir, name.parse().map_err(text)?)?;
        let last = writer.replica.newest().map_err(text)?;
        writer.definition = writer.replica.reader(last.id).and_then(|r| r.definition()).map_err(text)?;
        Ok(writer)
    }

    fn open(dir: &Path, machine: MachineId) -> Outcome<Writer> {
        // Published as seldom as always: the time between is the agent's, scaled to cycles
        // that follow each other without a pause.
        let options = Options { publish_every: Duration::from_secs(2), ..Options::default() };
        let (files, clock) = (Arc::new(RealFiles), Arc::new(SystemClock::default()));
        let mut replica = Replica::open(files, clock, dir, machine, options).map_err(text)?;
        let known = replica.epoch();
        let epoch = if known.number == 0 { Epoch { number: 1, token: 9 } } else { known };
        let name = if replica.name().is_empty() { MACHINE.to_owned() } else { replica.name().to_owned() };
        replica.begin_session(&epoch, &name).map_err(text)?;
        let disks = replica.disks();
        Ok(Writer { replica, disks, definition: Vec::new(), random: Random(0xbead), epoch, noise: true })
    }

    /// One point with `count` clusters of noise at random places.
    fn cycle(&mut self, count: u64) -> Outcome<()> {
        let base = self.replica.last();
        let number = base.map_or(0, |b| b.id.number) + 1;
        let id = farshore_types::PointId { epoch: self.epoch.number, number };
        let mut root = RootBuilder::new(base.map_or(RootDigest::NONE, |b| b.root), id);
        self.replica.begin_cycle(CycleStart { number, base, disks: self.disks.clone() }).map_err(text)?;
        for (index, (disk, size)) in self.disks.clone().iter().enumerate() {
            let places = self.random.places(size / CLUSTER_BYTES, count);
            let mut changes = Vec::new();
            for cluster in places {
                let bytes = self.content();
                let digest = Digest::of(&bytes);
                let packed =
                    (!self.noise).then(|| zstd::bulk::compress(&bytes, 1)).transpose().map_err(text)?;
                let stored = packed.as_deref().map_or(Stored::Raw(&bytes), Stored::Compressed);
                let record = Incoming { cluster, digest, stored };
                self.replica.append(index, &[record]).map_err(text)?;
                changes.push(SourceChange { cluster, digest });
            }
            root.disk(disk, *size, changes.into_iter());
        }
        let kind = ElementKind::Point(Consistency::Crash);
        let definition = self.definition.clone();
        let seal = SealRequest { kind, age_ms: 0, root: root.finish(), definition };
        self.replica.seal(&seal).map(drop).map_err(text)
    }

    fn content(&mut self) -> Vec<u8> {
        if !self.noise {
            let mut bytes = vec![0; CLUSTER_SIZE];
            bytes[..8].copy_from_slice(&self.random.next().to_le_bytes());
            return bytes;
        }
        std::iter::repeat_with(|| self.random.next())
            .take(CLUSTER_SIZE / 8)
            .flat_map(u64::to_le_bytes)
            .collect()
    }
}
