//! A set of an image's sectors. Its memory is bounded by the image's length (one bit a
//! sector, far less where runs are long), however many pieces it is made of and in whatever
//! order they come: a list of ranges is not, and a full disk of small pieces has millions.
//! This module must never know what the sectors hold.

use std::{iter::from_fn, ops::Range};

use farshore_delta::Place;

use crate::space::SECTOR;

/// Sectors of a page: 2 MiB of the image, 512 bytes of memory at most.
const PAGE: usize = 4096;
const WORDS: usize = PAGE / 64;
const PAGE_BYTES: u64 = PAGE as u64 * SECTOR;

/// A set of whole sectors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sectors {
    pages: Vec<Page>,
}

#[derive(Clone, Debug, Default)]
enum Page {
    #[default]
    Nothing,
    All,
    These(Box<[u64; WORDS]>),
}

impl Sectors {
    /// Adds bytes, outward to whole sectors.
    pub(crate) fn insert(&mut self, bytes: Range<u64>) {
        for (page, sectors) in parts(&bytes) {
            if page >= self.pages.len() {
                self.pages.resize_with(page + 1, Page::default);
            }
            self.pages[page].insert(sectors);
        }
    }

    /// Adds a place that holds bytes.
    pub(crate) fn insert_place(&mut self, place: Place) {
        if let Some(bytes) = place.range() {
            self.insert(bytes);
        }
    }

    /// Adds all of another set.
    pub(crate) fn merge(&mut self, other: &Sectors) {
        other.ranges().for_each(|run| self.insert(run));
    }

    /// Takes all of another set out.
    pub(crate) fn remove(&mut self, other: &Sectors) {
        self.pages.iter_mut().zip(&other.pages).for_each(|(page, gone)| page.remove(gone));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pages.iter().all(|page| matches!(page, Page::Nothing))
    }

    /// Whether any of these bytes' sectors is in the set.
    pub(crate) fn meets(&self, bytes: &Range<u64>) -> bool {
        parts(bytes).any(|(page, sectors)| {
            let found = self.pages.get(page).and_then(|page| page.next(sectors.start, true));
            found.is_some_and(|found| found < sectors.end)
        })
    }

    /// Its runs in bytes, in order, as long as they can be.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let bases = (0..).map(|page: u64| page * PAGE_BYTES);
        let mut runs = self.pages.iter().zip(bases).flat_map(|(page, base)| page.runs(base)).peekable();
        from_fn(move || {
            let mut run = runs.next()?;
            while let Some(next) = runs.next_if(|next| next.start == run.end) {
                run.end = next.end;
            }
            Some(run)
        })
    }
}

impl FromIterator<Range<u64>> for Sectors {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Sectors {
        let mut out = Sectors::default();
        ranges.into_iter().for_each(|run| out.insert(run));
        out
    }
}

impl Page {
    fn insert(&mut self, sectors: Range<usize>) {
        if sectors == (0..PAGE) {
            *self = Page::All;
        }
        if matches!(self, Page::Nothing) {
            *self = Page::These(Box::new([0; WORDS]));
        }
        let Page::These(words) = self else { return };
        let mut at = sectors.start;
        while at < sectors.end {
            let (word, bit) = (at / 64, at % 64);
            let count = (64 - bit).min(sectors.end - at);
            words[word] |= (u64::MAX >> (64 - count)) << bit;
            at += count;
        }
        if words.iter().all(|word| *word == u64::MAX) {
            *self = Page::All;
        }
    }

    fn remove(&mut self, gone: &Page) {
        let gone = match (&*self, gone) {
            (Page::Nothing, _) | (_, Page::Nothing) => return,
            (_, Page::All) => return *self = Page::Nothing,
            (_, Page::These(gone)) => gone,
        };
        let mut words = match std::mem::take(self) {
            Page::These(words) => words,
            _ => Box::new([u64::MAX; WORDS]),
        };
        words.iter_mut().zip(gone.iter()).for_each(|(word, gone)| *word &= !gone);
        if words.iter().any(|word| *word != 0) {
            *self = Page::These(words);
        }
    }

