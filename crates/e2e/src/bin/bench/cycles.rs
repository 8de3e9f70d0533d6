//! Cycles: what a large disk costs, what a cycle with nothing to do costs, and memory.

use std::{
    collections::BTreeMap,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use farshore_e2e::host::{Outcome, Replicates, run};

use crate::{
    lab::{Lab, Pair, peak_memory, pick},
    machine::{MACHINE, Machine, number, wait_cycle},
    table::{Row, median, mib},
};

/// Bytes of one write.
const PIECE: u64 = 1 << 20;
/// Writes of one cycle: 64 MiB.
const PIECES: u64 = 64;
/// Empty cycles looked at.
const EMPTY: usize = 15;

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let small = one_size(lab, 10 << 30)?;
    let large = one_size(lab, 1 << 40)?;
    let ms = |ms: u64| format!("{ms} ms");
    Ok(vec![
        Row::ratio(
            "one cycle with 64 MiB dirty: 1 TiB sparse disk against 10 GiB",
            (ms(large.cycle), ms(small.cycle)),
            large.cycle as f64 / small.cycle.max(1) as f64,
            ("≤ 1.2 ×", 1.2),
        ),
        Row {
            measure: "our own time in a cycle with nothing dirty (1 TiB disk)".to_owned(),
            ours: ms(large.own),
            against: format!("libvirt's calls: {} ms", large.libvirt),
            figure: ms(large.own),
            reach: "≤ 50 ms",
            reached: Some(large.own <= 50),
        },
        Row {
            measure: "resident memory of each agent with a 1 TiB disk, most ever".to_owned(),
            ours: format!("source {}, target {}", mib(large.source), mib(large.target)),
            against: String::new(),
            figure: mib(large.source.max(large.target)),
            reach: "≤ 256 MiB",
            reached: Some(large.source.max(large.target) <= 256 << 20),
        },
    ])
}

/// What one size of disk gave; times in milliseconds, memory in bytes.
struct Figures {
    cycle: u64,
    own: u64,
    libvirt: u64,
    source: u64,
    target: u64,
}

fn one_size(lab: &Lab, size: u64) -> Outcome<Figures> {
    let mut pair = lab.pair()?;
    let disk = pair.home.dir.join("images/vda.qcow2");
    let create = ["create", "-q", "-f", "qcow2"];
    run(Command::new("qemu-img").args(create).arg(&disk).arg(size.to_string()))?;
    let mut machine = Machine::start(&pair.home, &disk)?;
    let replicates = Replicates {
        machine: MACHINE,
        to: &pair.away,
        frequency: "2s",
        compression: "auto",
        small_writes: "on",
    };
    pair.home.configure(&[replicates])?;
    pair.home.start_agent()?;
    wait_cycle(&pair.home, "", 0)?;
    let pieces = lab.pieces(1 << 20, 128)?;
    let mut took = Vec::new();
    // The first one also allocates, and does not count.
    for round in 0..=lab.arguments.rounds {
        let cycle = dirty_cycle(&pair, |i| {
            let piece = pick(&pieces, u64::from(round) * 67 + i);
            machine.write(piece, i * (size / PIECES), PIECE)
        })?;
        took.push(number(&cycle, "took_ms"));
    }
    println!("    {} GiB: cycles of 64 MiB in ms {took:?}", size >> 30);
    let (own, libvirt) = empty_cycles(&pair)?;
    let pid = |pid: Option<u32>| pid.ok_or("an agent is gone");
    Ok(Figures {
        cycle: median(&took[1..]),
        own,
        libvirt,
        source: peak_memory(pid(pair.home.agent_pid())?)?,
        target: peak_memory(pid(pair.away.agent_pid())?)?,
    })
}

/// Writes right after a cycle has ended, until one cycle has caught all of it.
fn dirty_cycle(pair: &Pair, mut write: impl FnMut(u64) -> Outcome<()>) -> Outcome<serde_json::Value> {
    for _ in 0..10 {
        let now = id(pair)?;
        let ended = wait_cycle(&pair.home, &now, 0)?;
        let ended = ended["id"].as_str().unwrap_or_default().to_owned();
        for i in 0..PIECES {
            write(i)?;
        }
        let next = wait_cycle(&pair.home, &ended, 0)?;
        if number(&next, "dirty") >= PIECE * PIECES {
            return Ok(next);
        }
    }
    Err("no cycle caught all writes".to_owned())
}

fn id(pair: &Pair) -> Outcome<String> {
    Ok(pair.home.source()?.details["last_cycle"]["id"].as_str().unwrap_or_default().to_owned())
}

/// Milliseconds of empty cycles: our own, and those in libvirt's calls.
fn empty_cycles(pair: &Pair) -> Outcome<(u64, u64)> {
    let (mut seen, begun) = (BTreeMap::new(), Instant::now());
    while seen.len() < EMPTY {
        if begun.elapsed() > Duration::from_secs(120) {
            return Err("too few empty cycles in 120 s".to_owned());
        }
        let cycle = pair.home.source()?.details["last_cycle"].clone();
        if number(&cycle, "dirty") == 0 {
            let (all, theirs) = (number(&cycle, "took_ms"), number(&cycle, "hypervisor_ms"));
            seen.insert(cycle["id"].to_string(), (all.saturating_sub(theirs), theirs));
        }
        sleep(Duration::from_millis(300));
    }
    let (own, theirs): (Vec<u64>, Vec<u64>) = seen.into_values().unzip();
    Ok((median(&own), median(&theirs)))
}
