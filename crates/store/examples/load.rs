//! What the vault's usual load costs its store: protections that report a cycle every 30 s,
//! and a few transactions a second besides. Says how often the database wrote, what came to
//! the disk, and the processor time.
//!
//! ```text
//! cargo run --release -p farshore-store --example load -- [STORE] [SECONDS] [PROTECTIONS]
//! ```
//! Without a store it makes a SQLite file in a temporary folder.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::{
    error::Error,
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use farshore_store::{Changes, Expect, Location, Options, Retention, RowId, Sample, Store, Table};
use nix::sys::resource::{UsageWho, getrusage};

/// How often each protection reports.
const CYCLE: Duration = Duration::from_secs(30);
/// Reports within so many milliseconds are one figure of a series.
const BUCKET_MS: u64 = 300_000;
/// Transactions a second besides: steps of jobs, states that change.
const TRANSACTIONS_PER_SEC: u64 = 5;
const TICK: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = tempfile::tempdir()?;
    let default = folder.path().join("vault.db").to_string_lossy().into_owned();
    let text = arguments.next().filter(|text| !text.is_empty()).unwrap_or(default);
    let seconds = arguments.next().map_or(Ok(60), |text| text.parse())?;
    let protections = arguments.next().map_or(Ok(5_000), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(&text, seconds, protections))
}

async fn run(text: &str, seconds: u64, protections: u64) -> Result<(), Box<dyn Error>> {
    let location = Location::parse(text)?;
    let keep = Duration::from_secs(86_400);
    let retention = vec![Retention { table: Table::Samples, name: "cycles".into(), keep }];
    let (store, loaded) = Store::open(location, Options { retention, ..Options::default() }).await?;
    println!("{}: {} rows, schema {}", store.location(), loaded.rows.len(), farshore_store::SCHEMA);
    fill(&store, protections).await?;
    let (before, cpu, disk) = (store.figures(), cpu_time()?, written_bytes());
    let (reports, mut latencies) = load(&store, seconds, protections).await?;
    store.flush().await?;
    let (after, cpu, disk) = (store.figures(), cpu_time()? - cpu, written_bytes() - disk);
    latencies.sort();
    let share = |part: usize| latencies.get(latencies.len() * part / 100).copied().unwrap_or_default();
    let secs = Duration::from_secs(seconds).as_secs_f64();
    let per_sec = |count: u64| count as f64 / secs;
    println!("{protections} protections, one report each every {} s, for {seconds} s", CYCLE.as_secs());
    println!("reports               {reports} ({:.0} a second)", per_sec(reports));
    let commits = after.commits - before.commits;
    println!("database transactions {commits} ({:.2} a second)", per_sec(commits));
    let (transactions, samples) = (after.transactions - before.transactions, after.samples - before.samples);
    println!("  for {transactions} callers' transactions and {samples} samples");
    println!(
        "written to disk       {} KiB ({:.0} a second), of this process",
        disk / 1024,
        per_sec(disk / 1024)
    );
    println!(
        "processor             {:.2} s: {:.2} % of one core",
        cpu.as_secs_f64(),
        100.0 * cpu.as_secs_f64() / secs
    );
    println!("commit                median {:?}, 99 % {:?}", share(50), share(99));
    store.close().await;
    Ok(())
}

/// The rows of a vault with so many protections.
async fn fill(store: &Store, protections: u64) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let ids: Vec<u64> = (0..protections).collect();
    for part in ids.chunks(1_000) {
        let changes = part.iter().fold(Changes::new(), |changes, n| {
            changes.put(RowId::new("protection", n.to_string()), Expect::Anything, body(*n, 700))
        });
        store.commit(changes).await?;
    }
    println!("{protections} rows written in {:?}", began.elapsed());
    Ok(())
}

async fn load(store: &Store, seconds: u64, protections: u64) -> Result<(u64, Vec<Duration>), Box<dyn Error>> {
    let (mut reports, mut transactions, mut latencies) = (0, 0, Vec::new());
    let (began, mut ticks) = (Instant::now(), tokio::time::interval(TICK));
    while began.elapsed() < Duration::from_secs(seconds) {
        ticks.tick().await;
        let elapsed_ms = u64::try_from(began.elapsed().as_millis())?;
        let due = protections * elapsed_ms / u64::try_from(CYCLE.as_millis())?;
        for n in reports..due {
            let subject = (n % protections).to_string();
            let at_ms = now_ms() / BUCKET_MS * BUCKET_MS;
            store.note(Sample { series: "cycles".into(), subject, at_ms, body: body(n, 200).into() })?;
        }
        reports = due;
        while transactions < TRANSACTIONS_PER_SEC * elapsed_ms / 1_000 {
            let id = RowId::new("protection", (transactions * 37 % protections).to_string());
            let changes = Changes::new().put(id, Expect::Present, body(transactions, 700));
            let asked = Instant::now();
            store.commit(changes.event("job", "m", now_ms(), body(transactions, 150))).await?;
            latencies.push(asked.elapsed());
            transactions += 1;
        }
    }
    Ok((reports, latencies))
}

fn body(n: u64, len: usize) -> Vec<u8> {
    let mut body = format!("{{\"number\":{n},\"pad\":\"").into_bytes();
    body.resize(len, b'x');
    body
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    Ok(Duration::from_micros(u64::try_from(micros(usage.user_time()) + micros(usage.system_time()))?))
}

/// What this process caused to be written, as the kernel counts it; 0 where it does not.
fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}
