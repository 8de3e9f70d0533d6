//! Jobs: what follows of a command and takes time. A step's effect is a state of rows,
//! documents and requests; whether it is reached is looked up again and again, so that no
//! message has to arrive. A job's row is written in the same transaction as what its step
//! changed: a vault that is killed has done both or neither. This module must never act but
//! by rows; agents learn from documents and requests (rule R7).
//!
//! ```text
//! kinds    what the steps are, and what each asks for: pure, from the job's input alone
//! act      does what a step asks for, as often as it is asked: the second time changes nothing
//! look     whether it is done, or what is waited for: reads rows and reports only
//! course   lives: the steps of failovers and of the way home; reached: whether they are
//! leave    both, for what leaves a host: replicas that move, or that nothing wants any more
//! drive    look → outcome → the next step; cancelled ones, old ones
//! ```
//!
//! How far a copy is, and what is waited for, is worked out when somebody looks: none of it
//! is written.

mod act;
pub(crate) mod associate;
mod change;
mod check;
pub(crate) mod course;
mod disable;
mod discard;
mod drive;
mod enable;
mod forget;
mod leave;
mod look;
mod now;
mod peers;
mod reached;
mod relocate;
mod resync;

use std::sync::LazyLock;

use farshore_job::{Cancel, JobError, OnFailure, Registry, Retry, StepSpec, Undo};
use farshore_protection::Operation;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub(crate) use act::Act;
pub(crate) use associate::Associate;
pub(crate) use change::Change;
pub(crate) use course::Course;
#[cfg(test)]
pub(crate) use course::Goal;
pub(crate) use disable::Disable;
pub(crate) use discard::Discarding;
pub(crate) use drive::SUPERSEDED;
#[cfg(test)]
pub(crate) use drive::{KEPT_MAX, KEPT_MS};
pub(crate) use enable::Enabling;
pub(crate) use forget::Forgetting;
pub use now::JobNow;
pub(crate) use relocate::Moving;
pub(crate) use resync::Resyncing;

/// Milliseconds after which it is no longer waited for that a host takes an order.
const ORDER_MS: u64 = 30 * DAY_MS;
/// The same for a first copy or a comparison. No copy takes so long, and none is taken back
/// because time has passed: who does not want it any more cancels it.
const COPY_MS: u64 = 3650 * DAY_MS;
/// Milliseconds for a step that somebody looks at while it is made.
const CHECK_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// Kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Enable,
    Disable,
    Associate,
    ChangePolicy,
    Resync,
    Move,
    Forget,
    Discard,
    PlannedFailover,
    UnplannedFailover,
    ChangePoint,
    CancelFailover,
    AbortFailover,
    Commit,
    Reverse,
    TestFailover,
    CleanUp,
    Flatten,
}

impl Kind {
    #[cfg(test)]
    pub(crate) const ALL: [Kind; 18] = [
        Kind::Enable,
        Kind::Disable,
        Kind::Associate,
        Kind::ChangePolicy,
        Kind::Resync,
        Kind::Move,
        Kind::Forget,
        Kind::Discard,
        Kind::PlannedFailover,
        Kind::UnplannedFailover,
        Kind::ChangePoint,
        Kind::CancelFailover,
        Kind::AbortFailover,
        Kind::Commit,
        Kind::Reverse,
        Kind::TestFailover,
        Kind::CleanUp,
        Kind::Flatten,
    ];

    /// Those of protections' lives.
    pub(crate) const OF_LIVES: [Kind; 10] = [
        Kind::PlannedFailover,
        Kind::UnplannedFailover,
        Kind::ChangePoint,
        Kind::CancelFailover,
        Kind::AbortFailover,
        Kind::Commit,
        Kind::Reverse,
        Kind::TestFailover,
        Kind::CleanUp,
        Kind::Flatten,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Enable => "enable",
            Kind::Disable => "disable",
            Kind::Associate => "associate",
            Kind::ChangePolicy => "change-policy",
            Kind::Resync => "resync",
            Kind::Move => "move",
            Kind::Forget => "forget",
            Kind::Discard => "discard",
            Kind::PlannedFailover => "planned-failover",
            Kind::UnplannedFailover => "unplanned-failover",
            Kind::ChangePoint => "change-point",
            Kind::CancelFailover => "cancel-failover",
            Kind::AbortFailover => "abort-failover",
            Kind::Commit => "commit",
            Kind::Reverse => "reverse",
            Kind::TestFailover => "test-failover",
            Kind::CleanUp => "clean-up",
            Kind::Flatten => "flatten",
        }
    }

    /// The orders of a protection that can give up what a job of such a kind waits for, as its life
    /// allows them; to cancel the job ends only the waiting.
    const fn given_up_by(self) -> &'static [Operation] {
        match self {
            Kind::PlannedFailover | Kind::CancelFailover => &[Operation::Abort, Operation::TakeBack],
            // One that tries to stop the machine first is a hand-over until that has failed.
            Kind::UnplannedFailover => &[Operation::Abort, Operation::Cancel],
            Kind::ChangePoint => &[Operation::Cancel],
            Kind::TestFailover => &[Operation::CleanUp],
            Kind::Flatten => &[Operation::StopFlatten],
            _ => &[],
        }
    }

    /// The kind of a job of a protection's life.
    pub(crate) fn of_life(name: &str) -> Option<Kind> {
        Kind::OF_LIVES.into_iter().find(|kind| kind.name() == name)
    }
}

/// All kinds that there are.
pub(crate) fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
        let lives = Kind::OF_LIVES.into_iter().map(course::Definition);
        lives
            .fold(Registry::default(), Registry::with)
            .with(enable::Definition)
            .with(disable::Definition)
            .with(associate::Definition)
            .with(change::Definition)
            .with(resync::Definition)
            .with(relocate::Definition)
            .with(forget::Definition)
            .with(discard::Definition)
    });
    &REGISTRY
}

/// A step that only waits: it can be left at any time, and its failure stops nothing.
fn waiting(deadline_ms: u64, why_left: &str) -> StepSpec {
    StepSpec {
        cancel: Cancel::Now,
        on_failure: OnFailure::Continue,
        ..StepSpec::effect(deadline_ms, Undo::SafeToLeave { why: why_left.to_owned() })
    }
}

/// A step that asks hosts something, which changes nothing on them.
fn asking(deadline_ms: u64) -> StepSpec {
    let retry = Retry { attempts: 3, first_ms: 2_000, most_ms: 10_000 };
    StepSpec { retry, ..waiting(deadline_ms, "a question changes nothing") }
}

fn input_of<T: DeserializeOwned>(input: &Value) -> Result<T, JobError> {
    T::deserialize(input).map_err(|e| JobError::Input { why: e.to_string() })
}

fn value_of(any: &impl Serialize) -> Value {
    // Nothing here has keys that are no texts: it is always a value.
    serde_json::to_value(any).unwrap_or_default()
}