    /// The first sector from `from` on that is in the page, or is not.
    fn next(&self, from: usize, within: bool) -> Option<usize> {
        let words = match self {
            Page::Nothing => return (!within && from < PAGE).then_some(from),
            Page::All => return (within && from < PAGE).then_some(from),
            Page::These(words) => words,
        };
        let of = |word: u64| if within { word } else { !word };
        let mut at = from;
        while at < PAGE {
            let rest = of(words[at / 64]) >> (at % 64);
            if rest != 0 {
                return Some(at + rest.trailing_zeros() as usize);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// Its runs in bytes of the image, where the page begins at `base`.
    fn runs(&self, base: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = 0;
        let byte = move |sector: usize| base + sector as u64 * SECTOR;
        from_fn(move || {
            let start = self.next(at, true)?;
            at = self.next(start, false).unwrap_or(PAGE);
            Some(byte(start)..byte(at))
        })
    }
}

/// Bytes, outward to whole sectors, as parts of pages: each page, and which of its sectors.
fn parts(bytes: &Range<u64>) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
    const LEN: u64 = PAGE as u64;
    let (mut at, end) = (bytes.start / SECTOR, bytes.end.div_ceil(SECTOR));
    from_fn(move || {
        (at < end).then(|| {
            let (page, start) = (at / LEN, at);
            at = end.min((page + 1) * LEN);
            let within = |sector: u64| usize::try_from(sector - page * LEN).unwrap_or(PAGE);
            (usize::try_from(page).unwrap_or(usize::MAX), within(start)..within(at))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_its_sectors(
            parts in prop::collection::vec((0u64..20_000, 1u64..9000), 0..20),
            asked in prop::collection::vec((0u64..30_000, 1u64..50), 20),
        ) {
            let bytes = |(at, len): (u64, u64)| at * SECTOR..(at + len) * SECTOR;
            let set: Sectors = parts.iter().copied().map(bytes).collect();
            let model: BTreeSet<u64> = parts.iter().flat_map(|(at, len)| *at..at + len).collect();
            let runs: Vec<Range<u64>> = set.ranges().collect();
            let told: Vec<u64> = runs.iter().flat_map(|r| r.start / SECTOR..r.end / SECTOR).collect();
            prop_assert_eq!(told, model.iter().copied().collect::<Vec<_>>());
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "runs are whole");
            for (at, len) in asked.iter().copied() {
                let meets = model.range(at..at + len).next().is_some();
                prop_assert_eq!(set.meets(&bytes((at, len))), meets);
            }
            prop_assert_eq!(set.is_empty(), model.is_empty());
            let (mut rest, taken): (Sectors, Sectors) = (set.clone(), asked.iter().copied().map(bytes).collect());
            rest.remove(&taken);
            let told: Vec<u64> = rest.ranges().flat_map(|r| r.start / SECTOR..r.end / SECTOR).collect();
            let out = |s: &u64| !asked.iter().any(|(at, len)| (*at..at + len).contains(s));
            prop_assert_eq!(told, model.iter().copied().filter(out).collect::<Vec<_>>());
        }
    }

    #[test]
    fn bytes_count_for_whole_sectors_and_memory_does_not_grow_with_pieces() {
        let mut set = Sectors::default();
        set.insert(700..1100);
        assert_eq!(set.ranges().collect::<Vec<_>>(), vec![512..1536]);
        // Every second cluster of 1 GiB, from behind: 8192 pieces.
        let mut set = Sectors::default();
        (0..8192u64).rev().for_each(|n| set.insert(n * 131_072..n * 131_072 + 65_536));
        let partial = set.pages.iter().filter(|page| matches!(page, Page::These(_))).count();
        assert_eq!((set.pages.len(), partial), (512, 512), "512 bytes for each 2 MiB");
        (0..8192u64).for_each(|n| set.insert(n * 131_072 + 65_536..(n + 1) * 131_072));
        assert!(set.pages.iter().all(|page| matches!(page, Page::All)));
        assert_eq!(set.ranges().collect::<Vec<_>>(), vec![0..1 << 30]);
    }
}
