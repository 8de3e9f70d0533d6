//! Statistics of cycles over the last hours. Agents tell sums since they started; what
//! counts here is what was added, so that neither a restart nor a lost report is counted
//! twice or taken back.

use std::collections::VecDeque;

use farshore_control::report::CycleTotals;
use serde::{Deserialize, Serialize};

/// Milliseconds that one slot covers.
const SLOT_MS: u64 = 15 * 60 * 1000;
/// Slots kept: half a day, the model system's monitoring interval.
const SLOTS_MAX: u64 = 48;

/// What was added over an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleStats {
    /// Sums of the interval.
    pub totals: CycleTotals,
    /// Bytes that the largest cycle sent, of those that were told of one by one.
    pub largest: u64,
    /// Milliseconds that the slowest cycle took, of those.
    pub slowest_ms: u64,
}

impl CycleStats {
    /// Share of ticks at which no cycle could begin, from 0 to 1; none where there was none.
    #[must_use]
    pub fn missed_share(&self) -> Option<f64> {
        let ticks = self.totals.cycles + self.totals.missed;
        #[expect(clippy::cast_precision_loss, reason = "counts of half a day")]
        (ticks > 0).then(|| self.totals.missed as f64 / ticks as f64)
    }

    /// Mean milliseconds of a cycle; none where there was none.
    #[must_use]
    pub fn mean_ms(&self) -> Option<u64> {
        self.totals.took_ms.checked_div(self.totals.cycles)
    }

    fn add(&mut self, other: &CycleStats) {
        let (ours, theirs) = (&mut self.totals, &other.totals);
        ours.cycles += theirs.cycles;
        ours.missed += theirs.missed;
        ours.failed += theirs.failed;
        ours.sent += theirs.sent;
        ours.took_ms += theirs.took_ms;
        ours.resyncs += theirs.resyncs;
        self.largest = self.largest.max(other.largest);
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
    }
}

/// Part of a [`CycleWindow`], as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCycles {
    last: Option<(String, CycleTotals)>,
    slots: Vec<(u64, CycleStats)>,
}

/// One protection's cycles of the last half day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleWindow {
    /// The agent's run, as text, and its sums when it was last heard.
    last: Option<(String, CycleTotals)>,
    /// By number of quarter hours.
    slots: VecDeque<(u64, CycleStats)>,
}

impl CycleWindow {
    /// Notes the sums of an agent's run, and of its last cycle the bytes sent and the
    /// milliseconds taken.
    pub fn note(&mut self, now_ms: u64, run: &str, totals: CycleTotals, last: Option<(u64, u64)>) {
        let before = match &self.last {
            Some((known, before)) if known == run => *before,
            // A run that has begun since begins at zero.
            Some(_) => CycleTotals::default(),
            // Of what was before the first look, nobody knows in which half day it was.
            None => totals,
        };
        self.last = Some((run.to_owned(), totals));
        let (largest, slowest_ms) = last.unwrap_or_default();
        let added = CycleStats { totals: difference(&totals, &before), largest, slowest_ms };
        if added.totals == CycleTotals::default() {
            return;
        }
        let slot = now_ms / SLOT_MS;
        match self.slots.back_mut() {
            Some((known, stats)) if *known >= slot => stats.add(&added),
            _ => self.slots.push_back((slot, added)),
        }
        while self.slots.front().is_some_and(|(known, _)| known + SLOTS_MAX <= slot) {
            self.slots.pop_front();
        }
    }

    /// What has to be kept to go on after a restart: the sums heard last, and the
    /// quarter hours from `since_ms` on.
    #[must_use]
    pub fn kept(&self, since_ms: u64) -> KeptCycles {
        let slots = self.slots.iter().filter(|(slot, _)| (slot + 1) * SLOT_MS > since_ms);
        KeptCycles { last: self.last.clone(), slots: slots.copied().collect() }
    }

    /// Takes back what was kept, in the order of time.
    pub fn restore(&mut self, kept: KeptCycles) {
        self.last = kept.last.or(self.last.take());
        let newest = self.slots.back().map(|(slot, _)| *slot);
        self.slots.extend(kept.slots.into_iter().filter(|(slot, _)| newest.is_none_or(|n| *slot > n)));
    }

