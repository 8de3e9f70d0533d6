//! One transaction as its caller words it, and what may be in one at all. Checked before it
//! is queued, so that nothing in a group of transactions can spoil the others.

use bytes::Bytes;

use crate::{
    StoreError,
    record::{RowId, Sample, Version},
};

/// Most bytes of a row's kind, an event's topic or a sample's series.
pub const KIND_MAX: usize = 64;
/// Most bytes of a row's key or a subject.
pub const KEY_MAX: usize = 512;
/// Most bytes of one body.
pub const BODY_MAX: usize = 4 * 1024 * 1024;
/// Most rows and events of one transaction.
pub const CHANGES_MAX: usize = 20_000;
/// Most bytes of all bodies of one transaction.
pub const CHANGES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The last instant that can be stored, in milliseconds: the databases' integers have a sign.
pub const INSTANT_MAX_MS: u64 = i64::MAX as u64;

/// What must be true of a row for the transaction to be written at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// There is none.
    Absent,
    /// There is one, of any version.
    Present,
    /// It is of this version.
    At(Version),
}

/// What to do with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Put(Bytes),
    Delete,
    /// Only the precondition counts.
    Look,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) id: RowId,
    pub(crate) expect: Expect,
    pub(crate) act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewEvent {
    pub(crate) topic: String,
    pub(crate) subject: String,
    pub(crate) at_ms: u64,
    pub(crate) body: Bytes,
}

/// One transaction: all of it is written, or nothing. Each row may be named once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub(crate) writes: Vec<Write>,
    pub(crate) events: Vec<NewEvent>,
    pub(crate) learned: bool,
}

impl Changes {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Changes {
        Changes::default()
    }

    /// Writes a row, new or in place of the old one.
    #[must_use]
    pub fn put(self, id: RowId, expect: Expect, body: impl Into<Bytes>) -> Changes {
        self.with(id, expect, Act::Put(body.into()))
    }

    /// Deletes a row; one that is absent stays so, unless `expect` says otherwise.
    #[must_use]
    pub fn delete(self, id: RowId, expect: Expect) -> Changes {
        self.with(id, expect, Act::Delete)
    }

    /// Writes nothing, but makes the transaction depend on a row.
    #[must_use]
    pub fn require(self, id: RowId, expect: Expect) -> Changes {
        self.with(id, expect, Act::Look)
    }

    /// Appends an event, which happened `at_ms` milliseconds after the Unix epoch.
    #[must_use]
    pub fn event(
        mut self,
        topic: impl Into<String>,
        subject: impl Into<String>,
        at_ms: u64,
        body: impl Into<Bytes>,
    ) -> Changes {
        let (topic, subject) = (topic.into(), subject.into());
        self.events.push(NewEvent { topic, subject, at_ms, body: body.into() });
        self
    }

    /// Takes the mark away that says that the vault has to learn first.
    #[must_use]
    pub fn learned(mut self) -> Changes {
        self.learned = true;
        self
    }

    fn with(mut self, id: RowId, expect: Expect, act: Act) -> Changes {
        self.writes.push(Write { id, expect, act });
        self
    }

    /// Bytes of all bodies.
    pub(crate) fn bytes(&self) -> usize {
        let rows = self.writes.iter().map(|write| match &write.act {
            Act::Put(body) => body.len(),
            Act::Delete | Act::Look => 0,
        });
        rows.sum::<usize>() + self.events.iter().map(|event| event.body.len()).sum::<usize>()
    }

    /// Refuses what no database could store.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let count = self.writes.len() + self.events.len();
        if count > CHANGES_MAX || self.bytes() > CHANGES_BYTES_MAX {
            let what = format!("a transaction of {count} changes with {} bytes", self.bytes());
            let why = format!("at most {CHANGES_MAX} changes with {CHANGES_BYTES_MAX} bytes");
            return Err(StoreError::Invalid { what, why });
        }
        for Write { id, act, .. } in &self.writes {
            let body = if let Act::Put(body) = act { body.len() } else { 0 };
            check_parts(|| id.to_string(), &id.kind, &id.key, 1, body)?;
        }
        for event in &self.events {
            let name = || format!("an event of topic '{}'", event.topic);
            check_parts(name, &event.topic, &event.subject, 0, event.body.len())?;
            check_instant(name, event.at_ms)?;
        }
        self.check_once()
    }

    fn check_once(&self) -> Result<(), StoreError> {
        let mut ids: Vec<&RowId> = self.writes.iter().map(|write| &write.id).collect();
        ids.sort_unstable();
        let twice = ids.windows(2).find(|pair| pair[0] == pair[1]);
        twice.map_or(Ok(()), |pair| {
            let why = "a transaction may name a row only once".to_owned();
            Err(StoreError::Invalid { what: pair[0].to_string(), why })
        })
    }
}

