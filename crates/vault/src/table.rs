//! Rows in memory, each with what it was before the open transaction touched it: so that what
//! has to be written is known, and all of it can be taken back. This module must never know
//! what a row means.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, de::DeserializeOwned};

/// A row that is kept.
pub trait Row: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned {
    /// What it is, in the store.
    const KIND: &'static str;

    /// By what it is found.
    type Key: Ord + Clone + fmt::Debug;

    /// Its key.
    fn key(&self) -> Self::Key;

    /// A key as the store has it.
    fn key_text(key: &Self::Key) -> String;
}

/// One row to write in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is.
    pub kind: &'static str,
    /// Which one.
    pub key: String,
    /// Its new body, JSON; none: it is deleted.
    pub body: Option<Vec<u8>>,
}

/// Rows of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Table<R: Row> {
    rows: BTreeMap<R::Key, R>,
    /// What each touch of the open transaction found, oldest first.
    journal: Vec<(R::Key, Option<R>)>,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Table<R> {
        Table { rows: BTreeMap::new(), journal: Vec::new() }
    }
}

impl<R: Row> PartialEq for Table<R> {
    fn eq(&self, other: &Table<R>) -> bool {
        self.rows == other.rows
    }
}

impl<R: Row> Table<R> {
    pub(crate) fn get(&self, key: &R::Key) -> Option<&R> {
        self.rows.get(key)
    }

    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Writes a row, new or in place of the old one; whether that changed anything.
    pub(crate) fn put(&mut self, row: R) -> bool {
        let key = row.key();
        if self.rows.get(&key) == Some(&row) {
            return false;
        }
        let before = self.rows.insert(key.clone(), row);
        self.journal.push((key, before));
        true
    }

    /// Changes a row that is there; whether that changed anything.
    pub(crate) fn change(&mut self, key: &R::Key, change: impl FnOnce(&mut R)) -> bool {
        let Some(mut row) = self.rows.get(key).cloned() else { return false };
        change(&mut row);
        debug_assert!(row.key() == *key, "a row's key never changes");
        self.put(row)
    }

    pub(crate) fn remove(&mut self, key: &R::Key) -> bool {
        let Some(before) = self.rows.remove(key) else { return false };
        self.journal.push((key.clone(), Some(before)));
        true
    }

    /// A place in the open transaction.
    pub(crate) fn mark(&self) -> usize {
        self.journal.len()
    }

    /// What the open transaction has to write: nothing for a row that is as it was.
    pub(crate) fn changes(&self, out: &mut Vec<Change>) {
        let mut first: BTreeMap<&R::Key, Option<&R>> = BTreeMap::new();
        for (key, before) in &self.journal {
            first.entry(key).or_insert(before.as_ref());
        }
        for (key, before) in first {
            let now = self.rows.get(key);
            if now != before {
                let body = now.map(|row| serde_json::to_vec(row).unwrap_or_default());
                out.push(Change { kind: R::KIND, key: R::key_text(key), body });
            }
        }
    }

    pub(crate) fn commit(&mut self) {
        self.journal.clear();
    }

    /// Takes back everything after a place in the open transaction.
    pub(crate) fn roll_back(&mut self, mark: usize) {
        while self.journal.len() > mark {
            let Some((key, before)) = self.journal.pop() else { return };
            match before {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }

    /// Takes a row in from the store.
    pub(crate) fn load(&mut self, body: &[u8]) -> Result<(), String> {
        let row: R = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        self.rows.insert(row.key(), row);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Cell {
        at: u8,
        value: u8,
    }

    impl Row for Cell {
        const KIND: &'static str = "cell";
        type Key = u8;

        fn key(&self) -> u8 {
            self.at
        }

        fn key_text(key: &u8) -> String {
            key.to_string()
        }
    }

    fn apply(table: &mut Table<Cell>, (at, value): (u8, Option<u8>)) {
        match value {
            Some(value) => table.put(Cell { at, value }),
            None => table.remove(&at),
        };
    }

    fn steps() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
        prop::collection::vec((0u8..6, prop::option::of(0u8..4)), 0..24)
    }

    proptest! {
        #[test]
        fn a_rolled_back_transaction_leaves_no_trace(before in steps(), kept in steps(), undone in steps()) {
            let mut table = Table::<Cell>::default();
            before.into_iter().for_each(|step| apply(&mut table, step));
            table.commit();
            kept.into_iter().for_each(|step| apply(&mut table, step));
            let (mark, then) = (table.mark(), table.clone());
            undone.into_iter().for_each(|step| apply(&mut table, step));
            table.roll_back(mark);
            prop_assert_eq!(&table.rows, &then.rows);
            let (mut one, mut other) = (Vec::new(), Vec::new());
            table.changes(&mut one);
            then.changes(&mut other);
            prop_assert_eq!(one, other);
        }

        #[test]
        fn the_changes_make_the_stored_rows_what_the_rows_in_memory_are(before in steps(), steps in steps()) {
            let mut table = Table::<Cell>::default();
            before.into_iter().for_each(|step| apply(&mut table, step));
            table.commit();
            let mut stored: BTreeMap<String, Vec<u8>> =
                table.rows().map(|row| (row.at.to_string(), serde_json::to_vec(row).unwrap())).collect();
            steps.into_iter().for_each(|step| apply(&mut table, step));
            let mut changes = Vec::new();
            table.changes(&mut changes);
            for change in changes {
                match change.body {
                    Some(body) => prop_assert!(stored.insert(change.key, body.clone()) != Some(body)),
                    None => prop_assert!(stored.remove(&change.key).is_some()),
                }
            }
            let mut loaded = Table::<Cell>::default();
            stored.values().for_each(|body| loaded.load(body).unwrap());
            prop_assert_eq!(loaded, table);
        }
    }
}
