//! Which of many transactions may be written, and how: decided in memory, before the
//! database is asked. Pure: this module must never know of SQL, time or callers.
//!
//! The index has every row's version. It may be trusted, because only the holder of the
//! fence writes, and each statement repeats the old version, so that a row that somebody
//! changed by hand is noticed.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{
    StoreError,
    changes::{Act, Changes, Expect, NewEvent, Write},
    record::{RowId, Version},
};

/// The version of every row, and the newest transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) versions: HashMap<RowId, Version>,
    pub(crate) newest: Version,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Insert { id: RowId, new: Version, body: Bytes },
    Update { id: RowId, old: Version, new: Version, body: Bytes },
    Delete { id: RowId, old: Version },
    Event { version: Version, ordinal: u32, event: NewEvent },
}

/// What becomes of a group of transactions. The outcomes count only once the operations are
/// durable; until then [`Index::undo`] takes them back.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In order, and none of a transaction that is refused.
    pub(crate) ops: Vec<Op>,
    /// One for each transaction, in their order.
    pub(crate) outcomes: Vec<Result<Version, StoreError>>,
    /// The newest transaction before.
    pub(crate) before: Version,
    /// The newest transaction after.
    pub(crate) after: Version,
    /// Whether the mark goes away.
    pub(crate) learned: bool,
    undo: Vec<(RowId, Option<Version>)>,
}

impl Plan {
    /// Whether the database has to be written at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty() && !self.learned
    }
}

impl Index {
    /// Plans the transactions one after another, each seeing those before it.
    pub(crate) fn plan<'a>(&mut self, all: impl IntoIterator<Item = &'a Changes>) -> Plan {
        let mut plan = Plan { before: self.newest, ..Plan::default() };
        for changes in all {
            let outcome = match changes.writes.iter().find_map(|write| self.conflict(write)) {
                Some(conflict) => Err(conflict),
                None => Ok(self.add(changes, &mut plan)),
            };
            plan.outcomes.push(outcome);
        }
        plan.after = self.newest;
        plan
    }

    /// Takes back everything that a plan did to the index.
    pub(crate) fn undo(&mut self, plan: &Plan) {
        for (id, version) in plan.undo.iter().rev() {
            match version {
                Some(version) => self.versions.insert(id.clone(), *version),
                None => self.versions.remove(id),
            };
        }
        self.newest = plan.before;
    }

    fn conflict(&self, write: &Write) -> Option<StoreError> {
        let found = self.versions.get(&write.id).copied();
        let (holds, expected) = match write.expect {
            Expect::Anything => (true, String::new()),
            Expect::Absent => (found.is_none(), "that it is absent".to_owned()),
            Expect::Present => (found.is_some(), "that it is there".to_owned()),
            Expect::At(version) => (found == Some(version), format!("version {version}")),
        };
        (!holds).then(|| StoreError::Conflict {
            row: write.id.clone(),
            expected,
            found: found.map_or_else(|| "is absent".to_owned(), |version| format!("is of version {version}")),
            version: found,
        })
    }

    /// Adds a transaction whose preconditions hold. One that changes nothing takes no number.
    fn add(&mut self, changes: &Changes, plan: &mut Plan) -> Version {
        let new = Version(self.newest.0 + 1);
        let ops_before = plan.ops.len();
        for Write { id, act, .. } in &changes.writes {
            let old = self.versions.get(id).copied();
            match (act, old) {
                (Act::Put(body), None) => {
                    plan.ops.push(Op::Insert { id: id.clone(), new, body: body.clone() });
                }
                (Act::Put(body), Some(old)) => {
                    plan.ops.push(Op::Update { id: id.clone(), old, new, body: body.clone() });
                }
                (Act::Delete, Some(old)) => {
                    plan.ops.push(Op::Delete { id: id.clone(), old });
                    self.versions.remove(id);
                    plan.undo.push((id.clone(), Some(old)));
                    continue;
                }
                (Act::Delete, None) | (Act::Look, _) => continue,
            }
            self.versions.insert(id.clone(), new);
            plan.undo.push((id.clone(), old));
        }
        for (ordinal, event) in (0..).zip(&changes.events) {
            plan.ops.push(Op::Event { version: new, ordinal, event: event.clone() });
        }
        if plan.ops.len() == ops_before && !changes.learned {
            return self.newest;
        }
        plan.learned |= changes.learned;
        self.newest = new;
        new
    }
}

#[cfg(test)]
mod tests;