impl Sample {
    /// Refuses what no database could store.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let name = || format!("a sample of series '{}'", self.series);
        check_parts(name, &self.series, &self.subject, 0, self.body.len())?;
        check_instant(name, self.at_ms)
    }
}

fn check_instant(name: impl Fn() -> String, at_ms: u64) -> Result<(), StoreError> {
    if at_ms <= INSTANT_MAX_MS {
        return Ok(());
    }
    Err(StoreError::Invalid { what: name(), why: format!("{at_ms} ms after 1970 is no instant") })
}

fn check_parts(
    name: impl Fn() -> String,
    kind: &str,
    key: &str,
    key_min: usize,
    body: usize,
) -> Result<(), StoreError> {
    let fault = if kind.is_empty() || kind.len() > KIND_MAX {
        Some(format!("its kind has {} bytes, and 1 to {KIND_MAX} are allowed", kind.len()))
    } else if key.len() < key_min || key.len() > KEY_MAX {
        Some(format!("its key has {} bytes, and {key_min} to {KEY_MAX} are allowed", key.len()))
    } else if kind.contains('\0') || key.contains('\0') {
        // PostgreSQL's text cannot hold it.
        Some("its name contains a zero byte".to_owned())
    } else if body > BODY_MAX {
        Some(format!("its body has {body} bytes, and {BODY_MAX} are allowed"))
    } else {
        None
    };
    fault.map_or(Ok(()), |why| Err(StoreError::Invalid { what: name(), why }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(changes: &Changes) -> String {
        changes.check().expect_err("refused").to_string()
    }

    fn put(kind: &str, key: &str, len: usize) -> Changes {
        Changes::new().put(RowId::new(kind, key), Expect::Anything, vec![0; len])
    }

    #[test]
    fn limits_are_inclusive_and_named() {
        let (kind, key) = ("k".repeat(KIND_MAX), "k".repeat(KEY_MAX));
        assert!(put(&kind, &key, BODY_MAX).check().is_ok());
        assert!(refused(&put(&format!("{kind}k"), "a", 0)).contains("1 to 64 are allowed"));
        assert!(refused(&put("a", &format!("{key}k"), 0)).contains("1 to 512 are allowed"));
        assert!(refused(&put("a", "b", BODY_MAX + 1)).contains("4194304 are allowed"));
        assert!(refused(&put("", "b", 0)).contains("kind has 0 bytes"));
        assert!(refused(&put("a", "", 0)).contains("key has 0 bytes"));
        assert!(refused(&put("a", "b\0", 0)).contains("zero byte"));
    }

    #[test]
    fn a_row_named_twice_is_refused() {
        let twice = put("a", "b", 1).require(RowId::new("a", "b"), Expect::Present);
        assert!(refused(&twice).contains("only once"));
    }

    #[test]
    fn too_much_in_one_transaction_is_refused() {
        let many = (0..=CHANGES_MAX).fold(Changes::new(), |c, _| c.event("t", "", 0, Bytes::new()));
        assert!(refused(&many).contains("at most 20000 changes"));
        let body = Bytes::from(vec![0; BODY_MAX]);
        let heavy = (0..17).fold(Changes::new(), |c, _| c.event("t", "", 0, body.clone()));
        assert!(refused(&heavy).contains("67108864 bytes"));
    }

    #[test]
    fn an_instant_beyond_the_databases_integers_is_refused() {
        assert!(Changes::new().event("t", "", INSTANT_MAX_MS, "x").check().is_ok());
        assert!(refused(&Changes::new().event("t", "", u64::MAX, "x")).contains("is no instant"));
    }
}
