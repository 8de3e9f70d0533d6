//! The oracle: a disk as an array, remembered as it was at each point.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use farshore_env::Clock;
use farshore_types::{CLUSTER_BYTES, CLUSTER_SIZE};

/// A disk's content, cluster by cluster; what is not there is zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelDisk {
    clusters: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl ModelDisk {
    /// Writes bytes as a guest does.
    pub fn write(&mut self, mut at: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let within = usize::try_from(at % CLUSTER_BYTES).unwrap();
            let len = data.len().min(CLUSTER_SIZE - within);
            let slot =
                self.clusters.entry(at / CLUSTER_BYTES).or_insert_with(|| Arc::new(vec![0; CLUSTER_SIZE]));
            Arc::make_mut(slot)[within..within + len].copy_from_slice(&data[..len]);
            (at, data) = (at + len as u64, &data[len..]);
        }
    }

    /// One cluster's bytes.
    #[must_use]
    pub fn cluster(&self, index: u64) -> Vec<u8> {
        self.clusters.get(&index).map_or_else(|| vec![0; CLUSTER_SIZE], |c| c.to_vec())
    }

    /// Whether a cluster is zeros.
    #[must_use]
    pub fn is_zero(&self, index: u64) -> bool {
        static ZEROS: [u8; CLUSTER_SIZE] = [0; CLUSTER_SIZE];
        self.clusters.get(&index).is_none_or(|c| c[..] == ZEROS)
    }

    /// The first `size` bytes.
    #[must_use]
    pub fn bytes(&self, size: u64) -> Vec<u8> {
        let mut out: Vec<u8> = (0..size.div_ceil(CLUSTER_BYTES)).flat_map(|c| self.cluster(c)).collect();
        out.truncate(usize::try_from(size).unwrap());
        out
    }
}

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    passed: AtomicU64,
    /// How far the wall clock is ahead of it.
    ahead: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `ms`.
    #[must_use]
    pub fn at(ms: u64) -> Arc<ManualClock> {
        Arc::new(ManualClock { passed: AtomicU64::new(ms), ahead: AtomicI64::new(0) })
    }

    /// Moves it on.
    pub fn advance(&self, ms: u64) {
        self.passed.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets the wall clock forward, or back, by milliseconds: no time passes.
    pub fn set(&self, by: i64) {
        self.ahead.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.passed.load(Ordering::Relaxed).saturating_add_signed(self.ahead.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.passed.load(Ordering::Relaxed))
    }
}
