//! Merging deltas: of each cluster, the newest entry wins; the others are what pruning
//! may free.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{Cursor, DeltaError, Entry};

/// One cluster's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The newest entry.
    pub entry: Entry,
    /// Index, among the cursors, of the delta that it comes from.
    pub from: usize,
}

/// Streams the merge of several deltas' entries of one disk, ascending.
pub struct Merge {
    cursors: Vec<Cursor>,
    /// The next entry of each cursor: lowest cluster first, of equal ones the newest first.
    heap: BinaryHeap<Reverse<Head>>,
    losers: Vec<Entry>,
    keep_losers: bool,
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

impl Merge {
    /// Merges cursors given oldest first.
    ///
    /// # Errors
    /// As the first pages report.
    pub fn new(cursors: Vec<Cursor>) -> Result<Merge, DeltaError> {
        let mut merge = Merge { cursors, heap: BinaryHeap::new(), losers: Vec::new(), keep_losers: false };
        for from in 0..merge.cursors.len() {
            merge.advance(from)?;
        }
        Ok(merge)
    }

    /// Gathers superseded entries for [`Merge::take_losers`].
    #[must_use]
    pub fn keeping_losers(mut self) -> Merge {
        self.keep_losers = true;
        self
    }

    /// Entries that newer ones have superseded since the last call.
    pub fn take_losers(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.losers)
    }

    fn advance(&mut self, from: usize) -> Result<(), DeltaError> {
        if let Some(entry) = self.cursors[from].next().transpose()? {
            self.heap.push(Reverse(Head { age: Reverse(from), entry }));
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
            let Some(Reverse(lost)) = self.heap.pop() else { break };
            if self.keep_losers {
                self.losers.push(lost.entry);
            }
            self.advance(lost.age.0)?;
        }
        Ok(Some(won))
    }
}

impl Iterator for Merge {
    type Item = Result<Merged, DeltaError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pop().transpose()
    }
}
