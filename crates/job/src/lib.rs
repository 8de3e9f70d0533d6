//! Durable jobs: every operation that takes time is one. A job is a tree of steps; each step
//! asks for one effect, known by an id that is the same however often it is asked for again.
//! This crate decides what is to be asked for next, and does nothing itself: it must never
//! know where a job is kept, who carries an effect out, or what time it is.
//!
//! ```text
//!            ┌────────── forward ──────────┐   a step failed, was lost, or the job cancelled
//! Waiting ─► Running ─► Done ──────────────┼──► backward: Undoing ─► Undone ─► ended
//!              │  ▲       Failed, Lost ────┘      (the last step first; Left where it is safe)
//!              ▼  │
//!           Retrying        all steps done ───────────────────────────────► ended
//! ```
//!
//! The caller keeps one order: it stores the job that [`Registry::advance`] returns, and only
//! then carries the effects out. So a crash at any instant loses at most a message. On the
//! start of the program every job that has not ended gets [`Event::Resumed`], which asks
//! again for what is outstanding, by the same ids; who carried it out already answers with
//! the outcome that it kept.
//!
//! A new id for a step comes only after the outcome of the one before is known to be that
//! nothing was done ([`Outcome::Failed`], [`Outcome::Expired`]). Where the outcome cannot be
//! known (the deadline passed, [`Outcome::Lost`]), the step is stopped, never tried again,
//! and undone as if it had been done.
//!
//! Time is wall-clock milliseconds, because it must mean something after a restart. A clock
//! that jumps makes a deadline pass too early or too late; both are outcomes that every job
//! survives.

mod advance;
mod definition;
mod id;
mod job;
#[cfg(feature = "test-support")]
pub mod matrix;
mod progress;
mod registry;

pub use definition::{Cancel, Definition, Known, Node, OnFailure, Order, Retry, StepSpec, Undo, Work};
pub use id::{Direction, EffectId};
pub use job::{
    CancelAsked, Cause, End, Ending, FORMAT, Job, JobNode, Left, Phase, Run, STEPS_MAX, Shape, State,
};
pub use progress::Progress;
#[cfg(feature = "deliberate-bugs")]
pub use registry::Bug;
pub use registry::{Effect, Event, JobError, Outcome, RESEND_MS, Registry};

#[cfg(test)]
mod tests;
