//! Which bytes of an image are free: pure bookkeeping in whole sectors.
//!
//! Three rules keep readers safe. A place is handed out only if nothing refers to it. A
//! place that becomes free is *quarantined* until nobody can be reading it any more. And
//! the unit is a sector, so that a torn write of new data cannot touch old data.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::{image::CLUSTER, sectors::Sectors};

/// Unit of allocation in bytes: what a disk writes whole or not at all.
pub(crate) const SECTOR: u64 = 512;

/// A free run at least this long is filled from its start, front to back; shorter ones
/// only where a piece fits best. Bytes.
const LONG_RUN: u64 = 1 << 20;

/// Runs looked at for one that happens to be aligned.
const TRIES: usize = 16;

/// Most free runs remembered. More are only forgotten until the store is next opened.
const RUNS_MAX: usize = 1 << 20;

/// The free places of one image file.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// First byte after everything that is or was in use; always whole sectors.
    end: u64,
    by_start: BTreeMap<u64, u64>,
    by_len: BTreeSet<(u64, u64)>,
    free: u64,
    quarantine: Sectors,
    quarantined: u64,
}

impl Space {
    /// A file of which `used` is in use.
    pub(crate) fn from_used(used: &Sectors) -> Space {
        let mut space = Space::default();
        for run in used.ranges() {
            space.insert(space.end..run.start);
            space.end = run.end;
        }
        space
    }

    /// First byte after everything in use.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Free bytes before the end, without those in quarantine.
    #[cfg(test)]
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    /// Bytes waiting in quarantine.
    pub(crate) fn quarantined(&self) -> u64 {
        self.quarantined
    }

    /// Takes `len` bytes at a place that is a multiple of `align` (a power of two, at
    /// least a sector).
    pub(crate) fn take(&mut self, len: u64, align: u64) -> u64 {
        let len = len.next_multiple_of(SECTOR);
        let found = self.longest(len, align).or_else(|| self.best_fit(len, align));
        if let Some((run, at)) = found {
            self.remove(run.start);
            self.insert(run.start..at);
            self.insert(at + len..run.end);
            return at;
        }
        let at = self.end.next_multiple_of(align);
        self.insert(self.end..at);
        self.end = at + len;
        at
    }

    /// The longest run, if it is long: filling such runs front to back keeps writes sequential.
    fn longest(&self, len: u64, align: u64) -> Option<(Range<u64>, u64)> {
        let (run_len, start) = *self.by_len.last()?;
        let at = start.next_multiple_of(align);
        (run_len >= LONG_RUN && at + len <= start + run_len).then_some((start..start + run_len, at))
    }

    /// The shortest run that will do: the first few that are long enough may happen to lie
    /// right; one longer by the alignment does for certain.
    fn best_fit(&self, len: u64, align: u64) -> Option<(Range<u64>, u64)> {
        let fits = |(run_len, start): &(u64, u64)| start.next_multiple_of(align) + len <= start + run_len;
        let mut near = self.by_len.range((len, 0)..).take(TRIES).filter(|run| fits(run));
        let sure = || self.by_len.range((len + align - SECTOR, 0)..).next();
        let (run_len, start) = *near.next().or_else(sure)?;
        Some((start..start + run_len, start.next_multiple_of(align)))
    }

    /// Gives back what was taken and never became part of anything: no reader knows it.
    pub(crate) fn give_back(&mut self, range: Range<u64>) {
        self.insert(range);
    }

    /// Frees what something may still be reading.
    pub(crate) fn quarantine(&mut self, range: Range<u64>) {
        self.quarantined += range.end - range.start;
        self.quarantine.insert(range);
    }

    /// Frees again, but only after a quarantine, all that is free now, up to `size`.
    pub(crate) fn quarantine_all(&mut self, size: u64) {
        let tail = self.end..size.next_multiple_of(SECTOR);
        let runs = self.by_start.iter().map(|(start, len)| *start..start + len);
        let held: Vec<Range<u64>> = runs.chain([tail]).filter(|r| !r.is_empty()).collect();
        held.iter().for_each(|r| self.remove(r.start));
        self.end = self.end.max(size.next_multiple_of(SECTOR));
        held.into_iter().for_each(|r| self.quarantine(r));
    }

