//! Merging deltas: of each cluster, the newest entry wins; the others are what pruning
//! may free.

use std::{cmp::Reverse, collections::BinaryHeap};

use farshore_types::{DiskKey, clusters_in};

use crate::{Cursor, DeltaError, DeltaFile, Entry};

/// One cluster's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The newest entry.
    pub entry: Entry,
    /// Index, among the cursors, of the delta that it comes from.
    pub from: usize,
}

/// Streams the merge of several deltas' entries of one disk, ascending.
///
/// A disk that shrinks forgets what lay beyond its end: if it grows again, zeros are
/// there. So an entry counts only below the smallest size after its own delta.
pub struct Merge<'a> {
    /// Each with the first cluster that no longer counts.
    cursors: Vec<(Cursor, u64)>,
    /// The next entry of each cursor: lowest cluster first, of equal ones the newest first.
    heap: BinaryHeap<Reverse<Head>>,
    lost: Option<&'a mut Lost<'a>>,
}

/// Is told each entry that does not count: one by one, for a full disk has millions of them.
type Lost<'a> = dyn FnMut(&Entry) + Send + 'a;

/// The smallest size that the disk had over these deltas, each since the one before.
#[must_use]
pub fn lowest_floor(deltas: &[&DeltaFile], disk: &DiskKey) -> u64 {
    deltas.iter().map(|d| floor(d, disk)).min().unwrap_or(0)
}

fn floor(delta: &DeltaFile, disk: &DiskKey) -> u64 {
    delta.disk(disk).map_or(0, |d| d.floor)
}

struct Head {
    age: Reverse<usize>,
    entry: Entry,
}

impl Head {
    fn key(&self) -> (u64, Reverse<usize>) {
        (self.entry.cluster, self.age)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<'a> Merge<'a> {
    /// Merges deltas' entries of one disk, oldest first. A delta that lacks the disk ends
    /// all that older ones say of it.
    ///
    /// # Errors
    /// As the first pages report.
    pub fn new(deltas: &[&DeltaFile], disk: &DiskKey) -> Result<Merge<'a>, DeltaError> {
        Merge::start(deltas, disk, None)
    }

    /// As [`Merge::new`], and tells `lost` each entry that a newer one has superseded, or a
    /// smaller size has cut off.
    ///
    /// # Errors
    /// As [`Merge::new`].
    pub fn telling_losers(
        deltas: &[&DeltaFile],
        disk: &DiskKey,
        lost: &'a mut (dyn FnMut(&Entry) + Send + 'a),
    ) -> Result<Merge<'a>, DeltaError> {
        Merge::start(deltas, disk, Some(lost))
    }

    fn start(
        deltas: &[&DeltaFile],
        disk: &DiskKey,
        lost: Option<&'a mut Lost<'a>>,
    ) -> Result<Merge<'a>, DeltaError> {
        let mut end = u64::MAX;
        let mut cursors: Vec<(Cursor, u64)> = Vec::with_capacity(deltas.len());
        for delta in deltas.iter().rev() {
            cursors.push((delta.cursor(disk), end));
            end = end.min(clusters_in(floor(delta, disk)));
        }
        cursors.reverse();
        let mut merge = Merge { cursors, heap: BinaryHeap::new(), lost };
        for from in 0..merge.cursors.len() {
            merge.advance(from)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, from: usize) -> Result<(), DeltaError> {
        let (cursor, end) = &mut self.cursors[from];
        while let Some(entry) = cursor.next().transpose()? {
            if entry.cluster < *end {
                self.heap.push(Reverse(Head { age: Reverse(from), entry }));
                break;
            }
            let Some(lost) = &mut self.lost else { break };
            lost(&entry);
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<Merged>, DeltaError> {
        let Some(Reverse(head)) = self.heap.pop() else { return Ok(None) };
        let won = Merged { entry: head.entry, from: head.age.0 };
        self.advance(won.from)?;
        while let Some(Reverse(next)) = self.heap.peek() {
            if next.entry.cluster != won.entry.cluster {
                break;
            }
            let Some(Reverse(older)) = self.heap.pop() else { break };
            if let Some(lost) = &mut self.lost {
                lost(&older.entry);
            }
            self.advance(older.age.0)?;
        }
        Ok(Some(won))
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Merged, DeltaError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pop().transpose()
    }
}