    /// What was added over the last half day.
    #[must_use]
    pub fn stats(&self, now_ms: u64) -> CycleStats {
        let first = (now_ms / SLOT_MS + 1).saturating_sub(SLOTS_MAX);
        let mut sum = CycleStats::default();
        self.slots.iter().filter(|(slot, _)| *slot >= first).for_each(|(_, stats)| sum.add(stats));
        sum
    }
}

fn difference(now: &CycleTotals, before: &CycleTotals) -> CycleTotals {
    CycleTotals {
        cycles: now.cycles.saturating_sub(before.cycles),
        missed: now.missed.saturating_sub(before.missed),
        failed: now.failed.saturating_sub(before.failed),
        sent: now.sent.saturating_sub(before.sent),
        took_ms: now.took_ms.saturating_sub(before.took_ms),
        resyncs: now.resyncs.saturating_sub(before.resyncs),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(cycles: u64, missed: u64) -> CycleTotals {
        CycleTotals { cycles, missed, sent: cycles * 1000, took_ms: cycles * 300, ..CycleTotals::default() }
    }

    #[test]
    fn a_restart_and_a_lost_report_are_counted_once() {
        let mut window = CycleWindow::default();
        window.note(0, "a", sums(0, 0), None);
        window.note(0, "a", sums(10, 1), Some((5000, 400)));
        window.note(1000, "a", sums(10, 1), None);
        window.note(60_000, "a", sums(30, 1), None);
        window.note(70_000, "b", sums(5, 4), Some((100, 9000)));
        let stats = window.stats(70_000);
        assert_eq!((stats.totals.cycles, stats.totals.missed, stats.totals.sent), (35, 5, 35_000));
        assert_eq!((stats.largest, stats.slowest_ms, stats.mean_ms()), (5000, 9000, Some(300)));
        assert_eq!(stats.missed_share(), Some(0.125));
        assert_eq!(CycleStats::default().missed_share(), None);
    }

    #[test]
    fn what_is_older_than_half_a_day_is_forgotten() {
        let mut window = CycleWindow::default();
        window.note(0, "a", sums(0, 0), None);
        for quarter in 0..100u64 {
            window.note(quarter * SLOT_MS, "a", sums(quarter + 1, 0), None);
        }
        assert_eq!(window.stats(99 * SLOT_MS).totals.cycles, SLOTS_MAX);
        assert_eq!(window.stats(1000 * SLOT_MS).totals.cycles, 0);
        assert_eq!(window.slots.len() as u64, SLOTS_MAX);
    }

    #[test]
    fn what_was_kept_goes_on_and_nothing_is_counted_again() {
        let mut window = CycleWindow::default();
        window.note(0, "a", sums(1000, 0), None);
        assert_eq!(window.stats(0).totals.cycles, 0, "what was before the first look is in no half day");
        window.note(SLOT_MS, "a", sums(1010, 0), None);
        window.note(5 * SLOT_MS, "a", sums(1030, 2), None);
        let mut again = CycleWindow::default();
        for since in [0, 4 * SLOT_MS] {
            again.restore(window.kept(since));
        }
        assert_eq!(again, window);
        again.note(5 * SLOT_MS, "a", sums(1031, 2), None);
        assert_eq!(again.stats(5 * SLOT_MS).totals.cycles, 31);
        assert_eq!(window.kept(4 * SLOT_MS).slots.len(), 1);
    }

    proptest! {
        #[test]
        fn all_that_runs_did_is_there_once(runs in prop::collection::vec(prop::collection::vec(0u64..50, 1..10), 1..6)) {
            let mut window = CycleWindow::default();
            window.note(5, "before", sums(1000, 0), None);
            let mut all = 0;
            for (run, steps) in runs.iter().enumerate() {
                let mut sum = 0;
                for step in steps {
                    sum += step;
                    window.note(5, &run.to_string(), sums(sum, 0), None);
                }
                all += sum;
            }
            prop_assert_eq!(window.stats(5).totals.cycles, all);
        }
    }
}
