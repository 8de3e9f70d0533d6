//! The demo guest's only process. It judges both disks before it writes anything, says so on
//! the console, then goes on with the ledger and a load of random writes until the power
//! button is pressed. As process 1 it never exits: it powers off, or it waits.

mod disks;
mod kernel;
mod load;
mod power;
mod settings;
mod writer;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use farshore_ledger::{ConsoleEvent, ConsoleLine, Verdict, judge};

use crate::settings::Settings;

/// How often something that waits for the power button looks at it.
const POLL: Duration = Duration::from_millis(100);

fn main() {
    let stop = Arc::new(AtomicBool::new(false));
    power::watch(&stop);
    if let Err(why) = run(&stop) {
        say(&ConsoleEvent::Fault(format!("{why:#}")));
        wait_for(&stop);
    }
    if let Err(why) = kernel::power_off() {
        say(&ConsoleEvent::Fault(format!("cannot power off: {why}")));
        loop {
            std::thread::park();
        }
    }
}

/// One life of the guest, from its verdict to the power button.
fn run(stop: &Arc<AtomicBool>) -> Result<()> {
    let settings = Settings::read();
    let mut disks = disks::Disks::open()?;
    let survey = disks.survey()?;
    let verdict = judge(&survey, disks.witness()?, kernel::root_state());
    say(&ConsoleEvent::Verdict(verdict));
    explain(&verdict);
    if settings.check_only || !verdict.is_good() {
        // What a bad copy holds is evidence; nothing is written over it.
        wait_for(stop);
        return Ok(());
    }
    let load = load::start(&settings, stop);
    let last = writer::Writer::resume(disks, &survey)?.run(&settings, stop, |number| {
        say(&ConsoleEvent::Heartbeat(number));
    })?;
    if load.join().is_err() {
        say(&ConsoleEvent::Fault("the load thread panicked".to_owned()));
    }
    say(&ConsoleEvent::Stopped(last));
    Ok(())
}

/// The verdict for people.
fn explain(verdict: &Verdict) {
    let Verdict { last, chain, disks, file, root } = verdict;
    let file = file.map_or_else(|| "nothing".to_owned(), |n| n.to_string());
    print(&format!(
        "Farshore demo guest: last record {last}, chain {chain}, the file on disk 1 says {file}, \
         disks {disks}, root file system {root}"
    ));
}

fn say(event: &ConsoleEvent) {
    print(&ConsoleLine(event).to_string());
}

/// One line in one write, so that the kernel's lines cannot cut it. A console that does not
/// take it is nothing the guest could act on.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

fn wait_for(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(POLL);
    }
}
