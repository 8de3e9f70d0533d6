//! Reading a disk that was brought up, as QEMU reads it: through its overlay, beside a
//! plain qcow2 with the same content, and that under an overlay of stock make.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use farshore_agent::control::BroughtUp;
use farshore_e2e::host::{Outcome, run};

use crate::{
    copying::initial,
    lab::{Lab, Pair, text, timed},
    machine::{MACHINE, copy},
    table::{Row, median, over, secs},
};

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let (packed, plain) = (brought_up(lab, "on")?, brought_up(lab, "off")?);
    let flat = copy(&packed.1, packed.0.away.dir.join("flat.qcow2"))?;
    // What a block pull does, without a guest.
    run(Command::new("qemu-img").args(["rebase", "-f", "qcow2", "-b", ""]).arg(&flat))?;
    let original = lab.disk_of_files()?;
    let stock = packed.0.away.dir.join("stock-overlay.qcow2");
    let create = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"];
    run(Command::new("qemu-img").args(create).arg(fs::canonicalize(&original).map_err(text)?).arg(&stock))?;
    let disks = [original.as_path(), &plain.1, &packed.1, &flat, &stock];
    let mut large = vec![Vec::new(); disks.len()];
    let mut small = vec![Vec::new(); disks.len()];
    for _ in 0..lab.arguments.rounds {
        for (index, disk) in disks.iter().enumerate() {
            large[index].push(read(disk, 64 << 10, 65_536)?);
            small[index].push(read(disk, 4 << 10, 65_536)?);
        }
    }
    let large: Vec<Duration> = large.iter().map(|t| median(t)).collect();
    let small: Vec<Duration> = small.iter().map(|t| median(t)).collect();
    let row = |what: &str, times: &[Duration], index: usize, reach| {
        beside("a plain qcow2", what, times[0], times[index], reach)
    };
    let beside_stock = |what: &str, times: &[Duration]| {
        beside("a stock overlay of a plain qcow2", what, times[4], times[1], false)
    };
    Ok(vec![
        row("plain replica, 4 GiB in 64 KiB", &large, 1, true),
        row("flattened, 4 GiB in 64 KiB", &large, 3, true),
        row("compressed replica, 4 GiB in 64 KiB", &large, 2, false),
        // An overlay costs a lookup more for each request, whoever made it.
        row("plain replica, 256 MiB in 4 KiB", &small, 1, false),
        beside_stock("plain replica, 256 MiB in 4 KiB", &small),
        row("flattened, 256 MiB in 4 KiB", &small, 3, true),
        row("compressed replica, 256 MiB in 4 KiB", &small, 2, false),
    ])
}

fn beside(other: &str, what: &str, theirs: Duration, ours: Duration, reach: bool) -> Row {
    let speed = over(theirs, ours);
    Row {
        measure: format!("reading a brought-up disk, {what}, against {other}: speed"),
        ours: secs(ours),
        against: secs(theirs),
        figure: format!("{speed:.2} ×"),
        reach: if reach { "≥ 0.9 ×" } else { "shown" },
        reached: reach.then_some(speed >= 0.9),
    }
}

/// Replicated and brought up, but not started: the hosts and the overlay.
fn brought_up(lab: &Lab, compression: &str) -> Outcome<(Pair, PathBuf)> {
    let (mut pair, _, _) = initial(lab, compression)?;
    let _ = pair.home.kill_machines();
    pair.home.kill_agent();
    let up: BroughtUp = pair.away.command(&["bring-up", MACHINE, "--no-start", "--force"])?;
    let overlay = up.disks.into_iter().next().ok_or("no disk was brought up")?.1;
    Ok((pair, overlay))
}

/// Reads `count` times `len` bytes one after the other, sixteen at once.
fn read(disk: &Path, len: u64, count: u64) -> Outcome<Duration> {
    let (len, count) = (len.to_string(), count.to_string());
    let how = ["bench", "-q", "-U", "-f", "qcow2", "-d", "16", "-s", &len, "-c", &count];
    Ok(timed(|| run(Command::new("qemu-img").args(how).arg(disk)))?.1.wall)
}
