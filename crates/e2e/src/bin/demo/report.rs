//! The demo's report: what was measured, in lines for people. Knows numbers; must never
//! know how they came about.

use std::{fmt::Write, fs, path::Path, time::Duration};

use farshore_e2e::host::Outcome;
use farshore_guest::Verdict;
use farshore_types::PointId;

/// One point brought up, and the guest's own word on it.
pub(crate) struct BroughtUp {
    pub(crate) point: PointId,
    /// Seconds of the guest's life between this point and its end.
    pub(crate) age: Duration,
    /// From the command to the running machine.
    pub(crate) running: Duration,
    /// From the command to the verdict on the guest's console.
    pub(crate) verdict_after: Duration,
    pub(crate) verdict: Verdict,
}

/// All that the demo measured.
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) points: usize,
    pub(crate) missed: u64,
    /// Last record on the guest's own disk when its host was lost.
    pub(crate) last_written: u64,
    /// Age of the newest point when the host was lost.
    pub(crate) rpo: Duration,
    pub(crate) written: u64,
    pub(crate) sent: u64,
    pub(crate) stored: u64,
    pub(crate) brought_up: Vec<BroughtUp>,
}

impl Report {
    /// Whether every verdict was good.
    pub(crate) fn is_good(&self) -> bool {
        !self.brought_up.is_empty()
            && self.brought_up.iter().all(|b| b.verdict.is_good() && b.verdict.last > 0)
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "machine            {}", self.machine);
        let _ = writeln!(out, "recovery points    {} kept, {} cycles missed", self.points, self.missed);
        let _ = writeln!(out, "at the loss        newest point {:.1} s old", self.rpo.as_secs_f64());
        for (n, b) in self.brought_up.iter().enumerate() {
            let lost = self.last_written.saturating_sub(b.verdict.last);
            let which = if n == 0 { "newest" } else { "older" };
            let _ = writeln!(
                out,
                "point {:<12} {which}, {:.1} s before the loss: running after {:.2} s, verdict after {:.1} s",
                b.point.to_string(),
                b.age.as_secs_f64(),
                b.running.as_secs_f64(),
                b.verdict_after.as_secs_f64()
            );
            let _ = writeln!(
                out,
                "                   guest says: last record {}, chain {}, disks {}; {lost} of {} records lost",
                b.verdict.last, b.verdict.chain, b.verdict.disks, self.last_written
            );
        }
        let _ = writeln!(out, "written by QEMU    {}", mib(self.written));
        let _ = writeln!(out, "sent               {}", mib(self.sent));
        let _ = writeln!(out, "stored             {}", mib(self.stored));
        let verdict = if self.is_good() { "the data is whole at every point shown" } else { "NOT WHOLE" };
        let _ = writeln!(out, "verdict            {verdict}");
        out
    }

    pub(crate) fn save(&self, path: &Path) -> Outcome<()> {
        fs::write(path, self.text()).map_err(|e| format!("writing {}: {e}", path.display()))
    }
}
