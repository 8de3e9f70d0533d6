//! A protection's whole life: its states with their data, what people may order in each and
//! why not otherwise, and one checked transition function. Beside it what an agent decides
//! about starting, stopping and writing. Values and decisions only: this crate must never
//! know how anything is kept, sent or carried out, nor what time it is.
//!
//! ```text
//! order (a person's) ─┐                              ┌─► Life, the next one
//! report (a host's)  ─┴─► Life::step(input, facts) ──┤
//!                                                    └─► what is to be begun or superseded
//!                         Life::wanted() ──► what each of the two hosts is told
//! Life::allowed_operations(facts) ──► for each operation: allowed, or why not and what instead
//! ```
//!
//! How the vault holds it: a [`Life`] is one value that serialises, made to be a field of the
//! vault's row of a protection, in the place of its `source`, `target`, `intent` and `ended`;
//! [`Life::wanted`] says what those said. The vault's row of the machine's epoch stays, for an
//! epoch outlives a protection: what it knows goes into [`Facts::known`], so that every epoch
//! is issued here, above all that is known, by `farshore_ownership` (rule R1). The
//! vault's core calls [`Life::step`] inside its transaction with every order and with what
//! reports say, begins the jobs that the step names, and writes documents from
//! [`Life::wanted`]; a job's steps only look whether the life has come to where they wait for.
//! Nobody else changes a life, but for what is decided without it (`elsewhere`). A row of before becomes a life by [`Life::of_before`].
//!
//! A document of a machine should carry the life whole, of which each host reads
//! [`Life::wanted`]: then a vault that was restored or promoted learns the newest life from the
//! documents that hosts hold (rule R6), its kept points and open choices too. What hosts report
//! becomes events by [`Life::news_of`], which also decides what is believed of an old report.
//!
//! How an agent holds it: it keeps a `Lineage` for each machine, takes [`Want`] from its
//! document, and asks [`fence`] before it starts or stops anything. Who may write is its
//! lineage's word.
//!
//! Decisions, where the design leaves room:
//! - The two hosts of a life are its *source*, which owns the machine, and its *target*. They
//!   change places at the instant at which the owner changes: when a seal was accepted, or when
//!   an epoch is issued that needs no seal. So an unplanned failover always goes to the target,
//!   whatever side that is, and a second one leads back.
//! - Cancelling is handing over by seal without a last cycle: the seal is the durable receipt
//!   that the machine was stopped.
//! - *Take back* is the unplanned failover onto the host that sealed: the way out where the
//!   other one is lost. It is confirmed like one.
//! - An epoch that a host issued while the other host's machine ran, or may have run, is never
//!   adopted silently: both go on, nothing is replicated, and a winner is to be declared.
//! - The version rises with what a person decides by: who owns the machine, what stage it is
//!   in. Cycles, drills and pauses do not raise it, so they make nobody's order stale.

mod allowed;
#[cfg(feature = "deliberate-bugs")]
pub mod bug;
#[cfg(not(feature = "deliberate-bugs"))]
mod bug;
mod elsewhere;
mod examples;
mod facts;
pub mod fence;
mod life;
mod operation;
mod reason;
mod said;
mod state;
mod step;
mod table;
mod wanted;

pub use facts::{Facts, Seen, Speaks};
pub use life::{
    Back, BringUp, Contest, Copying, Drill, DrillPhase, Flat, HandOver, Kind, Life, Phase, Rival, Stage, Why,
};
pub use operation::{Choice, Confirm, DrillNetwork, Enabling, Operation, Order, Overlay};
pub use reason::{Answer, Reason};
pub use said::{BroughtUp, Said};
pub use state::State;
pub use step::{Begin, Event, Input, Report, Step, Supersedes};
pub use table::{diagram, reference};
pub use wanted::{Want, Wanted};
