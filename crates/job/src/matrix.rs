//! Runs a definition through everything that can happen to it: each effect of each step with
//! each outcome, a crash before and after each effect and before each record, and a cancel at
//! each of them. A job of whatever kind must end, end once, do nothing twice, and leave
//! nothing behind that it does not name. For the tests of the crates that define jobs.

mod check;
mod world;

use serde_json::Value;
use thiserror::Error;

use crate::{JobError, Registry};
use world::{Story, tell};

/// How often in a row it is asked again in vain, before a story goes on to the next deadline.
const VAIN_MAX: usize = 20;

/// Most messages of one story; more means that it does not end.
const MESSAGES_MAX: usize = 20_000;

/// What a story is told to do with one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It fails once; another attempt may succeed.
    FailsOnce,
    /// It fails always.
    Fails,
    /// It fails in a way that cannot heal.
    FailsForGood,
    /// It expires before it begins, once.
    Expires,
    /// Who was to do it is gone, and says so for it.
    Lost,
    /// It is done, and nobody ever says so.
    DoneInSilence,
    /// It is not begun, and nobody ever says so.
    Silence,
}

/// When the program is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The job is stored; the effect was not asked for yet.
    BeforeEffect,
    /// The effect was done; its outcome did not arrive.
    AfterEffect,
    /// The outcome arrived; the job was not stored with it.
    BeforeRecord,
}

/// All fates.
pub const FATES: [Fate; 7] = [
    Fate::FailsOnce,
    Fate::Fails,
    Fate::FailsForGood,
    Fate::Expires,
    Fate::Lost,
    Fate::DoneInSilence,
    Fate::Silence,
];

/// All crashes.
pub const CRASHES: [Crash; 3] = [Crash::BeforeEffect, Crash::AfterEffect, Crash::BeforeRecord];

/// What was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Stories told to their end.
    pub stories: usize,
    /// Effects that were asked for in them, asking again included.
    pub effects: usize,
}

/// A promise that was broken, and in which story.
#[derive(Debug, Error)]
#[error("{what}, in the story {story}")]
pub struct Broken {
    /// What.
    pub what: String,
    /// Where.
    pub story: String,
}

impl From<(JobError, &Story)> for Broken {
    fn from((error, story): (JobError, &Story)) -> Broken {
        Broken { what: format!("the job cannot go on: {error}"), story: format!("{story:?}") }
    }
}

/// Tells every story of a kind of job with this input.
///
/// # Errors
/// The first broken promise.
pub fn run(registry: &Registry, kind: &str, input: &Value) -> Result<Tried, Broken> {
    let mut matrix = Matrix { registry, kind, input, tried: Tried::default() };
    let plain = matrix.tell(&Story::default())?;
    matrix.crash_everywhere(&Story::default(), plain)?;
    for refused in [false, true] {
        matrix.tell(&Story { refused, twice: true, ..Story::default() })?;
    }
    for at in 0..plain {
        for fate in FATES {
            let story = Story { fate: Some((at, fate)), ..Story::default() };
            let effects = matrix.tell(&story)?;
            matrix.tell(&Story { twice: true, ..story.clone() })?;
            matrix.crash_everywhere(&story, effects)?;
            matrix.undo_badly(&story, at, effects)?;
        }
        let cancelled = Story { cancel: Some(at), ..Story::default() };
        let effects = matrix.tell(&cancelled)?;
        matrix.crash_everywhere(&cancelled, effects)?;
    }
    Ok(matrix.tried)
}

struct Matrix<'a> {
    registry: &'a Registry,
    kind: &'a str,
    input: &'a Value,
    tried: Tried,
}

impl Matrix<'_> {
    /// Tells one story; how many effects it had.
    fn tell(&mut self, story: &Story) -> Result<usize, Broken> {
        let told = tell(self.registry, self.kind, self.input, story)?;
        check::check(&told, story)?;
        self.tried.stories += 1;
        self.tried.effects += told.asked;
        Ok(told.asked)
    }

    fn crash_everywhere(&mut self, story: &Story, effects: usize) -> Result<(), Broken> {
        for at in 0..effects {
            for crash in CRASHES {
                self.tell(&Story { crash: Some((at, crash)), ..story.clone() })?;
            }
        }
        Ok(())
    }

    /// The step fails for good, and then taking back what was done goes wrong, too.
    fn undo_badly(&mut self, story: &Story, at: usize, effects: usize) -> Result<(), Broken> {
        for undo in at + 1..effects {
            for fate in FATES {
                self.tell(&Story { second: Some((undo, fate)), ..story.clone() })?;
            }
        }
        Ok(())
    }
}
