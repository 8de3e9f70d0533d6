//! Who dies when: at a step of a job, or at a transaction, and what becomes of it.

use std::collections::BTreeMap;

use farshore_job::{Job, State};
use farshore_types::JobId;

use super::world::{Stored, World};
use crate::{Core, Start, jobs::Kind};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Vault,
    Site,
    Agent,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instant {
    BeforeEffect,
    AfterEffect,
    AfterRecord,
}

/// A kill that is to come.
#[derive(Clone, Debug)]
pub(super) struct Kill {
    pub(super) at: Place,
    pub(super) process: Process,
    pub(super) instant: Instant,
    pub(super) fired: bool,
}

/// Where it comes.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// At a step of a job of a kind; `undo`: while the step is taken back.
    Step { kind: Kind, step: String, undo: bool },
    /// At a transaction that changes anything, when so many others were before it.
    Commit { after: usize },
}

/// What happens to the open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    Nobody,
    /// It is lost, with whoever was to be killed.
    BeforeStored,
    AfterStored,
    /// Agents die before they have kept the outcome of what they do next.
    BeforeOutcome,
}

impl Kill {
    /// What strikes, now that the core comes from what is stored to what it is.
    pub(super) fn strike(&mut self, core: &Core, stored: &Stored) -> Strike {
        if self.fired {
            return Strike::Nobody;
        }
        let (began, ended) = match &mut self.at {
            Place::Step { kind, step, undo } => passes(core, stored, *kind, step, *undo),
            Place::Commit { .. } if core.changes().is_empty() => (false, false),
            Place::Commit { after: 0 } => (true, true),
            Place::Commit { after } => {
                *after -= 1;
                (false, false)
            }
        };
        self.choose(began, ended)
    }

    fn choose(&mut self, began: bool, ended: bool) -> Strike {
        let now = match self.instant {
            Instant::BeforeEffect => began,
            Instant::AfterEffect if self.process == Process::Agent => began,
            Instant::AfterEffect | Instant::AfterRecord => ended,
        };
        if !now {
            return Strike::Nobody;
        }
        self.fired = true;
        match (self.process, self.instant) {
            (Process::Agent, Instant::AfterEffect) => Strike::BeforeOutcome,
            (Process::Vault, Instant::BeforeEffect) | (_, Instant::AfterEffect) => Strike::BeforeStored,
            _ => Strike::AfterStored,
        }
    }
}

/// Whether a step begins, and whether it ends, by what is not stored yet.
fn passes(core: &Core, stored: &Stored, kind: Kind, step: &str, undo: bool) -> (bool, bool) {
    let stored = stored.iter().filter(|((kind, _), _)| kind == "job").map(|(_, body)| body);
    let stored = stored.filter_map(|body| {
        let row: crate::rows::JobRow = serde_json::from_slice(body).ok()?;
        (row.job.kind == kind.name()).then_some(row.job)
    });
    let before: BTreeMap<JobId, Job> = stored.map(|job| (job.id, job)).collect();
    let has_begun = |state: State| match undo {
        true => matches!(state, State::Undoing | State::Undone),
        false => state != State::Waiting,
    };
    let has_ended = |state: State| match undo {
        true => state == State::Undone,
        false => !matches!(state, State::Waiting | State::Running | State::Retrying),
    };
    let (mut began, mut ended) = (false, false);
    for row in core.jobs().filter(|row| row.job.kind == kind.name()) {
        let state = |job: &Job| job.node(step).map_or(State::Waiting, |node| node.state);
        let (was, is) = (before.get(&row.job.id).map_or(State::Waiting, state), state(&row.job));
        began |= has_begun(is) && !has_begun(was);
        ended |= has_ended(is) && !has_ended(was);
    }
    (began, ended)
}

impl World {
    /// Lets a kill happen; whether the transaction was stored and its answer arrives.
    pub(super) fn struck(&mut self, strike: Strike) -> bool {
        let process = self.kill.as_ref().map(|kill| kill.process);
        match (strike, process) {
            (Strike::Nobody, _) | (_, None) => return true,
            (_, Some(Process::Vault)) => self.start(self.stored.clone(), Start::Continued),
            // The message that brought it is lost with the site server, and so is where it was.
            (_, Some(Process::Site)) => {
                self.cursors.clear();
                self.core.roll_back();
            }
            (Strike::BeforeOutcome, Some(Process::Agent)) => {
                self.agents.values_mut().for_each(|agent| agent.dies_before_record = true);
                return true;
            }
            (_, Some(Process::Agent)) => {
                self.agents.values_mut().for_each(super::agent::Agent::kill);
                return true;
            }
        }
        false
    }
}
