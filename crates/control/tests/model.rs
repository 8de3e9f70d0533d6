//! The rules of ownership and the life of a protection, model-checked: two sites, each with a
//! host, its agent and a site server that keeps documents and a warm copy; a vault, which may
//! be lost, restored from an old backup or promoted on the other site. What decides is what is
//! shipped: `Life`, `converge`, `at_boot`, `break_glass`, `Lineage`, `Holder`, `Learning`. The
//! explorer tries what can come next in every order, from several beginnings, and compares each
//! step with what must never be.
//!
//! `FARSHORE_STATES=1500000` explores that many states instead of the usual thousands.
#![expect(clippy::unwrap_used, reason = "what cannot go on in a test fails it")]

#[path = "model/acts.rs"]
mod acts;
#[path = "model/attacks.rs"]
mod attacks;
#[path = "model/explore.rs"]
mod explore;
#[path = "model/never.rs"]
mod never;
#[path = "model/page.rs"]
mod page;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/settle.rs"]
mod settle;
#[path = "model/taken.rs"]
mod taken;
#[path = "model/vault.rs"]
mod vault;
#[path = "model/world.rs"]
mod world;
