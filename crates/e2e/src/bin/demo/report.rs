//! The demo's report: what was measured, in lines for people. Knows numbers; must never
//! know how they came about.

use std::{fmt::Write, fs, path::Path, time::Duration};

use farshore_e2e::host::Outcome;
use farshore_guest::Verdict;
use farshore_types::PointId;

/// One point brought up, and the guest's own word on it.
pub(crate) struct BroughtUp {
    pub(crate) point: PointId,
    /// The guest's life between this point and the loss.
    pub(crate) age: Duration,
    /// From the command to the running machine.
    pub(crate) running: Duration,
    /// From the command to the verdict on the guest's console.
    pub(crate) verdict_after: Duration,
    pub(crate) verdict: Verdict,
}

/// One guest's way back.
pub(crate) struct CameBack {
    pub(crate) machine: String,
    pub(crate) points: usize,
    /// Last record on the guest's own disk when its site was lost.
    pub(crate) last_written: u64,
    /// Age of the newest point when the site was lost.
    pub(crate) rpo: Duration,
    pub(crate) brought_up: Vec<BroughtUp>,
}

/// Bytes of all guests before the loss.
pub(crate) struct Traffic {
    pub(crate) written: u64,
    pub(crate) sent: u64,
}

/// All that the demo measured.
pub(crate) struct Report {
    pub(crate) traffic: Traffic,
    pub(crate) stored: u64,
    pub(crate) guests: Vec<CameBack>,
}

impl Report {
    /// Whether every verdict was good.
    pub(crate) fn is_good(&self) -> bool {
        let whole = |b: &BroughtUp| b.verdict.is_good() && b.verdict.last > 0;
        !self.guests.is_empty()
            && self
                .guests
                .iter()
                .all(|guest| !guest.brought_up.is_empty() && guest.brought_up.iter().all(whole))
    }

    pub(crate) fn text(&self) -> String {
        let mut out: String = self.guests.iter().map(CameBack::text).collect();
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
        let verdict = if self.is_good() { "the data is whole at every point shown" } else { "NOT WHOLE" };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "written by QEMU    {}", mib(self.traffic.written));
        let _ = writeln!(out, "sent               {}", mib(self.traffic.sent));
        let _ = writeln!(out, "stored             {}", mib(self.stored));
        let _ = writeln!(out, "verdict            {verdict}");
        out
    }

    pub(crate) fn save(&self, path: &Path) -> Outcome<()> {
        fs::write(path, self.text()).map_err(|e| format!("writing {}: {e}", path.display()))
    }
}

impl CameBack {
    fn text(&self) -> String {
        let (points, rpo) = (self.points, self.rpo.as_secs_f64());
        let mut out =
            format!("{:<18} {points} points kept, the newest {rpo:.1} s old at the loss\n", self.machine);
        for (n, b) in self.brought_up.iter().enumerate() {
            let lost = self.last_written.saturating_sub(b.verdict.last);
            let which = if n == 0 { "newest" } else { "older" };
            let _ = writeln!(
                out,
                "  point {:<10} {which}, {:.1} s before the loss: running after {:.2} s, verdict after {:.1} s",
                b.point.to_string(),
                b.age.as_secs_f64(),
                b.running.as_secs_f64(),
                b.verdict_after.as_secs_f64()
            );
            let _ = writeln!(
                out,
                "                   last record {}, chain {}, disks {}; {lost} of {} records lost",
                b.verdict.last, b.verdict.chain, b.verdict.disks, self.last_written
            );
        }
        out
    }
}