    /// Ends the quarantine; the caller has seen that nobody reads. Returns the ranges
    /// that are now free, so that they can be punched.
    pub(crate) fn release(&mut self) -> Sectors {
        self.quarantined = 0;
        let released = std::mem::take(&mut self.quarantine);
        released.ranges().for_each(|run| self.insert(run));
        released
    }

    fn insert(&mut self, range: Range<u64>) {
        let range = range.start.next_multiple_of(SECTOR)..range.end.next_multiple_of(SECTOR);
        if range.is_empty() {
            return;
        }
        let mut joined = range;
        if let Some((start, len)) = self.by_start.range(..joined.start).next_back().map(|(s, l)| (*s, *l)) {
            debug_assert!(start + len <= joined.start, "freed twice: {joined:?}");
            if start + len == joined.start {
                self.remove(start);
                joined.start = start;
            }
        }
        if let Some(len) = self.by_start.get(&joined.end).copied() {
            let next = joined.end;
            self.remove(next);
            joined.end = next + len;
        }
        if self.by_start.len() >= RUNS_MAX {
            return;
        }
        let len = joined.end - joined.start;
        self.by_start.insert(joined.start, len);
        self.by_len.insert((len, joined.start));
        self.free += len;
    }

    fn remove(&mut self, start: u64) {
        if let Some(len) = self.by_start.remove(&start) {
            self.by_len.remove(&(len, start));
            self.free -= len;
        }
    }
}

/// How the bytes of one append are laid out: raw clusters at cluster starts, compressed
/// ones packed by sectors, each group together where a run is long enough.
pub(crate) fn take_group(space: &mut Space, lens: &[u64], align: u64) -> Vec<u64> {
    let total: u64 = lens.iter().map(|l| l.next_multiple_of(align)).sum();
    let together = space
        .longest(total, align)
        .is_some()
        .then(|| space.take(total, align))
        .or_else(|| (space.best_fit(CLUSTER, SECTOR).is_none()).then(|| space.take(total, align)));
    let Some(mut at) = together else {
        return lens.iter().map(|l| space.take(*l, align)).collect();
    };
    lens.iter()
        .map(|len| {
            let here = at;
            at += len.next_multiple_of(align);
            here
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range is what is meant")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gaps_between_used_places_are_free() {
        let mut space = Space::from_used(&[8192..12_288, 0..4096, 2048..4096].into_iter().collect());
        assert_eq!((space.end(), space.free()), (12_288, 4096));
        assert_eq!(space.take(4096, SECTOR), 4096);
        assert_eq!(space.take(512, CLUSTER), CLUSTER);
        assert_eq!(space.free(), CLUSTER - 12_288);
    }

    #[test]
    fn quarantined_places_are_not_handed_out() {
        let mut space = Space::from_used(&[0..CLUSTER].into_iter().collect());
        let at = space.take(CLUSTER, CLUSTER);
        space.quarantine(at..at + CLUSTER);
        assert_ne!(space.take(CLUSTER, CLUSTER), at);
        assert_eq!(space.release().ranges().collect::<Vec<_>>(), vec![at..at + CLUSTER]);
        assert_eq!(space.take(CLUSTER, CLUSTER), at);
    }

    proptest! {
        #[test]
        fn nothing_is_handed_out_twice(steps in prop::collection::vec((0u8..4, 1u64..70_000, any::<bool>()), 1..300)) {
            let mut space = Space::from_used(&[0..CLUSTER].into_iter().collect());
            let mut held: Vec<Range<u64>> = Vec::new();
            for (kind, len, whole) in steps {
                match kind {
                    0 | 1 => {
                        let align = if whole { CLUSTER } else { SECTOR };
                        let at = space.take(len, align);
                        let new = at..at + len.next_multiple_of(SECTOR);
                        prop_assert_eq!(at % align, 0);
                        prop_assert!(at >= CLUSTER && new.end <= space.end());
                        prop_assert!(held.iter().all(|h| h.end <= new.start || new.end <= h.start));
                        held.push(new);
                    }
                    2 if !held.is_empty() => {
                        let gone = held.swap_remove(usize::try_from(len).unwrap() % held.len());
                        if whole { space.quarantine(gone) } else { space.give_back(gone) }
                    }
                    _ => { space.release(); }
                }
            }
            let in_use: u64 = held.iter().map(|h| h.end - h.start).sum();
            prop_assert_eq!(space.end() - CLUSTER, in_use + space.free() + space.quarantined());
        }
    }
}
