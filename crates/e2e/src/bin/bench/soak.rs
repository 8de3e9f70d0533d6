//! A real guest that writes, replicated every second for long: nothing may be missed, and
//! nothing may grow.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use farshore_e2e::host::{Outcome, Replicates, TestHost};
use farshore_guest::{Accelerator, Guest, Load, domain_xml, read_verdicts};
use farshore_hypervisor::Start;

use crate::{
    lab::{Lab, Pair, descriptors, memory, text},
    machine::{number, wait_cycle},
    table::{Row, median, mib},
};

/// Name of the guest.
const GUEST: &str = "soak";
/// How often the agents are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(900);

/// What one look at both agents saw.
struct Look {
    memory: u64,
    descriptors: usize,
}

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let pair = start(lab)?;
    let length = Duration::from_secs(lab.arguments.soak_minutes * 60);
    let (mut cycles, mut looks) = (BTreeMap::new(), Vec::new());
    let (begun, missed_before) = (Instant::now(), missed(&pair.home)?);
    while begun.elapsed() < length {
        let source = pair.home.source()?;
        let cycle = &source.details["last_cycle"];
        cycles.insert(begun.elapsed().as_millis(), number(cycle, "took_ms"));
        looks.push(look(&pair)?);
        sleep(LOOK_EVERY);
    }
    let missed = missed(&pair.home)? - missed_before;
    let took: Vec<u64> = cycles.into_values().collect();
    let quarter = (took.len() / 4).max(1);
    let (early, late) = (median(&took[..quarter]), median(&took[took.len() - quarter..]));
    let minutes = lab.arguments.soak_minutes;
    Ok(vec![
        Row {
            measure: format!("{minutes} min of 1 s cycles of a writing guest: cycles missed"),
            ours: format!("{missed} of {}", length.as_secs()),
            against: String::new(),
            figure: missed.to_string(),
            reach: "none",
            reached: Some(missed == 0),
        },
        growth("latency of a cycle in ms", early, late, 1.2, |ms| ms.to_string()),
        growth(
            "memory of both agents",
            early_of(&looks, |l| l.memory),
            late_of(&looks, |l| l.memory),
            1.1,
            mib,
        ),
        growth(
            "descriptors of both agents",
            early_of(&looks, |l| l.descriptors as u64),
            late_of(&looks, |l| l.descriptors as u64),
            1.0,
            |n| n.to_string(),
        ),
    ])
}

/// The first quarter warms up; what counts is from the second to the last.
fn early_of(looks: &[Look], of: impl Fn(&Look) -> u64) -> u64 {
    let quarter = looks.len() / 4;
    median(&looks[quarter..(2 * quarter).max(quarter + 1)].iter().map(of).collect::<Vec<_>>())
}

fn late_of(looks: &[Look], of: impl Fn(&Look) -> u64) -> u64 {
    let quarter = (looks.len() / 4).max(1);
    median(&looks[looks.len() - quarter..].iter().map(of).collect::<Vec<_>>())
}

/// A figure early and late; more than noise (`most` times) is growth.
fn growth(what: &str, early: u64, late: u64, most: f64, show: impl Fn(u64) -> String) -> Row {
    let ratio = late as f64 / early.max(1) as f64;
    Row {
        measure: format!("growth meanwhile: {what}"),
        ours: show(late),
        against: format!("{} early on", show(early)),
        figure: format!("{ratio:.2} ×"),
        reach: "none",
        reached: Some(ratio <= most),
    }
}

fn start(lab: &Lab) -> Outcome<Pair> {
    let image = farshore_guest::build(&farshore_guest::default_out_dir()).map_err(text)?;
    let mut pair = lab.pair()?;
    let disks = image.copy_to(&pair.home.dir.join("images")).map_err(text)?;
    let console = pair.home.dir.join("console.log");
    let xml = domain_xml(&Guest {
        name: GUEST.to_owned(),
        uuid: uuid::Uuid::new_v4().to_string(),
        disk1: disks.disk1,
        disk2: disks.disk2,
        console: console.clone(),
        accelerator: Accelerator::from_environment(),
        load: Load::default(),
    });
    pair.home.place(&xml, Start::Running)?;
    let begun = Instant::now();
    while read_verdicts(&console).unwrap_or_default().is_empty() {
        if begun.elapsed() > Duration::from_secs(120) {
            return Err("the guest does not boot".to_owned());
        }
        sleep(Duration::from_millis(200));
    }
    let every =
        Replicates { machine: GUEST, to: &pair.away, frequency: "1s", compression: "on", small_writes: "on" };
    pair.home.configure(&[every])?;
    pair.home.start_agent()?;
    wait_cycle(&pair.home, "", 0)?;
    // The initial copy is not what is measured.
    sleep(Duration::from_secs(10));
    Ok(pair)
}

fn missed(home: &TestHost) -> Outcome<u64> {
    Ok(number(&home.source()?.details["totals"], "missed"))
}

fn look(pair: &Pair) -> Outcome<Look> {
    let mut look = Look { memory: 0, descriptors: 0 };
    for pid in [pair.home.agent_pid(), pair.away.agent_pid()] {
        let pid = pid.ok_or("an agent is gone")?;
        look.memory += memory(pid)?;
        look.descriptors += descriptors(pid)?;
    }
    Ok(look)
}
