//! `make bench`: every figure that Farshore promises, measured beside the real alternatives
//! in one run. Medians and ratios; nothing here passes or fails a build, because a busy
//! machine must never do so.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod circles;
mod copying;
mod cycles;
mod enabling;
mod failing;
mod lab;
mod machine;
mod plane;
mod points;
mod reading;
mod sessions;
mod sites;
mod soak;
mod table;
mod writing;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};
use farshore_e2e::host::{Outcome, PLACE_MACHINE, place_machine};

use lab::Lab;
use table::{Row, Table};

/// Measures Farshore beside the tools it is compared with.
#[derive(Parser)]
#[command(name = "bench")]
pub(crate) struct Arguments {
    /// The agent's program.
    agent: PathBuf,
    /// Only these groups; all by default.
    #[arg(long, value_enum)]
    only: Vec<Group>,
    /// Rounds of each comparison; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// Minutes that a guest is replicated every second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) soak_minutes: u64,
    /// Minutes that the control plane is measured at its full size.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) plane_minutes: u64,
    /// Where everything is made and thrown away again: several copies of a 4 GiB disk.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// Where the table goes, as Markdown.
    #[arg(long, default_value = "target/bench.md")]
    report: PathBuf,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Initial replication and resync.
    Copying,
    /// Cycles of small and large disks.
    Cycles,
    /// What reaches line and disk for what a guest writes.
    Writing,
    /// A thousand points, ten thousand cycles.
    Points,
    /// Sessions by certificates and by Kerberos.
    Sessions,
    /// The control plane with 5,000 machines on 200 hosts.
    Plane,
    /// From the order to protect a machine to its first cycle.
    Enabling,
    /// Failover and change of recovery point through the API.
    Failing,
    /// There and home ten times, and home after a disaster.
    Circles,
    /// Reading a disk that was brought up.
    Reading,
    /// A guest replicated every second, for long.
    Soak,
}

impl Group {
    fn run(self, lab: &Lab) -> Outcome<Vec<Row>> {
        match self {
            Group::Copying => copying::measure(lab),
            Group::Cycles => cycles::measure(lab),
            Group::Writing => writing::measure(lab),
            Group::Points => points::measure(lab),
            Group::Sessions => sessions::measure(lab),
            Group::Plane => plane::measure(lab),
            Group::Enabling => enabling::measure(lab),
            Group::Failing => failing::measure(lab),
            Group::Circles => circles::measure(lab),
            Group::Reading => reading::measure(lab),
            Group::Soak => soak::measure(lab),
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let result = match args.get(1).map(String::as_str) {
        Some(PLACE_MACHINE) => place_machine(&args[2..]),
        Some(plane::SWARM) => plane::swarm(&args[2..]),
        Some(sessions::IN_REALM) => sessions::in_realm(&args[2..]),
        _ => bench(Arguments::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: Arguments) -> Outcome<()> {
    let groups = match arguments.only.is_empty() {
        true => Group::value_variants().to_vec(),
        false => arguments.only.clone(),
    };
    let report = arguments.report.clone();
    let lab = Lab::new(arguments)?;
    let mut table = Table::new();
    for group in groups {
        let begun = Instant::now();
        println!("==> {group:?}");
        // One group that cannot be measured must not cost the others.
        match group.run(&lab) {
            Ok(rows) => table.add(rows),
            Err(why) => table.failed(&format!("{group:?}"), &why),
        }
        println!("    {:.0} s", begun.elapsed().as_secs_f64());
    }
    print!("{}", table.text());
    table.save(&report)?;
    println!("report: {}", report.display());
    if table.is_whole() { Ok(()) } else { Err("not everything could be measured".to_owned()) }
}
