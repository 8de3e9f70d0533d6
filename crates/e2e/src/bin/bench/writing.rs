//! What reaches the line and the replica's disk for what a guest writes.

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use farshore_e2e::host::{Outcome, Replicates, run};

use crate::{
    lab::{Lab, Pair, pick, written_by},
    machine::{MACHINE, Machine, wait_cycle},
    table::{Row, mib},
};

/// Disk that is written to.
const DISK: u64 = 4 << 30;
/// Times that it is written to, and the time between them: long enough that the newest
/// point is published in between, as it is every five minutes.
const BATCHES: u64 = 16;
const EVERY: Duration = Duration::from_secs(20);

/// A way of writing.
struct Load {
    pair: Pair,
    machine: Machine,
    /// Bytes of one write.
    len: u64,
    /// Writes of one batch.
    writes: u64,
    /// Bytes of disk that they are spread over.
    area: u64,
    /// Where the writes go: the same places for loads of the same kind.
    random: Random,
    sent_before: u64,
    written_before: u64,
    dirtied: u64,
}

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    // Bytes are counted, not seconds: the loads can run side by side.
    let mut loads = [
        Load::start(lab, 64 << 10, 1024, 2 << 30, "on")?,
        Load::start(lab, 4 << 10, 4096, 256 << 20, "off")?,
        Load::start(lab, 4 << 10, 4096, 256 << 20, "on")?,
    ];
    for batch in 0..BATCHES {
        let begun = Instant::now();
        for load in &mut loads {
            load.write(lab, batch)?;
        }
        sleep(EVERY.saturating_sub(begun.elapsed()));
    }
    let [large, whole, small] = loads;
    let (large, whole, small) = (large.finish()?, whole.finish()?, small.finish()?);
    let ratio = large.written as f64 / large.sent.max(1) as f64;
    let shown = |measure: &str, load: &Written| {
        let per = |bytes: u64| bytes as f64 / load.dirtied.max(1) as f64;
        Row::shown(
            measure,
            format!("sent {}, written {}", mib(load.sent), mib(load.written)),
            format!("dirtied {}", mib(load.dirtied)),
            format!("sent {:.2} ×, written {:.2} ×", per(load.sent), per(load.written)),
        )
    };
    Ok(vec![
        Row::ratio(
            "written to the replica's disk for 1 GiB in 64 KiB writes, points published, against bytes received",
            (mib(large.written), mib(large.sent)),
            ratio,
            ("≤ 1.15 ×", 1.15),
        ),
        shown("4 KiB random writes, `small_writes` off: sent and written per byte dirtied", &whole),
        shown("4 KiB random writes, `small_writes` on: sent and written per byte dirtied", &small),
    ])
}

impl Load {
    fn start(lab: &Lab, len: u64, writes: u64, area: u64, small_writes: &str) -> Outcome<Load> {
        let mut pair = lab.pair()?;
        let disk = pair.home.dir.join("images/vda.qcow2");
        run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg(DISK.to_string()))?;
        let mut machine = Machine::start(&pair.home, &disk)?;
        // What is overwritten was files before, not nothing.
        let pieces = lab.pieces(1 << 20, 128)?;
        for at in 0..area >> 20 {
            machine.write(pick(&pieces, at), at << 20, 1 << 20)?;
        }
        let on =
            Replicates { machine: MACHINE, to: &pair.away, frequency: "5s", compression: "on", small_writes };
        pair.home.configure(&[on])?;
        pair.home.start_agent()?;
        wait_cycle(&pair.home, "", 0)?;
        let mut load = Load {
            pair,
            machine,
            len,
            writes,
            area,
            random: Random(0x5eed),
            sent_before: 0,
            written_before: 0,
            dirtied: 0,
        };
        (load.sent_before, load.written_before) = load.counters()?;
        Ok(load)
    }

    fn write(&mut self, lab: &Lab, batch: u64) -> Outcome<()> {
        let pieces = lab.pieces(self.len, 512)?;
        let places = self.random.places(self.area / self.len, self.writes);
        for (i, place) in (0..).zip(places) {
            let piece = pick(&pieces, batch * 131 + i);
            self.machine.write(piece, place * self.len, self.len)?;
        }
        self.dirtied += self.writes * self.len;
        Ok(())
    }

    /// Bytes sent and written so far.
    fn counters(&self) -> Outcome<(u64, u64)> {
        let sent = self.pair.home.source()?.details["totals"]["sent"].as_u64().unwrap_or(0);
        let pid = self.pair.away.agent_pid().ok_or("the target's agent is gone")?;
        Ok((sent, written_by(pid)?))
    }

    fn finish(self) -> Outcome<Written> {
        // Two more cycles: everything written has arrived.
        for _ in 0..2 {
            let source = self.pair.home.source()?;
            let id = source.details["last_cycle"]["id"].as_str().unwrap_or_default().to_owned();
            wait_cycle(&self.pair.home, &id, 0)?;
        }
        let (sent, written) = self.counters()?;
        Ok(Written {
            sent: sent - self.sent_before,
            written: written - self.written_before,
            dirtied: self.dirtied,
        })
    }
}

/// What came of a load, in bytes.
struct Written {
    sent: u64,
    written: u64,
    dirtied: u64,
}

/// A small generator: the same places on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// `count` different numbers below `below`, in the order of the disk.
    pub(crate) fn places(&mut self, below: u64, count: u64) -> Vec<u64> {
        let mut places = std::collections::BTreeSet::new();
        while (places.len() as u64) < count.min(below) {
            places.insert(self.next() % below);
        }
        places.into_iter().collect()
    }
}
