//! Runs of a disk. Dirty maps come as runs, are united, cut and aligned as runs, and are
//! read as runs. Pure arithmetic; this crate must never know where a run came from.

/// A run of bytes (or of clusters: the unit is the caller's), never empty inside a [`Runs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    /// First unit.
    pub start: u64,
    /// Number of units.
    pub len: u64,
}

impl Run {
    /// The run from `start` up to, and without, `end`. Empty where `end` is not after `start`.
    #[must_use]
    pub const fn between(start: u64, end: u64) -> Run {
        Run { start, len: end.saturating_sub(start) }
    }

    /// The first unit after the run.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// A set of units as sorted runs that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Runs {
        Runs(Vec::new())
    }

    /// The runs, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Run> + '_ {
        self.0.iter().copied()
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of units in the set.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|r| r.len).sum()
    }

    /// Whether a unit is in the set.
    #[must_use]
    pub fn contains(&self, unit: u64) -> bool {
        let next = self.0.partition_point(|r| r.end() <= unit);
        self.0.get(next).is_some_and(|r| r.start <= unit)
    }

    /// Adds a run, joining what it overlaps or touches.
    pub fn insert(&mut self, run: Run) {
        if run.len == 0 {
            return;
        }
        let first = self.0.partition_point(|r| r.end() < run.start);
        let last = self.0.partition_point(|r| r.start <= run.end());
        let joined = self.0[first..last]
            .iter()
            .fold(run, |acc, r| Run::between(acc.start.min(r.start), acc.end().max(r.end())));
        self.0.splice(first..last, [joined]);
    }

    /// Units in either set.
    #[must_use]
    pub fn union(&self, other: &Runs) -> Runs {
        self.iter().chain(other.iter()).collect()
    }

    /// Units in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Runs) -> Runs {
        let (mut out, mut i, mut j) = (Vec::new(), 0, 0);
        while let (Some(a), Some(b)) = (self.0.get(i), other.0.get(j)) {
            let both = Run::between(a.start.max(b.start), a.end().min(b.end()));
            if both.len > 0 {
                out.push(both);
            }
            if a.end() <= b.end() {
                i += 1;
            } else {
                j += 1;
            }
        }
        Runs(out)
    }

    /// Units of this set that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Runs) -> Runs {
        let mut out = Vec::new();
        for run in self.iter() {
            let mut at = run.start;
            let from = other.0.partition_point(|r| r.end() <= run.start);
            for cut in other.0[from..].iter().take_while(|c| c.start < run.end()) {
                if cut.start > at {
                    out.push(Run::between(at, cut.start));
                }
                at = at.max(cut.end());
            }
            if at < run.end() {
                out.push(Run::between(at, run.end()));
            }
        }
        Runs(out)
    }

    /// Grows every run outward to whole multiples of `unit`, then cuts at `limit`.
    ///
    /// # Panics
    /// Where `unit` is zero.
    #[must_use]
    pub fn align_outward(&self, unit: u64, limit: u64) -> Runs {
        self.iter()
            .map(|r| {
                let end = r.end().div_ceil(unit).saturating_mul(unit);
                Run::between(r.start / unit * unit, end.min(limit))
            })
            .collect()
    }

    /// The same units as runs of at most `max`, each starting at a run's start or a
    /// multiple of `max` after it.
    pub fn pieces(&self, max: u64) -> impl Iterator<Item = Run> + '_ {
        self.iter().flat_map(move |r| {
            (0..r.len.div_ceil(max.max(1))).map(move |i| {
                let start = r.start + i * max;
                Run::between(start, r.end().min(start + max))
            })
        })
    }
}

impl FromIterator<Run> for Runs {
    fn from_iter<I: IntoIterator<Item = Run>>(iter: I) -> Runs {
        let mut runs: Vec<Run> = iter.into_iter().filter(|r| r.len > 0).collect();
        runs.sort_unstable();
        let mut out: Vec<Run> = Vec::with_capacity(runs.len());
        for run in runs {
            match out.last_mut() {
                Some(last) if run.start <= last.end() => {
                    *last = Run::between(last.start, last.end().max(run.end()));
                }
                _ => out.push(run),
            }
        }
        Runs(out)
    }
}

#[cfg(test)]
mod tests;
