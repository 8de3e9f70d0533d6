//! What a delta certainly does not hold: one byte of memory per entry instead of reading its
//! pages. A search for one cluster through thousands of deltas passes over nearly all that
//! lack it; the few it takes for holders wrongly cost a read each.

use farshore_types::DiskKey;

use crate::{DeltaError, DeltaFile};

/// Bits per entry. With [`PROBES`] of them set for each, one answer in forty is wrongly yes.
const BITS_PER_ENTRY: u64 = 8;
const PROBES: u64 = 4;

/// A Bloom filter over the clusters of one delta, of all its disks.
#[derive(Clone, Debug)]
pub struct Filter {
    words: Vec<u64>,
}

/// A cluster of a disk, as filters know it.
#[derive(Clone, Copy, Debug)]
pub struct Probe(u64);

/// Makes the probes of one disk's clusters.
#[derive(Clone, Copy, Debug)]
pub struct Prober(u64);

impl Prober {
    /// For the clusters of a disk.
    #[must_use]
    pub fn new(disk: &DiskKey) -> Prober {
        Prober(disk.to_string().bytes().fold(0, |seed, byte| mix(seed ^ u64::from(byte))))
    }

    /// Of one cluster.
    #[must_use]
    pub fn probe(&self, cluster: u64) -> Probe {
        Probe(mix(self.0 ^ cluster))
    }
}

impl Filter {
    /// Reads all entries of a delta.
    ///
    /// # Errors
    /// The first damage found; else as the file reports.
    pub fn of(delta: &DeltaFile) -> Result<Filter, DeltaError> {
        let entries: u64 = delta.footer().disks.iter().map(|d| d.entries).sum();
        // A count that is not true costs exactness, never memory: pages bound it.
        let pages: u64 = delta.footer().disks.iter().map(|d| d.pages).sum();
        let bits = entries.min(pages.saturating_mul(crate::file::PAGE_ENTRIES as u64)) * BITS_PER_ENTRY;
        let words = usize::try_from(bits.div_ceil(64)).unwrap_or(0).max(1);
        let mut filter = Filter { words: vec![0; words] };
        for disk in &delta.footer().disks {
            let prober = Prober::new(&disk.key);
            for entry in delta.cursor(&disk.key) {
                let probe = prober.probe(entry?.cluster);
                for (word, bit) in filter.places(probe) {
                    filter.words[word] |= bit;
                }
            }
        }
        Ok(filter)
    }

    /// Whether the delta may have an entry for the cluster; where not, it has none.
    #[must_use]
    pub fn may_hold(&self, probe: Probe) -> bool {
        self.places(probe).all(|(word, bit)| self.words[word] & bit != 0)
    }

    fn places(&self, probe: Probe) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = self.words.len() as u64 * 64;
        // An odd step visits different bits; both come from one hash of 64 bits.
        let (start, step) = (probe.0 % bits, (probe.0 >> 32) | 1);
        (0..PROBES).map(move |n| {
            let at = start.wrapping_add(n.wrapping_mul(step)) % bits;
            (usize::try_from(at / 64).unwrap_or(0), 1 << (at % 64))
        })
    }
}

/// The finalizer of SplitMix64: every bit of the input moves half of those of the output.
fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
