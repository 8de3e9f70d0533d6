//! The core: its rows, its transaction, and who may be spoken to. What commands and reports
//! do with the rows is in the modules below.

mod adopt;
mod learn;
mod lives;
mod moves;
mod poll;
mod publish;
mod report;
mod requests;
mod tables;
mod twins;
mod view;

use farshore_control::{Learning, Term};
use farshore_types::{HostId, VaultId};
use thiserror::Error;

use crate::{
    Change, Moment, Problem,
    rows::{HeadRow, LearningRow},
    watch::Watch,
};
pub(crate) use publish::peer_of;
pub(crate) use requests::DELETE_EXPIRES_MS;
pub(crate) use tables::Tables;

/// How the rows came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// They are those that this vault stored last.
    Continued,
    /// They may be older than what hosts were told: restored from a backup, promoted from a
    /// warm copy, or on another database than before (rule R6).
    Restored,
}

/// The rows cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// There is no vault in them.
    #[error("there is no vault in this store: make one with 'init', or name the right store")]
    Empty,
    /// A row is damaged.
    #[error("the row {kind} '{key}' cannot be read: {why}; restore the store from a backup")]
    Damaged {
        /// What it is.
        kind: String,
        /// Which one.
        key: String,
        /// Why.
        why: String,
    },
    /// A row of a newer vault.
    #[error("rows of kind '{kind}' are not known to this vault: the store is of a newer version, use that")]
    Newer {
        /// The kind.
        kind: String,
    },
}

/// Faults that the tests must catch.
#[cfg(feature = "deliberate-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A restored vault commands at once, without learning.
    SpeaksFirst,
    /// What a host that was silent tells after the vault wrote its own anew is passed over.
    DropsLate,
    /// A deletion that a backup has open is gone on with, whatever was decided since (R6).
    DeletesByBackup,
    /// A protection whose machine no host reports is taken for removed.
    AbsenceIsRemoval,
    /// A higher epoch that a host reports is passed over.
    ForgetsEpochs,
    /// What was ordered is taken back though another order was given since.
    UndoesOthers,
    /// Open jobs are not moved on after a restart.
    LeavesJobs,
    /// The age of a point is taken from whoever says the smaller one, whatever its clock.
    TrustsAnyClock,
    /// After a restart, everything that is wrong is told again.
    TellsAgain,
    /// A replica's old host lets go of it before the copy on the new one is whole.
    LetsGoEarly,
    /// What a forgotten protection had is deleted.
    ForgettingDeletes,
}

/// The vault's core.
#[derive(Clone, Debug, PartialEq)]
pub struct Core {
    pub(crate) tables: Tables,
    pub(crate) watch: Watch,
    #[cfg(feature = "deliberate-bugs")]
    bug: Option<Bug>,
}

impl Core {
    /// A new vault with nothing in it. Its first rows wait in [`Core::changes`].
    #[must_use]
    pub fn init(at: &Moment) -> Core {
        let mut core = Core::with(Tables::default());
        let term = Term { number: 1, vault: VaultId(at.id("vault")) };
        core.tables.head.put(HeadRow { term, sequence: 0, learned: true, superseded: None });
        core.tables.learning.put(LearningRow { learning: Learning::begin([], 0), since_ms: at.mono_ms });
        core
    }

    /// A vault from what was stored: kind, key and body of every row. A new term, where the
    /// rows may be old, waits in [`Core::changes`] and has to be stored before anything else.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load<'a>(
        rows: impl IntoIterator<Item = (&'a str, &'a str, &'a [u8])>,
        start: Start,
        at: &Moment,
    ) -> Result<Core, LoadError> {
        let mut tables = Tables::default();
        for (kind, key, body) in rows {
            tables.load(kind, key, body)?;
        }
        let mut core = Core::with(tables);
        core.make_lives();
        let mut head = *core.tables.head.get(&()).ok_or(LoadError::Empty)?;
        if start == Start::Restored {
            // Another vault, not this one continued: two that were restored from one backup
            // must not take each other for the same (rule R4).
            head.term = Term { number: head.term.number + 1, vault: VaultId(at.id("vault")) };
            (head.learned, head.superseded) = (false, None);
            core.tables.head.put(head);
        }
        core.begin_learning(at);
        core.resume_jobs(at);
        Ok(core)
    }

    fn with(tables: Tables) -> Core {
        Core {
            tables,
            watch: Watch::default(),
            #[cfg(feature = "deliberate-bugs")]
            bug: None,
        }
    }

    /// Makes a mistake on purpose.
    #[cfg(feature = "deliberate-bugs")]
    #[must_use]
    pub fn with_bug(mut self, bug: Bug) -> Core {
        self.bug = Some(bug);
        self
    }

    #[cfg(test)]
    pub(crate) fn bug_of_tests(&self) -> Option<Bug> {
        self.bug
    }

    #[cfg(feature = "deliberate-bugs")]
    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// What the open transaction has to write, all of it or nothing.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.tables.changes()
    }

    /// How often rows that are kept were touched in the open transaction: at least as often as
    /// there are changes to write.
    #[must_use]
    pub fn touched(&self) -> usize {
        self.tables.mark_of_kept()
    }

    /// The open transaction was stored.
    pub fn commit(&mut self) {
        self.tables.commit();
    }

    /// The open transaction was not stored: everything is as it was before it.
    pub fn roll_back(&mut self) {
        self.tables.roll_back_all();
    }

    /// The vault's term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.head().term
    }

    /// Whether another vault speaks with a term that beats this one's: then this one commands
    /// nothing any more.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.head().superseded.is_some()
    }

    /// Whether it has learned what its hosts hold, and commands (rule R6).
    #[must_use]
    pub fn has_learned(&self) -> bool {
        self.head().learned
    }

    pub(crate) fn head(&self) -> HeadRow {
        // A core without its head is never made: `init` writes it and `load` refuses to.
        let nobody = Term { number: 0, vault: VaultId(uuid::Uuid::nil()) };
        let none = HeadRow { term: nobody, sequence: 0, learned: false, superseded: None };
        self.tables.head.get(&()).copied().unwrap_or(none)
    }

    /// Does `work` wholly or not at all.
    pub(crate) fn atomically<T>(
        &mut self,
        work: impl FnOnce(&mut Core) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mark = self.tables.mark();
        let done = work(self);
        if done.is_err() {
            self.tables.roll_back(mark);
        }
        done
    }

    pub(crate) fn may_speak_to(&self, host: HostId) -> bool {
        #[cfg(feature = "deliberate-bugs")]
        if self.has_bug(Bug::SpeaksFirst) {
            return true;
        }
        self.tables.learning.get(&()).is_some_and(|row| row.learning.may_speak_to(host))
    }
}
